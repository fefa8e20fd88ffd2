# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that writes to a disk: stage, fsync, rename.

A file appears under its final name complete and durable, or not at all. Modes are set, whatever the umask.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    LockedError,
    StoreAccessError,
)

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
_STAGED = "part-"


@contextlib.contextmanager
def access(path: str) -> t.Iterator[None]:
    """Turn the system's refusal into StoreAccessError that names the path."""
    try:
        yield
    except OSError as exc:
        hint = "Free some space and run again." if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreAccessError(f"{path}: {exc.strerror or exc}", hint, path=path) from exc


def make_directory(path: str) -> None:
    """Create a directory and what is missing above it, 0755 each; one that is there is left as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_directory(parent)
    with access(path):
        try:
            os.mkdir(path, DIRECTORY_MODE)
        except FileExistsError:
            if os.path.isdir(path):  # somebody else was faster
                return
            raise
        os.chmod(path, DIRECTORY_MODE)
    sync_directory(parent)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    with access(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_chunks(path: str, staging: str, chunks: t.Iterable[bytes]) -> None:
    """Write a file of any size; it gets its name only if ``chunks`` ends without an error."""
    with _staged(staging, path, FILE_MODE) as fd:
        for chunk in chunks:
            with access(path):
                _write_all(fd, chunk)


def write_file(path: str, staging: str, data: bytes, mode: int = FILE_MODE) -> None:
    """Replace a small file at once; ``staging`` is a directory on the same file system."""
    with _staged(staging, path, mode) as fd, access(path):
        _write_all(fd, data)


@contextlib.contextmanager
def _staged(staging: str, path: str, mode: int) -> t.Iterator[int]:
    """A new file that becomes ``path`` when the block ends well, and is gone when it does not.

    Its writer holds a lock on it, so that ``remove_stale`` knows whose writer has died.
    """
    fd, name = _open_staged(staging, path)
    try:
        yield fd
        with access(path):
            os.fchmod(fd, mode)
            os.fsync(fd)
            os.rename(name, path)
        sync_directory(os.path.dirname(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    finally:
        os.close(fd)


def _open_staged(staging: str, path: str) -> tuple[int, str]:
    while True:
        name = os.path.join(staging, f"{_STAGED}{secrets.token_hex(8)}")
        with access(path):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if _same_file(fd, name):
                    return fd, name
            except BaseException:
                os.close(fd)
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
            os.close(fd)  # another process took it for an abandoned one before it was locked


def remove_stale(staging: str) -> None:
    """Remove staged files whose writers are gone. Best effort: what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for name in os.listdir(staging):
            if name.startswith(_STAGED):
                _remove_if_abandoned(os.path.join(staging, name))


def _remove_if_abandoned(path: str) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def open_regular(path: str) -> int:
    """A descriptor to read a regular file; anything else (link, FIFO, device) is an error and never blocks.

    Raises FileNotFoundError when there is nothing, StoreAccessError for the rest.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as exc:
        reason = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror
        raise StoreAccessError(f"{path}: {reason}", path=path) from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreAccessError(f"{path}: is not a regular file", path=path)
    return fd


def read_file(path: str, limit: int) -> bytes:
    """All of a small regular file; raises as ``open_regular``, and StoreAccessError beyond ``limit`` bytes."""
    fd = open_regular(path)
    with access(path), os.fdopen(fd, "rb") as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise StoreAccessError(f"{path}: is larger than {limit} bytes", path=path)
    return data


@contextlib.contextmanager
def locked(path: str, exclusive: bool, timeout: float, create: bool = True) -> t.Iterator[None]:
    """Hold a ``flock`` on a file, made if it is missing; raises LockedError after ``timeout`` seconds.

    A lock file without a holder is free, whoever left it. Without ``create`` a missing file is no lock at all.
    """
    fd = _lock(path, exclusive, timeout, create)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _lock(path: str, exclusive: bool, timeout: float, create: bool) -> int | None:
    deadline = time.monotonic() + timeout
    while True:
        fd = _open_lock(path, create)
        if fd is None:
            return None
        try:
            _wait_for_lock(fd, path, exclusive, deadline)
            with access(path):
                if _same_file(fd, path):
                    if exclusive and create:
                        os.ftruncate(fd, 0)
                        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the file was removed while we waited: others lock a new one by now


def _open_lock(path: str, create: bool) -> int | None:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    with access(path):
        if create:
            fd = os.open(path, flags | os.O_RDWR | os.O_CREAT, FILE_MODE)
            with contextlib.suppress(OSError):  # a file of somebody else has the mode it has
                os.fchmod(fd, FILE_MODE)
            return fd
        try:
            return os.open(path, flags | os.O_RDONLY)
        except FileNotFoundError:
            return None


def _wait_for_lock(fd: int, path: str, exclusive: bool, deadline: float) -> None:
    how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(fd, how)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                by = f" by process {holder}" if holder.isdigit() else ""
                raise LockedError(f"{path} is locked{by}, gave up waiting", path=path) from None
            time.sleep(0.05)
        except OSError as exc:
            raise StoreAccessError(
                f"{path}: cannot be locked: {exc.strerror}",
                "The file system must support flock.",
                path=path,
            ) from exc


def _same_file(fd: int, path: str) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
