# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every promise and every fault in ``data/lifecycle.yml`` has tests."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.casetables import read_table, text_of

TABLE = read_table("lifecycle")


@pytest.mark.parametrize("part", TABLE)
def test_every_case_has_tests_that_exist(part):
    for one in TABLE[part]:
        assert one["tests"], one
        for name in one["tests"]:
            text_of(name)
