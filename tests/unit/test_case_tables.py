# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every case in the tables of ``data`` has tests."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.casetables import read_table, text_of

CASES = [(name, part) for name in ("airgap", "lifecycle", "trees") for part in read_table(name)]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_every_case_has_tests_that_exist(name, part):
    for one in read_table(name)[part]:
        assert one["tests"], one
        for test in one["tests"]:
            text_of(test)
