# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers become one tree. What they hide of each other is in test_lower.py, for both forms."""

from __future__ import annotations

import os

from ansible_collections.lockstep.images.plugins.module_utils._rootfs.marks import Notes
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.merge import merge
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import (
    CALLER,
    TreeOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.removal import DIRECTORY
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    described,
    directory,
    entry,
    hardlink,
)
from ansible_collections.lockstep.images.tests.support.trees import IS_ROOT, unpack_tree
from ansible_collections.lockstep.images.tests.support.users import (
    ordinary_user,
    public_directory,
)


def test_directory_of_the_upper_layer_wins(tmp_path):
    found = described(
        unpack_tree(
            tmp_path,
            archive(directory("d", 0o755, mtime=1), entry("d/a")),
            archive(directory("d", 0o700, mtime=2), entry("d/b")),
        )
    )
    assert (found["d"][0], found["d"][2]) == ("drwx------", 2 * 10**9)
    assert {"d/a", "d/b"} <= set(found)


def test_read_only_directory_is_merged_and_moved(tmp_path):
    found = described(
        unpack_tree(
            tmp_path,
            archive(directory("d", 0o555), entry("d/a")),
            archive(directory("d", 0o555), directory("d/e", 0o555), entry("d/e/b")),
        )
    )
    assert (found["d"][0], found["d/e"][0]) == ("dr-xr-xr-x", "dr-xr-xr-x")


def test_files_are_moved_and_not_copied(tmp_path):
    for name in ("root/d", "layer/d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "layer" / "d" / "f").write_text("x")
    inode = (tmp_path / "layer" / "d" / "f").stat().st_ino
    fds = [os.open(tmp_path / name, DIRECTORY) for name in ("root", "layer")]
    merge(*fds, Notes(), IS_ROOT)
    assert (tmp_path / "root" / "d" / "f").stat().st_ino == inode
    assert os.listdir(tmp_path / "layer") == []


def test_removal_does_not_follow_a_link_of_the_tree(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_text("x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "l").symlink_to(tmp_path / "outside")
    (tmp_path / "layer").mkdir()
    notes = Notes()
    notes.whiteouts[b"l/canary"] = None
    notes.opaque[b"l"] = None
    merge(*[os.open(tmp_path / name, DIRECTORY) for name in ("root", "layer")], notes, IS_ROOT)
    assert os.listdir(tmp_path / "outside") == ["canary"]


def test_read_only_directories_of_a_user_lose_what_a_layer_removes():
    below = archive(
        directory(".", 0o555),
        directory("cache", 0o555),
        directory("cache/a", 0o555),
        entry("cache/a/f"),
        directory("o", 0o555),
        entry("o/old"),
        entry("w"),
    )
    above = archive(
        directory("cache", 0o555),
        entry("cache/.wh.a"),
        entry(".wh.w"),
        entry("o/.wh..wh..opq"),
        entry("o/new"),
        hardlink("l", "o/new"),
    )
    with public_directory() as path, ordinary_user():
        found = described(unpack_tree(path, below, above, options=TreeOptions(CALLER)))
    assert set(found) == {".", "cache", "o", "o/new", "l"}
    assert [found[name][0] for name in (".", "cache", "o")] == ["dr-xr-xr-x"] * 3
