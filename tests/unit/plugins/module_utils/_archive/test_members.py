# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an archive: which are read, and which archives are refused."""

from __future__ import annotations

import gzip

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import members
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.errors import ArchiveError
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._archive.members import read_members
from ansible_collections.lockstep.images.tests.support import tarballs as tar

HEX = "0" * 64
BLOB, OTHER = f"blobs/sha256/{HEX}", f"blobs/sha256/{'1' * 64}"
INDEX = tar.entry("index.json", b"{}")
LAYER, TARGET = f"{HEX}/layer.tar", f"../{'1' * 64}/layer.tar"


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


MALFORMED = {
    "traversal": ([tar.entry("../index.json")], "not a name"),
    "absolute": ([tar.entry("/index.json")], "not a name"),
    "traversal in blobs": ([tar.entry(f"blobs/sha256/../{HEX}")], "not a name"),
    "other file": ([tar.entry("etc/passwd")], "not a name"),
    "upper-case digest": ([tar.entry(f"blobs/sha256/{'A' * 64}")], "not a name"),
    "short digest": ([tar.entry(BLOB[:-1])], "not a name"),
    "newline": ([tar.entry("index.json\n")], "not a name"),
    "NUL": ([tar.entry(b"index.json\0x")], "has a NUL"),
    "NUL in pax": ([tar.pax({"path": b"index.json\0x"}), INDEX], "has a NUL"),
    "not UTF-8": ([tar.entry(b"index.json\xff")], "not a name"),
    "symlink": ([tar.symlink(BLOB, OTHER)], "is a symbolic link"),
    "symlink out": ([tar.symlink(LAYER, "/etc/passwd")], "is a symbolic link"),
    "symlink out by ..": ([tar.symlink(LAYER, "../../etc/passwd")], "is a symbolic link"),
    "symlink to nothing": ([tar.symlink(LAYER, TARGET)], "links to a layer that is not"),
    "hard link": ([tar.hardlink(BLOB, OTHER)], "not a regular file"),
    "character device": ([tar.entry(BLOB, kind=tar.CHAR)], "not a regular file"),
    "block device": ([tar.entry(BLOB, kind=tar.BLOCK)], "not a regular file"),
    "fifo": ([tar.entry(BLOB, kind=tar.FIFO)], "not a regular file"),
    "sparse": ([tar.entry(BLOB, kind="S")], "not a regular file"),
    "unknown type": ([tar.entry(BLOB, kind="Z")], "not a regular file"),
    "directory": ([tar.directory("etc")], "a directory that no archive"),
    "directory with content": ([tar.entry("blobs", b"x", kind="5")], "a directory that no archive"),
    "GNU long name": ([tar.gnu_long(BLOB), INDEX], "not a regular file"),
    "pax path": ([tar.pax({"path": "index.json"}), tar.entry(BLOB)], "different names"),
    "pax size": ([tar.pax({"size": "1"}), INDEX], "different sizes"),
    "pax size no number": ([tar.pax({"size": "x"}), INDEX], "is not a number"),
    "pax sparse": ([tar.pax({"GNU.sparse.major": "1"}), INDEX], "a sparse file or a link"),
    "pax link": ([tar.pax({"linkpath": "x"}), INDEX], "a sparse file or a link"),
    "pax twice": ([tar.pax({"a": "1"}), tar.pax({"a": "1"}), INDEX], "two pax headers"),
    "pax malformed": ([tar.entry("pax", b"9 a=b\n", kind="x"), INDEX], "is malformed"),
    "large pax": ([tar.entry("pax", bytes(70_000), kind="x"), INDEX], "header of 70000 bytes"),
    "global path": ([tar.pax({"path": "x"}, "g"), INDEX], "a global pax header"),
    "blob twice": ([tar.entry(BLOB), tar.entry(BLOB)], "is there twice"),
    "index twice": ([INDEX, INDEX], "is there twice"),
    "twice by ./": ([INDEX, tar.entry("./index.json")], "is there twice"),
    "link twice": ([tar.symlink(LAYER, TARGET), tar.entry(LAYER)], "is there twice"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_member_is_refused(tmp_path, case):
    entries, reason = MALFORMED[case]
    with pytest.raises(ArchiveError, match=reason) as caught:
        read(tmp_path, tar.archive(*entries))
    assert (caught.value.kind, "\n" in str(caught.value)) == ("archive-malformed", False)


def with_field(offset, value):
    block = bytearray(tar.header("index.json"))
    block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + tar.END


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", "archive-truncated", "is empty"),
        (INDEX[:100], "archive-truncated", "ends inside a header"),
        (INDEX, "archive-truncated", "ends without its end mark"),
        (INDEX + bytes(512), "archive-truncated", "ends inside its end mark"),
        (INDEX + tar.END[:700], "archive-truncated", "ends inside its end mark"),
        (INDEX[:600], "archive-truncated", "ends 424 bytes too early"),
        (tar.header(BLOB, size=10**9), "archive-truncated", "bytes too early"),
        (tar.archive(INDEX) * 2, "archive-malformed", "bytes follow its end"),
        (tar.archive(INDEX) + bytes(9000) + b"x", "archive-malformed", "bytes follow its end"),
        (INDEX + bytes(512) + INDEX + tar.END, "archive-malformed", "bytes follow its end"),
        (
            gzip.compress(tar.archive(INDEX), mtime=0),
            "archive-unsupported",
            "is compressed with gzip",
        ),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "archive-unsupported", "is compressed with zstd"),
        (b"\xfd7zXZ\0" + bytes(600), "archive-unsupported", "is compressed with xz"),
        (b"BZh9" + bytes(600), "archive-unsupported", "is compressed with bzip2"),
        (b"x" * 2048, "archive-malformed", "checksum|octal"),
        (with_field(124, b"0000000009x\0"), "archive-malformed", "not octal"),
        (with_field(124, b"\xff" * 12), "archive-malformed", "negative"),
        (with_field(124, b"\x80" + (2**60).to_bytes(11, "big")), "archive-truncated", "too early"),
        (b"i" + tar.archive(tar.entry("jndex.json"))[1:], "archive-malformed", "checksum"),
    ],
)
def test_malformed_archive_is_refused(tmp_path, data, kind, reason):
    with pytest.raises(ArchiveError, match=reason) as caught:
        read(tmp_path, data)
    assert (caught.value.kind, str(tmp_path) in str(caught.value)) == (kind, True)


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
