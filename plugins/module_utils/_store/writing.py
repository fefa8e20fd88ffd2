# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and remove files that other processes use too: a crash leaves the old or the new file, never a part of one.

The locks between processes are on files that are never removed while they are held.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
import typing as t

from .._image import errors
from .files import READ_ONLY, access

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
STAGED = "part-"


def make_directory(path: str, mode: int = DIRECTORY_MODE) -> None:
    """Create a directory and its missing parents, durably; raise StoreAccessError if that fails."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_directory(parent)
    with access(path):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if os.path.isdir(path):  # another process was faster
                return
            raise
        os.chmod(path, mode)
    sync_directory(parent)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable (fsync)."""
    with access(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_file(path: str, staging: str, data: bytes, mode: int = FILE_MODE) -> None:
    """Write a file as ``write_chunks`` does, with ``data`` as its only chunk."""
    write_chunks(path, staging, [data], mode)


def write_chunks(path: str, staging: str, chunks: t.Iterable[bytes], mode: int = FILE_MODE) -> None:
    """Write a file to the directory ``staging``, and rename it to ``path`` if ``chunks`` ends without an error.

    Without an error the file is durable. ``staging`` must be on the same file system. Until the rename only this user
    can read the file. A writer that is killed leaves a file: ``stale_files`` finds it in the staging directory of a
    store, ``leftovers`` anywhere else.
    """
    fd, name = open_staged(staging, path)
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            with access(path):
                while view:
                    view = view[os.write(fd, view) :]
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


def open_staged(staging: str, path: str) -> tuple[int, str]:
    """Create a locked file in ``staging`` that will be renamed to ``path``; return its file descriptor and its path."""
    prefix = ".lockstep-" if staging == os.path.dirname(path) else STAGED
    while True:
        name = os.path.join(staging, f"{prefix}{os.urandom(8).hex()}")
        with access(path):
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if is_same_file(fd, name):
                    return fd, name
            except BaseException:
                os.close(fd)
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
            os.close(fd)  # another process removed it as abandoned before it was locked


def remove_file(path: str) -> None:
    """Remove a file, or a directory in its place; a missing file is not an error."""
    with access(path), contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def is_same_file(fd: int, path: str) -> bool:
    """Return whether a path still names the open file of a descriptor."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def locked(path: str, exclusive: bool, timeout: float, create: bool = True) -> t.Iterator[None]:
    """Hold a ``flock`` on the file ``path``; raise LockedError if it is not free within ``timeout`` seconds.

    Without ``create``, a missing file is not an error, and nothing is held.
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
                if is_same_file(fd, path):
                    if exclusive and create:
                        os.ftruncate(fd, 0)
                        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the file was removed during the wait: other processes lock a new one


def _open_lock(path: str, create: bool) -> int | None:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    with access(path):
        if create:
            fd = os.open(path, flags | os.O_RDWR | os.O_CREAT, FILE_MODE)
            with contextlib.suppress(OSError):  # only the owner can change the mode
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
            return fcntl.flock(fd, how)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = b"" if os.path.isdir(path) else os.pread(fd, 32, 0).strip()
                by = f" by process {int(holder)}" if holder.isdigit() else ""
                raise errors.LockedError(
                    f"{path} is locked{by}, gave up waiting", path=path
                ) from None
            time.sleep(0.05)
        except OSError as exc:
            hint = "The file system must support flock."
            raise errors.StoreAccessError(
                f"{path}: cannot be locked: {exc.strerror}", hint, path=path
            ) from exc


class StoreLock:
    """The lock of a store: shared by those that read or add content, exclusive for those that remove it."""

    def __init__(self, path: str, timeout: float) -> None:
        """Take the path of the lock file, and the seconds after which LockedError is raised."""
        self.is_held = False
        self._path = path
        self._timeout = timeout
        self._is_exclusive = False
        self._held = contextlib.ExitStack()

    @contextlib.contextmanager
    def hold(self, exclusive: bool) -> t.Iterator[None]:
        """Hold the lock if its file exists. For a store that does not exist yet, ``create`` takes the lock."""
        with contextlib.ExitStack() as self._held:
            self._is_exclusive = exclusive
            self.is_held = os.path.exists(self._path)
            if self.is_held:
                self._take(exclusive, create=False)
            yield

    def create(self) -> None:
        """Take the lock inside ``hold``, once the directories of the store exist."""
        self._take(self._is_exclusive)
        self.is_held = True

    def upgrade(self) -> None:
        """Release the lock inside ``hold``, and take it as the only process; others can hold it in between."""
        self._held.close()
        self._take(exclusive=True)

    def _take(self, exclusive: bool, create: bool = True) -> None:
        self._held.enter_context(locked(self._path, exclusive, self._timeout, create))


def open_unlocked(path: str) -> int | None:
    """Open and lock a staged file; return its file descriptor, None if it is missing or a process is writing it."""
    with contextlib.suppress(OSError):
        fd = os.open(path, READ_ONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            os.close(fd)
    return None
