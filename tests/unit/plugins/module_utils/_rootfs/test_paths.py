# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of entries: where they go, and which are refused."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import TreeRefusedError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.paths import (
    belongs_to_aufs,
    removed_by,
    split,
)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (b"a", (b"", b"a")),
        (b"/a/b/", (b"a", b"b")),
        (b"./a//./b", (b"a", b"b")),
        (b"/", (b"", b"")),
        (b".", (b"", b"")),
        (b"a/..b", (b"a", b"..b")),
    ],
)
def test_name_is_relative_to_the_root(name, place):
    assert tuple(split(name)) == place


@pytest.mark.parametrize("name", [b"", b"..", b"a/..", b"/../a", b"a\0b", b"a" * 256, b"a/" * 256])
def test_name_that_leaves_its_limits_is_refused(name):
    with pytest.raises(TreeRefusedError, match=r"its name|is empty"):
        split(name)


def test_path_is_parent_and_name():
    assert (split(b"a/b").path, split(b"a").path, split(b"/").path) == (b"a/b", b"a", b"")


def test_whiteout_removes_a_name():
    assert (removed_by(b".wh.a"), removed_by(b".wh..a"), removed_by(b"wh.a")) == (b"a", b".a", None)


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh..."])
def test_whiteout_of_no_file_is_refused(name):
    with pytest.raises(TreeRefusedError, match="whiteout of no file"):
        removed_by(name)


@pytest.mark.parametrize(
    ("name", "is_ignored"),
    [
        (b".wh..wh.plnk", True),
        (b".wh..wh.plnk/1.2", True),
        (b"d/.wh..wh.aufs", True),
        (b"d/.wh..wh..opq", False),
        (b"d/.wh.f", False),
        (b"d.wh..wh.x/f", False),
    ],
)
def test_files_of_aufs_are_recognised(name, is_ignored):
    assert belongs_to_aufs(split(name)) == is_ignored
