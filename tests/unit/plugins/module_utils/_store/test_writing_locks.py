# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between processes: timeouts, deleted lock files, file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    LockedError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import writing
from ansible_collections.lockstep.images.plugins.module_utils._store.partial import open_partial
from ansible_collections.lockstep.images.plugins.module_utils._store.writing import locked
from ansible_collections.lockstep.images.tests.support.fakes import blob

OLD = b"the old bytes"


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    """Return a directory with a file and a staging directory."""
    (tmp_path / "staging").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    return tmp_path


def take(lock, exclusive=True, timeout=0):
    """Take a lock and release it."""
    with locked(str(lock), exclusive, timeout):
        pass


def test_unheld_lock_file_is_free(place):
    """S011"""
    (place / "lock").write_text("1\n")
    with locked(str(place / "lock"), exclusive=True, timeout=0):
        assert (place / "lock").read_text() == f"{os.getpid()}\n"


HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
os.write(fd, b"%d\\n" % os.getpid())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
def test_timeout_of_a_lock_names_the_process_that_holds_it(place, exclusive):
    """S012"""
    lock = str(place / "lock")
    command = [sys.executable, "-S", "-c", HOLD, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError) as caught:
            take(lock, exclusive, timeout=0.1)
        assert str(caught.value) == f"{lock} is locked by process {holder.pid}, gave up waiting"
        holder.stdin.close()
    take(lock, exclusive, timeout=5)


def test_unknown_holder_is_not_named(place):
    """S012"""
    lock = str(place / "lock")
    with locked(lock, exclusive=False, timeout=0):
        with pytest.raises(LockedError, match=r"lock is locked, gave up waiting$"):
            take(lock)
        take(lock, exclusive=False)


def test_a_file_system_without_locks_is_an_error(place, monkeypatch):
    """S013: never silently without a lock."""

    def no_locks(fd, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreAccessError, match="cannot be locked: No locks available") as caught:
        take(place / "lock")
    assert "flock" in caught.value.hint
    with pytest.raises(StoreAccessError, match="No locks available"):
        writing.write_file(str(place / "file"), str(place / "staging"), b"the new bytes")
    part = open_partial(str(place / "blob"), str(place / "staging"), blob(b"x"), 1.0)
    with pytest.raises(StoreAccessError, match="No locks available"):
        part.__enter__()
    assert os.listdir(place / "staging") == []


def test_lock_file_deleted_during_the_wait_is_not_the_lock(place, monkeypatch):
    """S040"""
    lock = place / "lock"
    holder = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)

    def admin_deletes_it(_seconds):
        if lock.exists():
            lock.unlink()
            os.close(holder)

    monkeypatch.setattr(time, "sleep", admin_deletes_it)
    with locked(str(lock), exclusive=True, timeout=60):
        assert lock.read_text() == f"{os.getpid()}\n"
        with pytest.raises(LockedError):
            take(lock)


def test_lock_file_is_not_created_without_create(place):
    with locked(str(place / "lock"), exclusive=False, timeout=0, create=False):
        pass
    assert not (place / "lock").exists()


def test_lock_file_that_is_a_link_is_rejected(place):
    """S016"""
    (place / "lock").symlink_to("file")
    with pytest.raises(StoreAccessError):
        take(place / "lock")
    assert (place / "file").read_bytes() == OLD
