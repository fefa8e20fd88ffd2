# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every case of bad input in ``data/airgap.yml`` has tests that expect its kind of error, and every such kind has a case."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import errors as of_archives
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._store import errors as of_stores
from ansible_collections.lockstep.images.tests.support.casetables import (
    is_expected,
    kinds_of,
    read_table,
    text_of,
)
from ansible_collections.lockstep.images.tests.support.malformed import ARCHIVES

TABLE = read_table("airgap")
KINDS = kinds_of(errors, of_archives, of_stores)
ROW = "test_refused_archives::test_store_stays_as_it_was["


@pytest.mark.parametrize("part", TABLE)
def test_every_case_has_tests_that_expect_its_kind(part):
    for one in TABLE[part]:
        text = "\n".join(map(text_of, one["tests"]))
        if one["kind"] not in ("none", "ansible"):
            assert is_expected(one["kind"], KINDS[one["kind"]], text), one


def test_kind_of_a_refused_archive_is_that_of_the_table():
    for one in TABLE["archives"]:
        for name in one["tests"]:
            if name.startswith(ROW):
                assert ARCHIVES[name[len(ROW) : -1]].kind == one["kind"], name


def test_every_kind_of_error_of_archives_has_a_case():
    kinds = {one["kind"] for part in TABLE.values() for one in part}
    assert set(kinds_of(of_archives)) <= kinds
