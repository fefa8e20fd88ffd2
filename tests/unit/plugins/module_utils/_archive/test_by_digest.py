# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values by digests."""

from __future__ import annotations

import tracemalloc

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.by_digest import (
    ByDigest,
    Digests,
    packed,
    unpacked,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

SHORT, LONG = Digest("sha256", "f" * 64), Digest("sha512", "0" * 128)


def test_it_is_a_mapping_of_digests():
    found = ByDigest()
    found[LONG], found[SHORT] = 1, 2
    assert (dict(found), [*found], len(found)) == ({LONG: 1, SHORT: 2}, [LONG, SHORT], 2)
    assert [*found.ordered()] == sorted(found) == [SHORT, LONG]
    assert Digest("sha256", "0" * 64) not in found


def test_packed_digest_is_that_digest():
    assert [unpacked(packed(one)) for one in (SHORT, LONG)] == [SHORT, LONG]


def test_very_many_digests_are_found_by_their_numbers():
    names = [Digest.of(str(number).encode()) for number in range(2000)]
    found = Digests()
    assert [found.add(one) for one in names] == [*range(2000)]
    assert [found.add(one) for one in names] == [*range(2000)]
    assert [found.find(one) for one in names] == [*range(2000)] and [*found] == names
    assert (found.find(LONG), len(found)) == (-1, 2000)


def test_value_can_be_replaced_and_a_missing_one_is_a_key_error():
    found = ByDigest()
    found[SHORT] = 1
    found[SHORT] = 2
    assert (found[SHORT], len(found)) == (2, 1)
    with pytest.raises(KeyError):
        found[LONG]


def test_memory_of_a_digest_is_small():
    names = [Digest.of(str(number).encode()) for number in range(5000)]
    tracemalloc.start()
    try:
        found = Digests()
        for one in names:
            found.add(one)
        assert tracemalloc.get_traced_memory()[0] / len(found) < 60
    finally:
        tracemalloc.stop()
