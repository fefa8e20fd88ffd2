# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a host are read without waiting, and a refusal names the owner."""

from __future__ import annotations

import os
import pwd

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import files, writing
from ansible_collections.lockstep.images.plugins.module_utils._store.writing import (
    locked,
)
from ansible_collections.lockstep.images.tests.support.users import (
    NOBODY,
    ordinary_user,
    public_directory,
)

OLD = b"the old bytes"


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    """A directory with a file and a staging directory."""
    (tmp_path / "staging").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    return tmp_path


def test_more_than_the_limit_is_not_read(place):
    with pytest.raises(StoreAccessError, match="is larger than 12 B"):
        files.read_file(str(place / "file"), len(OLD) - 1)
    assert files.read_file(str(place / "file"), len(OLD)) == OLD


def test_missing_file_raises_file_not_found(place):
    with pytest.raises(FileNotFoundError):
        files.read_file(str(place / "none"), 100)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: path.symlink_to("file"), "is a symbolic link", id="S016 link"),
        pytest.param(os.mkfifo, "is not a regular file", id="S016 FIFO"),
        pytest.param(os.mkdir, "is not a regular file", id="S016 directory"),
    ],
)
def test_special_file_is_an_error_and_never_blocks(place, make, reason):
    make(place / "odd")
    with pytest.raises(StoreAccessError, match=reason) as caught:
        files.read_file(str(place / "odd"), 100)
    assert str(place / "odd") in str(caught.value)


@pytest.fixture(name="closed")
def fixture_closed():
    """Yield a directory of root that other users cannot search."""
    with public_directory() as public:
        place = public / "closed"
        place.mkdir(mode=0o700)
        (place / "file").write_bytes(OLD)
        yield place


ROOT = pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("work", ["read", "write", "lock", "make"])
def test_F25_permission_error_names_the_owner_and_the_user(closed, work):
    path = str(closed / "file")
    calls = {
        "read": lambda: files.read_file(path, 100),
        "write": lambda: writing.write_file(path, str(closed), b"new"),
        "lock": lambda: locked(path, True, 0.0).__enter__(),
        "make": lambda: writing.make_directory(f"{path}/a/b"),
    }
    with ordinary_user(), pytest.raises(StoreAccessError) as caught:
        calls[work]()
    message = str(caught.value)
    assert f"{closed} belongs to {ROOT} (uid 0), mode 0700" in message
    assert f"this task runs as {files.user_name(NOBODY)}" in message
    assert "become" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_F25_owner_of_a_visible_file_is_named(closed):
    closed.chmod(0o755)
    (closed / "file").chmod(0o600)
    with ordinary_user(), pytest.raises(StoreAccessError, match=r"file belongs to .* mode 0600"):
        files.read_file(str(closed / "file"), 100)


def test_F25_owner_without_a_name_is_reported_by_number():
    assert files.user_name(4_000_000_000) == "uid 4000000000"
