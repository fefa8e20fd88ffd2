# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``./dev fuzz`` begins with, and what it once found, on each Python."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.fuzz.targets import FOUND, PLUGINS, TARGETS, check

FAULTS = {path.name: path for path in sorted(FOUND.glob("*/*"))}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_meet_no_fault(name):
    for seed in TARGETS[name].seeds:
        check(TARGETS[name], seed)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FAULTS)
def test_input_that_was_a_fault_is_none_now(name):
    path = FAULTS[name]
    check(TARGETS[path.parent.name], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_measured_files_exist(name):
    assert all((PLUGINS / "module_utils" / file).is_file() for file in TARGETS[name].files)
