# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files reach the disk whole or not at all, whatever call the system refuses."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    LockedError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import files, writing
from ansible_collections.lockstep.images.plugins.module_utils._store.writing import (
    locked,
    write_chunks,
)
from ansible_collections.lockstep.images.tests.support.stores import open_files, remove_stale, umask

OLD, NEW = b"the old bytes", b"the new bytes"


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    """A directory with a file and a staging directory."""
    (tmp_path / "staging").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    return tmp_path


def write(place, data=NEW, name="file"):
    writing.write_file(str(place / name), str(place / "staging"), data)


def refuse(monkeypatch, call, code, times=99):
    """Make the first ``times`` calls of a system call fail with this errno."""
    real, calls = getattr(os, call), []

    def refused(*args, **options):
        calls.append(args)
        if len(calls) <= times:
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    monkeypatch.setattr(writing.os, call, refused)
    return calls


@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param("write", errno.ENOSPC, id="S001 no space while writing"),
        pytest.param("fsync", errno.ENOSPC, id="S001 no space while flushing"),
        pytest.param("rename", errno.ENOSPC, id="S001 no space for the name"),
        pytest.param("write", errno.EDQUOT, id="S002 quota while writing"),
        pytest.param("fsync", errno.EIO, id="S002 broken disk while flushing"),
        pytest.param("open", errno.EROFS, id="S003 read-only"),
        pytest.param("open", errno.EACCES, id="S004 permission denied"),
        pytest.param("open", errno.EMFILE, id="S031 too many open files"),
        pytest.param("open", errno.ENOSPC, id="S031 no inodes"),
        pytest.param("fchmod", errno.EPERM, id="S038 the mode is refused"),
        pytest.param("rename", errno.EPERM, id="S038 the rename is refused"),
    ],
)
def test_a_refused_call_is_an_error_that_names_the_path_and_leaves_the_old_file(
    place, monkeypatch, call, code
):
    with monkeypatch.context() as patch:
        refuse(patch, call, code)
        with pytest.raises(StoreAccessError) as caught:
            write(place)
    message = str(caught.value)
    assert message.split("; ", maxsplit=1)[0] == f"{place / 'file'}: {os.strerror(code)}"
    assert ("belongs to" in message) == (code in (errno.EACCES, errno.EPERM))
    assert caught.value.details == {"path": str(place / "file")}
    assert (place / "file").read_bytes() == OLD
    assert os.listdir(place / "staging") == []
    assert ("space" in caught.value.hint) == (code in (errno.ENOSPC, errno.EDQUOT))


def test_a_failed_fsync_is_never_tried_again_on_the_same_file(place, monkeypatch):
    """S002: the second fsync after an EIO can falsely report success."""
    with monkeypatch.context() as patch:
        calls = refuse(patch, "fsync", errno.EIO, times=1)
        with pytest.raises(StoreAccessError):
            write(place)
    assert len(calls) == 1


def test_a_directory_that_cannot_be_flushed_is_an_error(place, monkeypatch):
    """S002: a name that is not durable counts as missing."""
    real, seen = os.fsync, []

    def only_files(fd):
        seen.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        if seen[-1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(writing.os, "fsync", only_files)
    with pytest.raises(StoreAccessError, match="Input/output error"):
        write(place)
    assert seen == [False, True]


def test_failing_source_leaves_nothing_and_its_error_is_raised(place):
    def chunks():
        yield NEW
        raise ConnectionResetError("not the disk's fault")

    with pytest.raises(ConnectionResetError):
        writing.write_chunks(str(place / "other"), str(place / "staging"), chunks())
    assert not (place / "other").exists()
    assert os.listdir(place / "staging") == []


def test_a_writer_that_is_interrupted_cleans_up(place):
    def chunks():
        yield NEW
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing.write_chunks(str(place / "file"), str(place / "staging"), chunks())
    assert (place / "file").read_bytes() == OLD
    assert os.listdir(place / "staging") == []


def test_short_writes_are_continued(place, monkeypatch):
    real = os.write
    monkeypatch.setattr(writing.os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    write(place)
    assert (place / "file").read_bytes() == NEW


def test_file_is_flushed_before_the_rename_and_the_directory_after(place, monkeypatch):
    """S006: in this order a power failure never leaves a name without its bytes."""
    order = []
    for call in ("write", "fsync", "rename"):
        real = getattr(os, call)

        def noted(*args, call=call, real=real):
            kind = (
                " directory" if call == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode) else ""
            )
            order.append(call + kind)
            return real(*args)

        monkeypatch.setattr(writing.os, call, noted)
    write(place)
    assert order == ["write", "fsync", "rename", "fsync directory"]


def test_a_hard_link_keeps_the_old_bytes(place):
    """S034: a blob that two stores share is replaced, never written in place."""
    os.link(place / "file", place / "twin")
    write(place)
    assert ((place / "twin").read_bytes(), (place / "file").read_bytes()) == (OLD, NEW)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777], ids="S032 umask {:03o}".format)
def test_modes_are_as_documented_whatever_the_umask(place, mask):
    with umask(mask):
        writing.make_directory(str(place / "a" / "b"))
        write(place, name="a/b/file")
        with locked(str(place / "lock"), exclusive=True, timeout=1):
            pass
    modes = [(place / name).stat().st_mode & 0o7777 for name in ("a", "a/b", "a/b/file", "lock")]
    assert modes == [0o755, 0o755, 0o644, 0o644]


def test_existing_directory_is_unchanged(place):
    (place / "mine").mkdir(mode=0o700)
    writing.make_directory(str(place / "mine"))
    assert (place / "mine").stat().st_mode & 0o777 == 0o700


def test_directory_created_by_another_process_is_accepted(place, monkeypatch):
    """S007"""
    real = os.mkdir

    def slower(path, mode):
        real(path, mode)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    monkeypatch.setattr(writing.os, "mkdir", slower)
    writing.make_directory(str(place / "new"))
    assert (place / "new").is_dir()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("file/below", "/file: File exists", id="S014 below a file"),
        pytest.param("x" * 256, "File name too long", id="S029 256 bytes"),
    ],
)
def test_a_directory_that_cannot_be_made_is_an_error_that_names_it(place, path, reason):
    with pytest.raises(StoreAccessError, match=reason) as caught:
        writing.make_directory(str(place / path))
    assert str(place) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("with blank", id="S037 blank"),
        pytest.param("new\nline", id="S037 newline"),
        pytest.param("100%s", id="S037 percent"),
        pytest.param(os.fsdecode(b"latin-\xe9"), id="S037 not UTF-8"),
        pytest.param("x" * 255, id="S029 255 bytes"),
    ],
)
def test_every_name_that_the_system_accepts_works(place, name):
    write(place, name=name)
    assert files.read_file(str(place / name), 100) == NEW


def test_file_removed_as_abandoned_before_it_was_locked_is_created_again(place, monkeypatch):
    """S007: between ``open`` and ``flock`` another process may clean up."""
    real, cleaned = os.open, []

    def opened(path, flags, *mode):
        fd = real(path, flags, *mode)
        if flags & os.O_EXCL and not cleaned:
            cleaned.append(path)
            remove_stale(place / "staging")
        return fd

    monkeypatch.setattr(writing.os, "open", opened)
    write(place)
    assert cleaned
    assert (place / "file").read_bytes() == NEW
    assert os.listdir(place / "staging") == []


def test_no_descriptor_is_left_open(place, monkeypatch):
    """S031: neither after success nor after failure."""
    write(place)
    lock = str(place / "lock")
    with locked(lock, True, 0), pytest.raises(LockedError), locked(lock, True, 0):
        pass
    with pytest.raises(StoreAccessError):
        files.read_file(str(place), 1)
    refuse(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(StoreAccessError):
        write(place)
    assert open_files(place) == []


def test_F34_staged_file_next_to_its_target_has_its_own_name_and_is_private(tmp_path):
    """In a staging directory it has the prefix of staged files."""
    seen = []

    def chunks(directory):
        for entry in sorted(os.scandir(directory), key=lambda one: one.name):
            seen.append((entry.name.rpartition("-")[0], entry.stat().st_mode & 0o777))
        yield b"data"

    write_chunks(str(tmp_path / "file"), str(tmp_path), chunks(tmp_path), 0o644)
    (tmp_path / "staging").mkdir()
    write_chunks(
        str(tmp_path / "file"), str(tmp_path / "staging"), chunks(tmp_path / "staging"), 0o644
    )
    assert seen == [(".lockstep", 0o600), ("part", 0o600)]
