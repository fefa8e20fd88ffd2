# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first difference of two trees is found and named."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.compare import Comparison
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.removal import DIRECTORY
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    directory,
    entry,
    hardlink,
    symlink,
)
from ansible_collections.lockstep.images.tests.support.trees import unpack_tree

TAR = archive(
    directory("d"), entry("d/a", b"1"), hardlink("b", "d/a"), symlink("l", "d"), entry("z", b"2")
)


def grow(path):
    (path / "d" / "new").write_text("x")


CHANGES = {
    "content": (lambda path: (path / "z").write_bytes(b"3"), "z", "has another time"),
    "size": (lambda path: (path / "z").write_bytes(b"33"), "z", "has 2 bytes, not 1"),
    "mode": (lambda path: os.chmod(path / "z", 0o600), "z", "has mode 0600, not 0644"),
    "removal": (lambda path: os.unlink(path / "z"), "z", "is missing"),
    "addition": (lambda path: (path / "c").mkdir(), "c", "is new"),
    "type": (lambda path: (os.unlink(path / "z"), (path / "z").mkdir()), "z", "has another type"),
    "attribute": (lambda path: os.setxattr(path / "z", "user.x", b"1"), "z", "has other extended attributes"),
    "link": (lambda path: (os.unlink(path / "b"), (path / "b").write_bytes(b"1")), "b", "has another time"),
    "target": (lambda path: (os.unlink(path / "l"), os.symlink("x", path / "l")), "l", "has another time"),
}  # fmt: skip


def first(one, other):
    return Comparison().first_difference(os.open(one, DIRECTORY), os.open(other, DIRECTORY))


@pytest.fixture(name="trees")
def fixture_trees(tmp_path):
    return unpack_tree(tmp_path / "one", TAR), unpack_tree(tmp_path / "other", TAR)


def test_equal_trees_have_no_difference(trees):
    assert first(*trees) is None


@pytest.mark.parametrize("name", CHANGES)
def test_difference_is_named(trees, name):
    change, path, what = CHANGES[name]
    times = os.stat(trees[0])
    change(trees[0])
    os.utime(trees[0], ns=(times.st_mtime_ns, times.st_mtime_ns))
    found = first(*trees)
    assert found.path == path.encode()
    assert what in (found.what, "has another time")


def test_content_is_compared_although_time_and_size_are_equal(trees):
    state = os.stat(trees[0] / "z")
    (trees[0] / "z").write_bytes(b"3")
    os.utime(trees[0] / "z", ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert tuple(first(*trees)) == (b"z", "has other content")


def test_hard_links_are_compared(trees):
    for tree in trees:
        state = os.stat(tree)
        os.unlink(tree / "b")
        if tree == trees[0]:
            os.link(tree / "z", tree / "b")
        else:
            (tree / "b").write_bytes(b"2")
            os.utime(tree / "b", ns=(os.stat(tree / "z").st_mtime_ns,) * 2)
        os.utime(tree, ns=(state.st_mtime_ns,) * 2)
    assert first(*trees).what == "has other hard links"
