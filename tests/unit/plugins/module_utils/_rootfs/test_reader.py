# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries with everything that precedes them, and archives that two readers would understand differently."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    LayerTooLargeError,
    TreeRefusedError,
    TreeUnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.reader import EntryReader
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.stream import LayerStream
from ansible_collections.lockstep.images.tests.support.tarballs import (
    END,
    archive,
    directory,
    entry,
    gnu_long,
    hardlink,
    header,
    pax,
)

LONG = "d/" * 60 + "file"


def read(tar, size=100, limit=1000):
    """Return name and content of the entries, read in pieces of ``size`` bytes."""
    stream = LayerStream(iter([tar[at : at + size] for at in range(0, len(tar), size)]))
    found = []
    for one in EntryReader(stream, "layer x", limit, 1 << 30):
        found.append((one.name, stream.read(one.size) if one.kind == b"0" else one.link))
    return found


@pytest.mark.parametrize("size", [1, 511, 512, 5000])
def test_entries_are_read_from_pieces_of_any_size(size):
    tar = archive(entry("a", b"1" * 700), directory("d"), entry("d/b", b"2"), hardlink("c", "a"))
    expected = [(b"a", b"1" * 700), (b"d", b""), (b"d/b", b"2"), (b"c", b"a")]
    assert read(tar, size) == expected


def test_content_that_is_not_read_is_skipped():
    tar = archive(entry("a", b"1" * 700), entry("b"))
    stream = LayerStream(iter([tar]))
    assert [one.name for one in EntryReader(stream, "layer x", 9, 1 << 30)] == [b"a", b"b"]


@pytest.mark.parametrize(
    "tar",
    [
        archive(pax({"path": LONG}), entry("x")),
        archive(gnu_long(LONG), entry("x")),
        archive(gnu_long("k", "K"), gnu_long(LONG), entry("x")),
    ],
)
def test_long_names_are_read(tar):
    assert [name for name, _content in read(tar)] == [LONG.encode()]


def test_size_of_a_pax_header_counts():
    tar = archive(pax({"size": "3"}), entry("x", b"abc"))
    assert read(tar) == [(b"x", b"abc")]


@pytest.mark.parametrize("end", [b"", bytes(512), END, END + b"junk" * 128])
def test_archive_ends_with_zeros_or_with_its_last_byte(end):
    assert read(entry("a") + end) == [(b"a", b"")]


def test_global_header_with_a_comment_is_ignored():
    assert read(archive(pax({"comment": "x", "mtime": "1"}, "g"), entry("a"))) == [(b"a", b"")]


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (entry("a") + bytes(512) + entry("b"), "single block of zeros"),
        (entry("a") + b"x", "inside a header"),
        (entry("a", b"1" * 700)[:600], "too early"),
        (archive(entry("a/", b"1")), "the name of a directory"),
        (pax({"path": "a"}) + END, "ends after a header"),
        (pax({"path": "a"})[:600], "inside a header"),
        (archive(pax({"path": "a"}), pax({"path": "b"}), entry("x")), "two pax headers"),
        (archive(gnu_long("a"), gnu_long("b"), entry("x")), "two long names"),
        (archive(gnu_long("a"), pax({"path": "b"}), entry("x")), "both name it"),
        (archive(gnu_long("a", "K"), pax({"linkpath": "b"}), entry("x")), "both name it"),
        (archive(pax({"path": "a"}, "g"), entry("x")), "global pax header"),
        (archive(pax({"size": "1"}, "g"), entry("x")), "global pax header"),
        (archive(pax({"GNU.sparse.size": "1"}, "g"), entry("x")), "global pax header"),
        (header("x", "x", 1 << 40), "a header of"),
        (archive(pax({"uid": str(2**32 - 1)}), entry("a")), "owner 4294967295:0 is out of range"),
        (archive(pax({"mtime": "9" * 19}), entry("a")), "time is out of range"),
    ],
)
def test_ambiguous_archive_is_refused(tar, message):
    with pytest.raises(TreeRefusedError, match=message) as raised:
        read(tar)
    assert str(raised.value).startswith("layer x: entry ")
    assert raised.value.details["layer"] == "x"


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (archive(entry("a", kind="S")), '"a": is a sparse file in the old format of GNU tar'),
        (archive(entry("a", kind="Z")), 'its type "Z" is unknown'),
    ],
)
def test_unsupported_entry_is_named(tar, message):
    with pytest.raises(TreeUnsupportedError, match=message):
        read(tar)


def test_entries_are_counted():
    with pytest.raises(LayerTooLargeError, match="more than 2 entries"):
        read(archive(entry("a"), entry("b"), entry("c")), limit=2)


def test_name_is_escaped_in_messages():
    with pytest.raises(TreeUnsupportedError) as raised:
        read(archive(entry(b"a\n\x1b[31m\xff\\", kind="S")))
    assert r'"a\n\x1b[31m\xff\\"' in str(raised.value)
    assert str(raised.value).isprintable()
