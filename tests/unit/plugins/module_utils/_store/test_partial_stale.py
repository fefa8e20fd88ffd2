# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that killed writers leave in the staging directory of a store."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store import files
from ansible_collections.lockstep.images.tests.support.stores import remove_stale

EARLIER, LATER = 0, 2**32


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    """Return a directory with a staging directory."""
    (tmp_path / "staging").mkdir()
    return tmp_path


@pytest.mark.parametrize("when", [EARLIER, LATER], ids=["S035 old", "S035 from the future"])
def test_staged_file_without_a_writer_is_removed_at_any_age(place, when):
    abandoned, living = place / "staging" / "part-dead", place / "staging" / "part-living"
    for path in (abandoned, living):
        path.write_bytes(b"some")
        os.utime(path, (when, when))
    with open(living, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        remove_stale(place / "staging")
    assert os.listdir(place / "staging") == ["part-living"]


def test_files_of_other_tools_are_kept(place):
    """S024: lock files and the staged files of other tools are kept."""
    others = ["index.lock", "oci-put-blob123", ".umoci-1", "ingest"]
    for name in [*others, "part-1"]:
        (place / "staging" / name).write_bytes(b"")
    (place / "staging" / "part-link").symlink_to("index.lock")
    remove_stale(place / "staging")
    assert sorted(os.listdir(place / "staging")) == sorted([*others, "part-link"])


def test_removing_stale_files_never_fails(place, monkeypatch):
    """S003: the clean-up is optional."""
    (place / "staging" / "part-1").write_bytes(b"")

    def refused(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, "unlink", refused)
    remove_stale(place / "staging")
    remove_stale(place / "none")
