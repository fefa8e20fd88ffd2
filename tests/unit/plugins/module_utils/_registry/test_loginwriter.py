# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins that are written to files: what changes, and what stays."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthFileError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    lock_directory,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginwriter import (
    save_login,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import store as files
from ansible_collections.lockstep.images.tests.support.logins import (
    find_login,
    login,
    write_auth_file,
)
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    table,
)

SECRET = "hunter22"
USER = Credentials("alice", SECRET)
HOST = "registry.example"


@pytest.fixture(name="path")
def fixture_path(tmp_path) -> Path:
    return tmp_path / "auth.json"


def mode_of(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("case", params(table("credentials", "own_login"), "name"))
def test_stored_login_is_found(case, path):
    """A013: and the rest of the file stays."""
    others = {"experimental": True, "HttpHeaders": {"X": "y"}} if case.get("keeps") else {}
    write_auth_file(path, {"other.example": login("bob", "x")}, **others)
    save_login(str(path), case["login"], USER, lock_directory)
    assert find_login(path, case["name"]) == USER
    assert find_login(path, "other.example") == Credentials("bob", "x")
    assert others.items() <= json.loads(path.read_text()).items()


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o400])
def test_a_file_is_written_for_its_owner_alone(mode, path):
    """A001."""
    write_auth_file(path, {})
    path.chmod(mode)
    save_login(str(path), HOST, USER, lock_directory)
    assert mode_of(path) == 0o600


def test_a_new_file_and_its_directory_are_for_their_owner_alone(tmp_path):
    """A001."""
    path = tmp_path / "home" / ".docker" / "config.json"
    save_login(str(path), HOST, USER, lock_directory)
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert find_login(path, HOST) == USER


def test_a_host_in_capitals_is_logged_out_of(path):
    """A004, A017: a host such as LOCALDOMAIN keeps its capitals."""
    save_login(str(path), "LOCALDOMAIN", USER, lock_directory)
    assert find_login(path, "LOCALDOMAIN/app") == USER
    save_login(str(path), "LOCALDOMAIN", None, lock_directory)
    assert find_login(path, "LOCALDOMAIN/app") is None


def test_a_link_is_followed_and_stays_one(tmp_path):
    """A012."""
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    write_auth_file(target, {"other.example": login("bob", "x")})
    link.symlink_to("target.json")
    assert find_login(link, "other.example") == Credentials("bob", "x")
    save_login(str(link), HOST, USER, lock_directory)
    assert link.is_symlink() and find_login(target, HOST) == USER
    assert find_login(target, "other.example") == Credentials("bob", "x")


def test_many_logins_at_once_are_all_kept(path):
    """A013: and so is what we know nothing of."""
    write_auth_file(
        path, {"other.example": login("bob", "x")}, plugins={"a": 1}, psFormat="{{.ID}}"
    )
    threads = [
        threading.Thread(target=save_login, args=(str(path), f"r{n}.example", USER, lock_directory))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(find_login(path, f"r{n}.example") == USER for n in range(12))
    value = json.loads(path.read_text())
    assert (len(value["auths"]), value["plugins"], value["psFormat"]) == (13, {"a": 1}, "{{.ID}}")


def test_logging_in_and_out_leaves_the_order_of_the_file(path):
    """A013."""
    write_auth_file(path, {"z.example": {}, "a.example": {"future": [1]}}, zz=1, aa=2)
    before = json.loads(path.read_text())
    save_login(str(path), HOST, USER, lock_directory)
    save_login(str(path), HOST, None, lock_directory)
    after = json.loads(path.read_text())
    assert after == before
    assert (list(after), list(after["auths"])) == (list(before), list(before["auths"]))


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_file(call, path, monkeypatch):
    """A014."""
    write_auth_file(path, {HOST: login("alice", SECRET)})
    before = path.read_bytes()

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(AuthFileError) as caught:
        save_login(str(path), HOST, Credentials("bob", "newsecret"), lock_directory)
    monkeypatch.undo()
    assert_tells(caught.value, "invalid-auth-file", str(path), never=("newsecret", SECRET))
    assert "space" in caught.value.hint
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
