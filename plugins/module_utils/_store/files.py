# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: read, written and removed so that a crash leaves them old or new."""

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
    """Turn the system's refusal into StoreAccessError."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.NoSpaceError(f"{path}: {exc.strerror}", path=path) from exc
        raise refusal(path, exc) from exc


def refusal(path: str, exc: OSError) -> errors.StoreAccessError:
    """Return an error for what the system refuses; of permissions with whose it is, and who we are."""
    reason = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror or str(exc)
    if exc.errno not in (errno.EACCES, errno.EPERM):
        return errors.StoreAccessError(f"{path}: {reason}", path=path)
    nearest, uid, hint = path, os.geteuid(), ""
    while True:  # behind a directory that is closed to us nothing can be seen
        try:
            there = os.stat(nearest)
            break
        except OSError:
            nearest = os.path.dirname(os.path.abspath(nearest))
    whose = (
        f"{nearest} belongs to {user_name(there.st_uid)}, mode {stat.S_IMODE(there.st_mode):04o}"
    )
    if uid:
        hint = (
            "Set become to act as a user who may do this, or give a path that is open to this one."
        )
    text = f"{path}: {reason}; {whose}, this task runs as {user_name(uid)}"
    return errors.StoreAccessError(text, hint, path=path)


def user_name(uid: int) -> str:
    """Return a user as the system knows it, with its number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def make_directory(path: str, mode: int = DIRECTORY_MODE) -> None:
    """Create a directory and what is missing above it."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_directory(parent)
    with access(path):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if os.path.isdir(path):  # somebody else was faster
                return
            raise
        os.chmod(path, mode)
    sync_directory(parent)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    with access(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_file(path: str, staging: str, data: bytes, mode: int = FILE_MODE) -> None:
    """Write a small file."""
    write_chunks(path, staging, [data], mode)


def write_chunks(path: str, staging: str, chunks: t.Iterable[bytes], mode: int = FILE_MODE) -> None:
    """Write a file, which gets its name if ``chunks`` ends well; ``staging`` is on the same file system.

    Only we can read it before. A writer that is killed leaves a file that ``stale_files`` finds in the staging
    directory of a store, ``leftovers`` anywhere else.
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
    """Create a file to write to, locked, in ``staging``; return its descriptor and its path."""
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
            os.close(fd)  # another process took it for an abandoned one before it was locked


def remove_file(path: str) -> None:
    """Remove a file, or a directory that lies where one belongs; what is gone is no error."""
    with access(path), contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def read_file(path: str, limit: int) -> bytes:
    """A regular file of up to ``limit`` bytes; anything else is an error and never blocks."""
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


def is_hidden(path: str) -> bool:
    """Return whether a path is behind a directory that we may not search."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def is_ours(path: str) -> bool:
    """Return whether a path, or a directory on its way, belongs to us; the root directory does not count."""
    while path != os.path.dirname(path):
        with contextlib.suppress(OSError):
            if os.stat(path).st_uid == os.geteuid():
                return True
        path = os.path.dirname(path)
    return False


def encoding_fault(raw: bytes) -> str:
    """Return what makes a text unreadable to most tools that want UTF-8, "" if nothing does."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark (BOM)"
    return (
        "is in UTF-16, not in UTF-8"
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4]
        else ""
    )


def read_chunks(path: str, first: int = 0) -> t.Generator[bytes, None, None]:
    """The bytes of a file from ``first`` on, up to 1 MiB at once."""
    with access(path), os.fdopen(os.open(path, READ_ONLY), "rb", buffering=0) as handle:
        handle.seek(first)
        chunk = handle.read(PIECE)
        while chunk:
            yield chunk
            chunk = handle.read(PIECE)


def is_same_file(fd: int, path: str) -> bool:
    """Return whether a path still leads to the file behind a descriptor."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def free_bytes(path: str) -> int:
    """What may still be written on the disk of a directory, or of where it will be."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    with access(path):
        there = os.statvfs(path)
    return (there.f_bavail if os.geteuid() else there.f_bfree) * there.f_frsize
