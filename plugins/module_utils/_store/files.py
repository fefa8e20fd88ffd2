# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, write and remove files so that a crash leaves the old or the new file, never a part of one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import secrets
import shutil
import stat
import typing as t

from .._image import errors

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
STAGED = "part-"
PIECE = 1024 * 1024
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def access(path: str) -> t.Iterator[None]:
    """Convert an OSError in the block to StoreAccessError, or to NoSpaceError if the disk or the quota is full."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.NoSpaceError(f"{path}: {exc.strerror}", path=path) from exc
        raise refusal(path, exc) from exc


def refusal(path: str, exc: OSError) -> errors.StoreAccessError:
    """Return the error for a refused call; a missing permission also names owner, mode and the user of the task."""
    reason = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror or str(exc)
    if exc.errno not in (errno.EACCES, errno.EPERM):
        return errors.StoreAccessError(f"{path}: {reason}", path=path)
    nearest, uid, hint = path, os.geteuid(), ""
    while True:  # a directory that this user cannot search hides what is below it
        try:
            found = os.stat(nearest)
            break
        except OSError:
            nearest = os.path.dirname(os.path.abspath(nearest))
    whose = (
        f"{nearest} belongs to {user_name(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}"
    )
    if uid:
        hint = "Set become to act as a user with this permission, or give a path that this one can use."
    text = f"{path}: {reason}; {whose}, this task runs as {user_name(uid)}"
    return errors.StoreAccessError(text, hint, path=path)


def user_name(uid: int) -> str:
    """Return the name and the number of a user, or only the number if the user has no name."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


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
        name = os.path.join(staging, f"{prefix}{secrets.token_hex(8)}")
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


def read_file(path: str, limit: int) -> bytes:
    """Return the bytes of a regular file; never block on a pipe or a device.

    Raise FileNotFoundError if there is no file, StoreAccessError for anything but a regular file of at most ``limit``
    bytes.
    """
    try:
        fd = os.open(path, READ_ONLY)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise refusal(path, exc) from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise errors.StoreAccessError(f"{path}: is not a regular file", path=path)
    with access(path), os.fdopen(fd, "rb") as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise errors.StoreAccessError(
            f"{path}: is larger than {errors.readable_size(limit)}", path=path
        )
    return data


def read_chunks(path: str, first: int = 0) -> t.Generator[bytes, None, None]:
    """Yield the bytes of a file from the offset ``first``, in chunks of at most 1 MiB."""
    with access(path), os.fdopen(os.open(path, READ_ONLY), "rb", buffering=0) as handle:
        handle.seek(first)
        chunk = handle.read(PIECE)
        while chunk:
            yield chunk
            chunk = handle.read(PIECE)


def is_same_file(fd: int, path: str) -> bool:
    """Return whether a path still names the open file of a descriptor."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
