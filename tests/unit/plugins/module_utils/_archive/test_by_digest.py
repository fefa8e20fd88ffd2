# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values by digests."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.module_utils._archive.by_digest import (
    ByDigest,
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
