# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of an archive: verified before their last one is yielded, in every range."""

from __future__ import annotations

import io

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.verified_stream import (
    VerifiedStream,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import CorruptStoreError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

FIRST, SECOND = b"first" * 300, b"second" * 300
LARGE = bytes(range(256)) * 10_000  # more than two pieces
STARTS = 512 + 512 + 512  # of the content of the first blob, after index.json and two headers


def blob(data, stored=None):
    content = data if stored is None else stored
    name = f"blobs/sha256/{Digest.of(data).encoded}"
    return Member(name, len(data), lambda: io.BytesIO(content))


def archive(*blobs):
    return Archive((Member.of("index.json", b"{}"), *blobs))


class Whole:
    """Takes an archive as it is written without verification."""

    def __init__(self, value):
        self.data = b""
        value.write_to(self)

    def write(self, data):
        self.data += data

    def send_file(self, file, size):
        self.data += file.read()
        return size


def read(value, first=0, end=None):
    """Return the bytes, and those that are outside with their offsets."""
    outside = []
    end = value.size if end is None else end
    with VerifiedStream(
        value, first, end, lambda at, data: outside.append((at, bytes(data)))
    ) as one:
        return b"".join(map(bytes, one)), outside


def test_stream_has_the_bytes_of_the_archive():
    value = archive(blob(FIRST), blob(LARGE), blob(b""), blob(SECOND))
    assert read(value) == (Whole(value).data, [])


@pytest.mark.parametrize(
    ("first", "end"), [(0, 100), (512, 515), (STARTS, STARTS + 1), (STARTS + 7, 5000), (4999, 5001)]
)
def test_every_range_is_that_of_the_archive(first, end):
    value = archive(blob(FIRST), blob(SECOND), blob(LARGE))
    assert read(value, first, end)[0] == Whole(value).data[first:end]


def test_rest_of_a_blob_is_read_too_and_given_with_its_place():
    value = archive(blob(FIRST), blob(SECOND))
    data, outside = read(value, STARTS + 10, STARTS + 20)
    assert data == FIRST[10:20]
    assert outside == [(STARTS, FIRST[:10]), (STARTS + 20, FIRST[20:])]


@pytest.mark.parametrize(
    "stored",
    [b"x" + LARGE[1:], LARGE[:-1] + b"x", LARGE[:-1], LARGE + b"x", b""],
    ids=["first byte", "last byte", "short", "long", "empty"],
)
def test_last_byte_of_a_corrupt_blob_is_never_yielded(stored):
    value, found = archive(blob(LARGE, stored)), b""
    with pytest.raises(CorruptStoreError, match=f"{Digest.of(LARGE)}: the store has other bytes"):
        with VerifiedStream(value, 0, value.size, print) as stream:
            for piece in stream:
                found += piece
    assert len(found) < STARTS + len(LARGE)


def test_blob_that_cannot_be_opened_is_named():
    def missing():
        raise FileNotFoundError(2, "No such file or directory")

    value = archive(Member("blobs/sha256/" + "0" * 64, 5, missing))
    with pytest.raises(CorruptStoreError, match=r"blobs/sha256/0+ cannot be read: No such file"):
        read(value)


def test_error_of_the_caller_about_other_bytes_ends_the_stream():
    def refuse(_at, _data):
        raise OSError(5, "Input/output error")

    value = archive(blob(FIRST))
    with pytest.raises(OSError, match="Input/output error"):
        with VerifiedStream(value, STARTS + 10, value.size, refuse) as stream:
            list(stream)
