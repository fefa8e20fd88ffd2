# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files in archives: unpacked with their holes as engines do it, and maps that contradict themselves."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    LayerTooLargeError,
    TreeRefusedError,
    TreeUnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import Limits
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.reader import EntryReader
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.stream import LayerStream
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    directory,
    entry,
    gnu_long,
    pax_records,
    symlink,
)
from ansible_collections.lockstep.images.tests.support.trees import unpack, unpack_tree

KIB = 1024
LARGE = 2**63 - 1


def sparse(records, data=b"", follows=None):
    """Return a sparse file whose pax header has these records, without their prefix."""
    named = [(key if key == "path" else f"GNU.sparse.{key}", value) for key, value in records]
    header = entry("pax", pax_records(*named), "x")
    return header + (entry("GNUSparseFile.1/f", data) if follows is None else follows)


def old(segments, size, data, *more):
    """Return a sparse file of version 0.1."""
    text = ",".join(f"{offset},{length}" for offset, length in segments)
    records = [("size", str(size)), ("numblocks", str(len(segments))), ("name", "f"), ("map", text)]
    return sparse([*records, *more], data)


def new(text, size, data=b"", padding=True):
    """Return a sparse file of version 1.0, whose content starts with a map."""
    content = text + bytes(-len(text) % 512 if padding else 0) + data
    records = [("major", "1"), ("minor", "0"), ("name", "f"), ("realsize", str(size))]
    return sparse(records, content)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
@pytest.mark.parametrize("form", [unpack, unpack_tree])
def test_file_of_gnu_tar_has_its_content_and_its_holes(tmp_path, version, form):
    path = tmp_path / ("long" * 40)
    with path.open("wb") as file:
        for number in range(40):  # more than fit into one block of a map
            file.seek(number * 128 * KIB)
            file.write(b"%d" % number * 4 * KIB)
        file.truncate(8192 * KIB)
    (tmp_path / "after").write_bytes(b"after")
    options = ["--sparse", "--format=posix", f"--sparse-version={version}", "-C", tmp_path]
    tar = subprocess.run(["tar", *options, "-cf", "-", path.name, "after"], check=True, stdout=-1)
    assert len(tar.stdout) < 1024 * KIB
    form(tmp_path / "trees", tar.stdout)
    root = tmp_path / "trees" / ("0" if form is unpack else "root")
    assert sorted(os.listdir(root)) == ["after", path.name]
    assert (root / path.name).read_bytes() == path.read_bytes()
    assert (root / path.name).stat().st_blocks * 512 < 1024 * KIB
    assert (root / "after").read_bytes() == b"after"


@pytest.mark.parametrize(
    "file",
    [
        old([(2, 3), (7, 0)], 8, b"abc"),
        sparse(
            [
                ("size", "8"),
                ("numblocks", "2"),
                ("offset", "2"),
                ("numbytes", "3"),
                ("offset", "7"),
                ("numbytes", "0"),
                ("path", "f"),
            ],
            b"abc",
        ),
        new(b"2\n2\n3\n7\n0\n", 8, b"abc"),
        new(b"1\n2\n3\n", 8, b"abc"),
    ],
)
def test_content_has_zeros_for_holes(file):
    tar = archive(file, entry("after", b"x"))
    stream = LayerStream(iter([tar[at : at + 100] for at in range(0, len(tar), 100)]))
    reader = EntryReader(stream, "layer x", 10, 1 << 20)
    found = [(one.name, one.size, b"".join(map(bytes, one.content(stream)))) for one in reader]
    assert found == [(b"f", 8, b"\0\0abc\0\0\0"), (b"after", 1, b"x")]


def test_file_can_be_one_hole(tmp_path):
    layer = unpack(tmp_path, archive(old([], 5000, b"", ("major", "0"), ("minor", "1"))))[0]
    assert (tmp_path / "0" / "f").read_bytes() == bytes(5000)
    assert layer.counts.bytes == 5000


REFUSED = {
    "unknown version": (old([(0, 3)], 8, b"abc", ("minor", "9")), TreeUnsupportedError, "unknown version"),
    "no map": (sparse([("size", "8")], b"abc"), TreeUnsupportedError, "unknown version"),
    "overlap": (old([(0, 3), (2, 1)], 8, b"abcd"), TreeRefusedError, "not in order"),
    "backwards": (old([(4, 2), (0, 2)], 8, b"abcd"), TreeRefusedError, "not in order"),
    "beyond the end": (old([(6, 3)], 8, b"abc"), TreeRefusedError, "does not fit its size"),
    "more content": (old([(0, 2)], 8, b"abc"), TreeRefusedError, "does not fit its size"),
    "less content": (old([(0, 4)], 8, b"abc"), TreeRefusedError, "does not fit its size"),
    "other count": (sparse([("size", "8"), ("numblocks", "2"), ("map", "0,3")], b"abc"), TreeRefusedError, "another length"),
    "odd map": (sparse([("size", "8"), ("numblocks", "1"), ("map", "0,3,4")], b"abc"), TreeRefusedError, "another length"),
    "no size": (sparse([("numblocks", "1"), ("map", "0,3")], b"abc"), TreeRefusedError, "malformed"),
    "negative": (sparse([("size", "8"), ("numblocks", "1"), ("map", "-1,3")], b"abc"), TreeRefusedError, "malformed"),
    "beyond 64 bits": (old([(LARGE + 1, 0)], LARGE, b""), TreeRefusedError, "malformed"),
    "offset twice": (sparse([("offset", "0"), ("offset", "1")]), TreeRefusedError, "not in order"),
    "length first": (sparse([("numbytes", "0")]), TreeRefusedError, "not in order"),
    "hidden numbers": (sparse([("offset", "0,1"), ("numbytes", "2")]), TreeRefusedError, "not in order"),
    "size twice": (sparse([("size", "1"), ("size", "2")]), TreeRefusedError, "GNU.sparse.size\" is there twice"),
    "map without end": (new(b"9\n1\n", 8), TreeRefusedError, "does not end"),
    "map without a line": (new(b"1" * 2048, 8), TreeRefusedError, "does not end"),
    "long map": (new(b"0" * (1 << 20) + b"1\n0\n0\n", 8), TreeRefusedError, "does not end"),
    "many segments": (new(b"9999999999999999999\n", 8), TreeRefusedError, "malformed"),
    "map of a text": (new(b"one\n", 8), TreeRefusedError, "malformed"),
    "short block": (new(b"1\n0\n0\n", 8, padding=False), TreeRefusedError, "does not end"),
    "directory": (sparse([("size", "0")], follows=directory("d")), TreeRefusedError, "is sparse, and not a file"),
    "link": (sparse([("size", "0")], follows=symlink("a", "b")), TreeRefusedError, "is sparse, and not a file"),
    "name of a directory": (
        sparse([("size", "9"), ("numblocks", "0"), ("map", ""), ("name", "d/"), ("major", "0"), ("minor", "0")]),
        TreeRefusedError, "the name of a directory"),
    "two names": (gnu_long("a") + old([], 9, b""), TreeRefusedError, "both name it"),
    "name that leaves the root": (
        sparse([("size", "3"), ("numblocks", "1"), ("map", "0,3"), ("name", "../evil")], b"abc"),
        TreeRefusedError, "leads out"),
    "hole of 8 EiB": (old([(LARGE - 3, 3)], LARGE, b"abc"), LayerTooLargeError, "more than 1000000 bytes with the holes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_map_that_contradicts_itself_is_refused(tmp_path, name):
    file, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as raised:
        unpack(
            tmp_path / "trees",
            archive(file),
            limits=Limits(1_000_000 + (1 << 20) * (name == "long map"), 10),
        )
    assert str(raised.value).startswith("layer sha256:")
    assert os.listdir(tmp_path) == ["trees"]


def test_holes_of_all_files_are_counted_together(tmp_path):
    tar = archive(*[old([], 300_000, b"", ("major", "0"), ("minor", "0"))] * 4)
    with pytest.raises(LayerTooLargeError, match="entry 4 "):
        unpack(tmp_path, tar, limits=Limits(1_000_000, 10))


def test_archive_that_ends_inside_a_map_is_refused(tmp_path):
    with pytest.raises(TreeRefusedError, match="inside a sparse map"):
        unpack(tmp_path, new(b"900\n" + b"1\n" * 1800, 8)[: 512 * 4 + 20])
