# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees are removed whatever is in them, and nothing else is."""

from __future__ import annotations

import os

from ansible_collections.lockstep.images.plugins.module_utils._rootfs.removal import (
    DIRECTORY,
    clear,
    movable,
    remove,
)
from ansible_collections.lockstep.images.tests.support.users import (
    ordinary_user,
    public_directory,
)


def open_path(path):
    return os.open(path, DIRECTORY)


def make_deep(path, depth):
    """Create nested directories without a path that is too long."""
    fd = open_path(path)
    for _number in range(depth):
        os.mkdir("d", dir_fd=fd)
        with open(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "w", encoding="ascii"):
            inner = os.open("d", DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_tree_of_any_depth_is_removed(tmp_path):
    (tmp_path / "top").mkdir()
    make_deep(tmp_path / "top", 1500)
    remove(open_path(tmp_path), b"top")
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_text("x")
    (tmp_path / "top" / "d").mkdir(parents=True)
    (tmp_path / "top" / "d" / "l").symlink_to(tmp_path / "outside")
    (tmp_path / "link").symlink_to("outside")
    fd = open_path(tmp_path)
    remove(fd, b"top")
    remove(fd, b"link")
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["canary"]


def test_tree_without_permissions_is_removed(tmp_path):
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "a" / "b" / "f").write_text("x")
    os.chmod(tmp_path / "top" / "a" / "b", 0)
    os.chmod(tmp_path / "top" / "a", 0)
    clear(open_path(tmp_path))
    assert os.listdir(tmp_path) == []


def test_tree_that_its_owner_cannot_write_is_removed():
    with public_directory() as path, ordinary_user():
        (path / "top" / "read" / "only").mkdir(parents=True)
        (path / "top" / "read" / "f").write_text("x")
        os.chmod(path / "top" / "read", 0o555)
        os.chmod(path / "top", 0o555)
        clear(open_path(path))
        assert os.listdir(path) == []


def test_directory_that_its_owner_cannot_write_is_moved_and_keeps_its_mode():
    with public_directory() as path, ordinary_user():
        (path / "a" / "d").mkdir(parents=True)
        (path / "b").mkdir()
        os.chmod(path / "a" / "d", 0o555)
        with movable(open_path(path / "a"), "d"):
            os.rename(path / "a" / "d", path / "b" / "d")
        assert (path / "b" / "d").stat().st_mode & 0o777 == 0o555


def test_missing_name_is_not_an_error(tmp_path):
    remove(open_path(tmp_path), b"none")
