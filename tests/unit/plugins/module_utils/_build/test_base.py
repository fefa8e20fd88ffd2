# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an existing image, in memory."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.base import ImageTree, Spool
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    DiffIdMismatchError,
    TreeRefusedError,
)
from ansible_collections.lockstep.images.tests.support.building import base_image, base_layers
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    directory,
    entry,
    hardlink,
    pax,
    symlink,
)


def tree_of(*tars):
    tree = ImageTree()
    tree.read(base_layers(*tars))
    return tree


def paths(tree):
    return [b"/".join(path).decode() for path, _node in tree.below([])]


LOWER = archive(directory("a", 0o700), entry("a/x", b"1"), entry("a/y"), symlink("l", "a"), entry("b"))


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([entry("a/.wh.x")], ["a", "a/y", "b", "l"]),
        ([entry(".wh.a")], ["b", "l"]),
        ([entry("a/z"), entry("a/.wh..wh..opq")], ["a", "a/z", "b", "l"]),
        ([entry("a/x"), entry("a/.wh.x")], ["a", "a/x", "a/y", "b", "l"]),
        ([entry("l/new")], ["a", "a/x", "a/y", "b", "l", "l/new"]),
        ([symlink("m", "a"), entry("m/new")], ["a", "a/new", "a/x", "a/y", "b", "l", "m"]),
        ([entry("b/c")], ["a", "a/x", "a/y", "b", "b/c", "l"]),
        ([directory("a", 0o755)], ["a", "a/x", "a/y", "b", "l"]),
        ([entry(".wh..wh.plnk")], ["a", "a/x", "a/y", "b", "l"]),
    ],
)
def test_upper_layer_changes_the_tree(upper, expected):
    assert paths(tree_of(LOWER, archive(*upper))) == expected


def test_implied_directory_keeps_its_attributes():
    assert tree_of(LOWER, archive(entry("a/z"))).get([b"a"]).mode == 0o700


def test_content_is_read_when_it_is_needed():
    sparse = pax({"GNU.sparse.size": "5", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "1,2"})
    upper = [hardlink("c", "a/x"), entry("a/x", b"2"), entry("d", b"33"), sparse, entry("s", b"44")]
    image = base_image(LOWER, archive(*upper))
    tree = ImageTree()
    tree.read(image.layers)
    nodes = [tree.get(path) for path in ([b"a", b"x"], [b"c"], [b"d"], [b"s"])]
    spool = Spool()
    spool.fetch(image, [node.content for node in nodes])
    found = [b"".join(node.content.chunks()) for node in nodes]
    assert found == [b"2", b"1", b"33", b"\0" + b"44\0\0"]
    spool.close()


def test_users_are_read():
    tree = tree_of(archive(entry("etc/passwd", b"old")), archive(entry("./etc/passwd", b"new")))
    assert tree.users == {b"etc/passwd": b"new"}


def test_hostile_layer_is_refused():
    with pytest.raises(TreeRefusedError, match="leads out"):
        tree_of(archive(entry("../x")))


def test_layer_with_another_diff_id_is_refused():
    (layer,) = base_layers(LOWER)
    other = type(layer)(layer.blob, base_layers(archive())[0].diff_id, layer.open, layer.decompress)
    with pytest.raises(DiffIdMismatchError):
        ImageTree().read([other])
