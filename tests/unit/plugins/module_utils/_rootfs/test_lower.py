# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a layer takes from the layers below it, and what it hides of them: the same in both forms."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import TreeRefusedError
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    described,
    directory,
    entry,
    hardlink,
    pax,
    symlink,
)
from ansible_collections.lockstep.images.tests.support.trees import OPAQUE, unpack, unpack_tree

# The layers in which the engines differ: docker makes the private directory public.
LOWER = archive(
    directory("usr/lib", 0o711),
    symlink("lib", "usr/lib"),
    directory("secret", 0o700),
    directory("etc", 0o755),
    entry("etc/keep", b"1"),
    entry("etc/other", b"2"),
)
UPPER = archive(entry("lib/new"), entry("secret/b"), entry("etc/.wh.keep"))


def test_implied_directories_take_mode_and_time_from_the_layer_below(tmp_path):
    unpack(tmp_path, LOWER, UPPER)
    below, found = described(tmp_path / "0"), described(tmp_path / "1")
    assert found["secret"][:3] == below["secret"][:3]
    assert found["secret"][0] == "drwx------"
    assert found["etc"][:3] == below["etc"][:3]
    # The link below is replaced by a directory with the mode of its target, as in containerd.
    assert found["lib"][0] == "drwx--x--x"
    assert found["etc/keep"][3] == (0, 0)


def test_one_tree_is_what_the_layers_show_together(tmp_path):
    found = described(unpack_tree(tmp_path, LOWER, UPPER))
    assert (found["secret"][0], found["lib"][0], found["usr/lib"][0]) == (
        "drwx------",
        "drwx--x--x",
        "drwx--x--x",
    )
    assert {"lib/new", "secret/b", "etc/other"} <= set(found)
    assert "etc/keep" not in found


def test_implied_directory_takes_attributes(tmp_path):
    unpack(
        tmp_path, archive(pax({"SCHILY.xattr.user.a": "1"}), directory("d")), archive(entry("d/f"))
    )
    assert described(tmp_path / "1")["d"][5] == (("user.a", b"1"),)


def test_directory_behind_a_whiteout_is_not_inherited(tmp_path):
    layers = [archive(directory("d", 0o700)), archive(entry(".wh.d")), archive(entry("d/f"))]
    unpack(tmp_path / "layers", *layers)
    assert described(tmp_path / "layers" / "2")["d"][0] == "drwxr-xr-x"
    assert described(unpack_tree(tmp_path / "tree", *layers))["d"][0] == "drwxr-xr-x"


def test_directory_behind_an_opaque_one_is_not_inherited(tmp_path):
    layers = [
        archive(directory("a/d", 0o700)),
        archive(directory("a"), entry("a/.wh..wh..opq")),
        archive(entry("a/d/f")),
    ]
    unpack(tmp_path / "layers", *layers)
    assert described(tmp_path / "layers" / "2")["a/d"][0] == "drwxr-xr-x"
    assert described(unpack_tree(tmp_path / "tree", *layers))["a/d"][0] == "drwxr-xr-x"


def test_hard_link_to_a_file_below_shares_a_copy_of_it(tmp_path):
    layers = [
        archive(entry("d/a", b"1", mode=0o640), symlink("l", "d/a")),
        archive(hardlink("b", "d/a"), hardlink("m", "l")),
    ]
    unpack(tmp_path / "layers", *layers)
    found = described(tmp_path / "layers" / "1")
    assert (found["d/a"][0], found["d/a"][4], found["l"][3]) == ("-rw-r-----", "b", "d/a")
    assert found["m"][4] == "l"
    tree = described(unpack_tree(tmp_path / "tree", *layers))
    assert (tree["d/a"][4], tree["m"][4]) == ("b", "l")


@pytest.mark.parametrize(
    "below",
    [
        archive(directory("a")),
        archive(entry("b")),
        archive(symlink("d", "/"), entry("canary")),
    ],
)
def test_hard_link_to_nothing_below_is_refused(tmp_path, below):
    target = "d/a" if b"canary" not in below else "d/none"
    for form in (unpack, unpack_tree):
        with pytest.raises(TreeRefusedError, match='entry "x": is a hard link to'):
            form(tmp_path / form.__name__, below, archive(hardlink("x", target)))


def test_hard_link_does_not_follow_a_link_below_out_of_its_layer(tmp_path):
    (tmp_path / "canary").write_text("outside")
    below = archive(symlink("up", "../../.."), symlink("abs", str(tmp_path)))
    for target in ("up/canary", "abs/canary"):
        with pytest.raises(TreeRefusedError, match="does not exist"):
            unpack(tmp_path / target.replace("/", "-"), below, archive(hardlink("x", target)))


@pytest.mark.parametrize("links", [[], [symlink("up", ".")]])
def test_hard_link_into_its_own_place_is_refused(tmp_path, links):
    target = "up/x/a" if links else "x/a"
    for form in (unpack, unpack_tree):
        with pytest.raises(TreeRefusedError, match='entry "x": is a hard link to itself'):
            form(
                tmp_path / form.__name__,
                archive(entry("x/a")),
                archive(*links, hardlink("x", target)),
            )


def test_last_entry_of_a_name_counts_also_after_a_hard_link_to_a_file_below(tmp_path):
    below = archive(entry("a", b"a"), entry("b", b"b"))
    above = archive(
        hardlink("x", "a"), entry("x", b"new"), hardlink("y", "a"), hardlink("y", "b"), entry("z")
    )
    unpack(tmp_path, below, above)
    for tree in (tmp_path / "1", unpack_tree(tmp_path / "tree", below, above)):
        assert [(tree / name).read_bytes() for name in "xy"] == [b"new", b"b"]


# Name: the layers, what is seen in the end, and the directories of the last layer that are opaque.
HIDDEN = {
    "whiteout": ([archive(entry("a"), entry("b")), archive(entry(".wh.a"))], ["b"], []),
    "whiteout of a tree": ([archive(entry("d/e/f"), entry("g")), archive(entry(".wh.d"))], ["g"], []),
    "whiteout of nothing": ([archive(entry("a")), archive(entry("d/.wh.x"))], ["a", "d"], []),
    "whiteout before the same file": ([archive(entry("a", b"1")), archive(entry(".wh.a"), entry("a"))], ["a"], []),
    "whiteout after the same file": ([archive(entry("a", b"1")), archive(entry("a"), entry(".wh.a"))], ["a"], []),
    "whiteout before the same directory": (
        [archive(entry("d/old")), archive(entry(".wh.d"), directory("d"), entry("d/new"))], ["d", "d/new"], ["d"]),
    "whiteout after the same directory": (
        [archive(entry("d/old")), archive(directory("d"), entry("d/new"), entry(".wh.d"))], ["d", "d/new"], ["d"]),
    "whiteout before an implied directory": (
        [archive(entry("d/old")), archive(entry(".wh.d"), entry("d/new"))], ["d", "d/new"], ["d"]),
    "opaque first": (
        [archive(entry("d/old")), archive(directory("d"), entry("d/.wh..wh..opq"), entry("d/new"))],
        ["d", "d/new"], ["d"]),
    "opaque last and twice": (
        [archive(entry("d/old")), archive(entry("d/new"), *[entry("d/.wh..wh..opq")] * 2)], ["d", "d/new"], ["d"]),
    "opaque root": ([archive(entry("a")), archive(entry("b"), entry(".wh..wh..opq"))], ["b"], ["."]),
    "directory over a file": ([archive(entry("d")), archive(entry("d/f"))], ["d", "d/f"], []),
    "file over a directory": ([archive(entry("d/f")), archive(entry("d"))], ["d"], []),
    "link over a directory": ([archive(entry("d/f")), archive(symlink("d", "/etc"))], ["d"], []),
    "whiteout through a link below": (
        [archive(entry("d/f"), symlink("l", "d")), archive(entry("l/.wh.f"))], ["d", "d/f", "l"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_layers_hide_what_is_below_them(tmp_path, name):
    layers, seen, opaque = HIDDEN[name]
    assert sorted(set(described(unpack_tree(tmp_path / "tree", *layers))) - {"."}) == seen
    unpack(tmp_path / "layers", *layers)
    top = described(tmp_path / "layers" / "1")
    found = [path for path, one in top.items() if dict(one[5]).get(OPAQUE) == b"y"]
    assert found == opaque


def test_whiteout_keeps_the_time_of_its_directory(tmp_path):
    layers = [
        archive(directory("d", mtime=5), entry("d/a"), entry("d/b")),
        archive(entry("d/.wh.a")),
    ]
    assert described(unpack_tree(tmp_path / "tree", *layers))["d"][2] == 5 * 10**9
    unpack(tmp_path / "layers", *layers)
    assert described(tmp_path / "layers" / "1")["d"][2] == 5 * 10**9


def test_layers_below_are_not_changed(tmp_path):
    unpack(tmp_path / "alone", LOWER)
    unpack(tmp_path / "both", LOWER, UPPER)
    assert described(tmp_path / "alone" / "0") == described(tmp_path / "both" / "0")


def test_descriptors_are_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    unpack(tmp_path / "layers", LOWER, UPPER)
    unpack_tree(tmp_path / "tree", LOWER, UPPER)
    assert len(os.listdir("/proc/self/fd")) == before
