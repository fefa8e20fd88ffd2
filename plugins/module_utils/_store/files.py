# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files of a host, whoever wrote them, without waiting for a pipe or a device."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
import typing as t

from .._image import errors

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
