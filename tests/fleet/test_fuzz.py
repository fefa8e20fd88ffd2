# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random invalid options, the same in each run; the name of a test contains their seed."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.fuzz import faults

CASES = 250  # of each module


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_F28_strange_options_end_in_no_traceback(seed, monkeypatch):
    found = faults(seed, CASES, monkeypatch)
    assert not found, "\n\n".join(found[:5])
