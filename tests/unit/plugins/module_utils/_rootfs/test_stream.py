# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream of an archive: decompressed, counted and hashed."""

from __future__ import annotations

import gzip
import zlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import stream
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    DiffIdMismatchError,
    LayerTooLargeError,
    TreeRefusedError,
)

DATA = b"".join(b"%d " % number for number in range(200_000))


def pieces(data, size=1000):
    return (data[at : at + size] for at in range(0, len(data), size))


def gunzip(data, size=1000):
    return b"".join(stream.gunzip(pieces(data, size), "layer x"))


@pytest.mark.parametrize("size", [1, 17, 1000, 1 << 20])
def test_gzip_is_decompressed_from_pieces_of_any_size(size):
    data = DATA[:20_000] if size == 1 else DATA
    assert gunzip(gzip.compress(data), size) == data


@pytest.mark.parametrize("size", [1, 1000])
def test_members_follow_each_other(size):
    assert gunzip(gzip.compress(b"a" * 999) + gzip.compress(b"b"), size) == b"a" * 999 + b"b"


def test_output_comes_in_small_pieces():
    sizes = [len(one) for one in stream.gunzip(pieces(gzip.compress(bytes(10**7))), "layer x")]
    assert max(sizes) <= stream.OUTPUT
    assert sum(sizes) == 10**7


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(DATA, mtime=0)[:-1],
        gzip.compress(DATA, mtime=0)[:5000],
        gzip.compress(DATA, mtime=0) + b"garbage",
        gzip.compress(DATA, mtime=0) + bytes(512),
        gzip.compress(DATA, mtime=0)[:-8] + bytes(8),
        zlib.compress(DATA),
        b"plain",
    ],
)
def test_gzip_that_is_not_complete_is_refused(data):
    with pytest.raises(TreeRefusedError, match=r"layer x: (is not a valid gzip stream|its gzip)"):
        gunzip(data)


def test_stream_reads_across_pieces():
    read = stream.LayerStream(pieces(DATA, 10))
    assert read.read(5) == DATA[:5]
    assert b"".join(map(bytes, read.chunks(33))) == DATA[5:38]
    assert read.skip_to(100) == 0
    assert (read.position, read.read(3)) == (100, DATA[100:103])
    assert read.skip_to(len(DATA) + 7) == 7


def hashed(data, diff_id, limit=1 << 30):
    found = stream.Hashed(pieces(data), Digest.parse(diff_id), limit, "layer x")
    for _piece in found:
        pass
    found.require_match()


def test_archive_with_its_diff_id_is_accepted():
    hashed(DATA, str(Digest.of(DATA)))
    hashed(DATA, str(Digest.of(DATA, "sha512")))


def test_archive_with_another_diff_id_is_refused():
    with pytest.raises(DiffIdMismatchError, match="layer x: its archive has the digest sha256:"):
        hashed(DATA, str(Digest.of(b"")))


def test_bytes_are_limited_before_they_are_read():
    with pytest.raises(LayerTooLargeError, match="layer x: has more than 5000 bytes"):
        hashed(DATA, str(Digest.of(DATA)), limit=5000)
