# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive that is written as it was announced, or not at all."""

from __future__ import annotations

import io
import tarfile

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._image import errors


class Sink:
    """Keeps what is written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data

    def send_file(self, file, size):
        data = file.read(size)
        self.data += data
        return len(data)


def missing():
    raise FileNotFoundError(2, "No such file or directory")


def test_size_is_known_before_the_first_byte():
    members = [Member.of("a", b"1"), Member.of("b" * 200, b"2" * 512), Member.of("c", b"")]
    sink = Sink()
    archive = Archive(tuple(members))
    archive.write_to(sink)
    assert len(sink.data) == archive.size
    with tarfile.open(fileobj=io.BytesIO(sink.data)) as found:
        assert [(one.name, one.size) for one in found] == [("a", 1), ("b" * 200, 512), ("c", 0)]


def test_size_of_a_large_member_is_not_read():
    archive = Archive((Member("a", 2**40, missing),))
    assert archive.size == 512 + 2**40 + 1024


@pytest.mark.parametrize("have", [0, 1, 9])
def test_member_that_is_shorter_than_its_size_ends_the_archive(have):
    archive = Archive((Member("a", 10, lambda: io.BytesIO(b"x" * have)), Member.of("b", b"")))
    sink = Sink()
    with pytest.raises(errors.TruncatedError) as info:
        archive.write_to(sink)
    assert str(info.value) == f"a ended after {have} of 10 bytes"
    assert "store_verify" in info.value.hint
    assert len(sink.data) == 512 + have


def test_longer_member_is_cut_at_its_size():
    sink = Sink()
    Archive((Member("a", 3, lambda: io.BytesIO(b"abcdef")),)).write_to(sink)
    assert sink.data[512:1024] == b"abc" + bytes(509)


def test_member_that_cannot_be_opened_is_named():
    with pytest.raises(errors.CorruptStoreError) as info:
        Archive((Member("blobs/x", 3, missing),)).write_to(Sink())
    assert str(info.value) == "blobs/x cannot be read: No such file or directory"
