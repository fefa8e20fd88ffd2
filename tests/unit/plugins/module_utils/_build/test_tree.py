# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of an image in memory."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.tree import (
    Changes,
    Node,
    Tree,
    TreeError,
    parts_of,
)


@pytest.fixture(name="tree")
def fixture_tree():
    tree = Tree()
    for path, node in {
        b"usr": Node("d"),
        b"usr/bin": Node("d", 0o711, 1, 2),
        b"bin": Node("l", link=b"usr/bin"),
        b"up": Node("l", link=b"../../usr/./bin/../bin"),
        b"loop": Node("l", link=b"/loop"),
        b"file": Node("f"),
    }.items():
        tree.put(path.split(b"/"), node)
    return tree


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/bin/tool", b"usr/bin/tool"),
        (b"up/x/y", b"usr/bin/x/y"),
        (b"/new/dir", b"new/dir"),
        (b"file", b"file"),
        (b"/", b""),
    ],
)
def test_links_are_followed_inside_the_tree(tree, path, expected):
    assert b"/".join(tree.resolve(parts_of(path))) == expected


@pytest.mark.parametrize(
    ("path", "reason"),
    [(b"loop", "links"), (b"file/x", "a file"), (b"/".join([b"d"] * 256), "deep")],
)
def test_path_that_leads_nowhere_is_refused(tree, path, reason):
    with pytest.raises(TreeError, match=reason):
        tree.resolve(parts_of(path))


def test_path_never_leads_above_the_root():
    assert parts_of(b"/../a/../../b/.//c") == [b"b", b"c"]


def test_layer_lists_directories_with_the_attributes_that_they_have(tree):
    changes = Changes(tree)
    changes.add([b"usr", b"bin", b"tool"], Node("f"))
    found = [(path, node.mode, node.uid) for path, node in changes.entries()]
    assert found == [(b"usr", 0o755, 0), (b"usr/bin", 0o711, 1), (b"usr/bin/tool", 0o755, 0)]


def test_directory_that_is_there_is_no_change(tree):
    changes = Changes(tree)
    changes.add_directory([b"usr", b"bin"], Node("d", 0o700))
    assert not changes.make_directory([b"usr", b"bin"])
    assert not changes and tree.get([b"usr", b"bin"]).mode == 0o711
    assert changes.make_directory([b"usr", b"new"], 5, 6)
    assert [path for path, _node in changes.entries()] == [b"usr", b"usr/new"]


def test_file_never_replaces_a_directory(tree):
    for parts in ([b"usr"], []):
        with pytest.raises(TreeError):
            Changes(tree).add(parts, Node("f"))
    with pytest.raises(TreeError):
        Changes(tree).make_directory([b"file", b"x"])


def test_layers_are_replayed(tree):
    changes = Changes(tree)
    changes.add([b"usr", b"bin", b"a"], Node("f"))
    copy = Tree()
    copy.replay(changes)
    assert copy.get([b"usr", b"bin"]).mode == 0o711
    assert [b"/".join(path) for path, _node in copy.below([])] == [b"usr", b"usr/bin", b"usr/bin/a"]
