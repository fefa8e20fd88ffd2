# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that killed writers leave next to files outside a store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._operations.leftovers import (
    RemoveLeftover,
    leftovers,
)

DEAD = ".lockstep-0123456789abcdef"


def remove(path: Path) -> None:
    RemoveLeftover(str(path)).apply(Pool(1))


@pytest.mark.parametrize(
    "name",
    [
        "part-0123456789abcdef",
        ".lockstep-0123456789abcde",
        ".lockstep-0123456789abcdef0",
        ".lockstep-0123456789ABCDEF",
        ".lockstep-notes",
        "config.json",
    ],
)
def test_F34_file_with_another_name_is_not_a_leftover(name, tmp_path):
    (tmp_path / name).write_text("kept")
    assert leftovers(str(tmp_path)) == []


def test_F34_file_in_use_is_not_a_leftover(tmp_path):
    path = tmp_path / DEAD
    with path.open("w") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert leftovers(str(tmp_path)) == []
        remove(path)
        assert path.exists()
    assert leftovers(str(tmp_path)) == [str(path)]
    remove(path)
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of two users")
def test_F34_file_of_another_user_is_not_a_leftover(tmp_path):
    (tmp_path / DEAD).write_text("kept")
    os.chown(tmp_path / DEAD, 4242, 4242)
    assert leftovers(str(tmp_path)) == []


def test_F34_links_and_directories_are_not_leftovers(tmp_path):
    (tmp_path / DEAD).symlink_to("/etc/passwd")
    assert leftovers(str(tmp_path)) == []
    (tmp_path / DEAD).unlink()
    (tmp_path / DEAD).mkdir()
    (tmp_path / DEAD / "kept").write_text("kept")
    assert leftovers(str(tmp_path)) == []


def test_F34_missing_directory_has_no_leftovers(tmp_path):
    assert leftovers(str(tmp_path / "none")) == leftovers(str(tmp_path / "none" / "deep")) == []
