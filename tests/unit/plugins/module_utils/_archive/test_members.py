# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an archive: which are read, and which archives are refused."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import members
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.errors import ArchiveError
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._archive.members import read_members
from ansible_collections.lockstep.images.tests.support import malformed
from ansible_collections.lockstep.images.tests.support import tarballs as tar
from ansible_collections.lockstep.images.tests.support.malformed import (
    BLOB,
    HEX,
    INDEX,
    LAYER,
    TARGET,
)


def read(path, data):
    (path / "a.tar").write_bytes(data)
    with open_media(str(path / "a.tar")) as media:
        spans, is_whole = read_members(media)
        assert is_whole
        return {name: media.read(*span) for name, span in spans.items()}


class Bytes:
    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data

    def send_file(self, file, size):
        self.data += file.read()
        return size


def test_written_archive_is_read(tmp_path):
    long = f"blobs/sha512/{HEX}{HEX}"
    files = {"index.json": b"{}", "oci-layout": b"", BLOB: b"x" * 513, long: b"y"}
    output = Bytes()
    Archive(tuple(Member.of(*pair) for pair in files.items())).write_to(output)
    assert read(tmp_path, output.data) == files


@pytest.mark.parametrize(
    "entries",
    [
        [tar.directory("blobs/"), tar.directory("blobs/sha256"), INDEX],
        [tar.directory("./"), tar.entry("./index.json", b"{}")],
        [tar.pax({"mtime": "1.5", "SCHILY.xattr.user.x": "1"}), INDEX],
        [tar.pax({"comment": "x"}, "g"), INDEX],
        [tar.entry("index.json", b"{}", kind=b"\0")],
        [tar.entry("index.json", b"{}", uid=0o7777777, mode=0o7777, mtime=1)],
    ],
)
def test_harmless_entries_are_accepted(tmp_path, entries):
    assert read(tmp_path, tar.archive(*entries)) == {"index.json": b"{}"}


def test_zeros_of_a_tape_record_may_follow(tmp_path):
    assert read(tmp_path, tar.archive(INDEX) + bytes(10240)) == {"index.json": b"{}"}


def test_link_between_layers_is_followed_by_name(tmp_path):
    data = tar.archive(tar.symlink(LAYER, TARGET), tar.entry(f"{'1' * 64}/layer.tar", b"layer"))
    assert read(tmp_path, data)[LAYER] == b"layer"


@pytest.mark.parametrize("case", {**malformed.MEMBERS, **malformed.FILES})
def test_malformed_archive_is_refused(tmp_path, case):
    data, kind, reason = malformed.ARCHIVES[case]
    with pytest.raises(ArchiveError, match=reason) as caught:
        read(tmp_path, data)
    assert (caught.value.kind, "\n" in str(caught.value)) == (kind, False)
    assert str(tmp_path) in str(caught.value)


def test_large_member_may_have_its_size_in_a_pax_header(tmp_path):
    data = tar.pax({"size": str(9 * 2**30)}) + tar.header(BLOB)
    with pytest.raises(ArchiveError, match="bytes too early"):
        read(tmp_path, data)


def test_error_names_the_member_and_the_place(tmp_path):
    with pytest.raises(ArchiveError, match=r'a.tar: member "\\x1b" at 1536: '):
        read(tmp_path, tar.archive(INDEX, tar.entry("\x1b")))


def test_number_of_members_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "_MAX_MEMBERS", 2)
    entries = [tar.entry(f"blobs/sha256/{number:064}") for number in range(3)]
    assert len(read(tmp_path, tar.archive(*entries[:2]))) == 2
    with pytest.raises(ArchiveError, match="has more than 2 members"):
        read(tmp_path, tar.archive(*entries))
