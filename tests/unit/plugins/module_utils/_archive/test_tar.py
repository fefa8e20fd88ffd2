# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of archives, as the tarfile of Python and as tar reads them."""

from __future__ import annotations

import io
import tarfile

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.tar import (
    END,
    header,
    padding,
)

SHA256, SHA512 = f"blobs/sha256/{'a' * 64}", f"blobs/sha512/{'b' * 128}"


def first_member(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.next()


@pytest.mark.parametrize("name", ["a", "x" * 100, "x" * 101, SHA256, SHA512])
@pytest.mark.parametrize("size", [0, 1, 512, 8**11 - 1, 8**11, 2**62])
def test_header_is_read_by_tarfile(name, size):
    found = first_member(header(name, size))
    assert (found.name, found.size) == (name, size)
    assert found.isreg() and found.mode == 0o644
    assert (found.mtime, found.uid, found.gid, found.uname, found.gname) == (0, 0, 0, "", "")


@pytest.mark.parametrize(("name", "blocks"), [(SHA256, 1), ("x" * 100, 1), (SHA512, 3)])
def test_only_a_long_name_takes_more_than_one_block(name, blocks):
    assert len(header(name, 1)) == blocks * 512


# The length of a pax record counts itself: with one digit more it is one longer.
@pytest.mark.parametrize("length", [*range(101, 140), *range(985, 1000)])
def test_length_of_a_pax_record_counts_itself(length):
    assert first_member(header("n" * length, 0)).name == "n" * length


def test_size_of_8_gib_is_written_in_base_256():
    assert header("a", 8**11 - 1)[124:136] == b"7" * 11 + b"\0"
    assert header("a", 8**11)[124:136] == b"\x80" + (8**11).to_bytes(11, "big")


@pytest.mark.parametrize(("size", "zeros"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_content_ends_at_a_block(size, zeros):
    assert padding(size) == bytes(zeros)
    assert len(END) == 1024 and not any(END)
