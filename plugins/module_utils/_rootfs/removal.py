# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove trees through descriptors of their directories: no link is followed, and any depth is possible."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 16  # a process that writes into the tree can fill a directory again
_DEEPEST = 100  # open directories at a time


def remove(parent: int, name: bytes | str) -> None:
    """Remove a file, a link or a tree in the directory ``parent``; a missing name is not an error."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _remove_tree(parent, name)
        else:
            os.unlink(name, dir_fd=parent)


def clear(directory: int) -> None:
    """Remove everything in a directory, and not the directory."""
    for name in names_in(directory):
        remove(directory, name)


def names_in(directory: int) -> list[bytes]:
    """Return the names in a directory. Python lists a directory by descriptor only as text."""
    return [os.fsencode(name) for name in os.listdir(directory)]


def _remove_tree(parent: int, name: bytes | str) -> None:
    """Remove a tree; raise OSError if it fills again all the time."""
    tries = 0
    while True:
        top = _open_to_empty(parent, name)
        try:
            moved = _empty(top)
        finally:
            os.close(top)
        try:
            return os.rmdir(name, dir_fd=parent)
        except OSError:
            tries += not moved
            if tries > _TRIES:
                raise


def _empty(top: int) -> int:
    """Remove everything in a directory, except what is too deep: that is moved up into ``top``. Return how much was moved."""
    moved = 0
    stack = [(top, b"", iter(names_in(top)))]
    try:
        while stack:
            directory, own, names = stack[-1]
            nested = next((name for name in names if not _unlink(directory, name)), None)
            if nested is None:
                stack.pop()
                if stack:
                    os.close(directory)
                    with contextlib.suppress(OSError):  # another round finds what is left in it
                        os.rmdir(own, dir_fd=stack[-1][0])
            elif len(stack) < _DEEPEST:
                inner = _open_to_empty(directory, nested)
                stack.append((inner, nested, iter(names_in(inner))))
            else:
                widen(directory, nested)
                unique = b".lockstep-%s" % os.urandom(8).hex().encode()
                os.rename(nested, unique, src_dir_fd=directory, dst_dir_fd=top)
                moved += 1
    finally:
        for directory, _own, _names in stack[1:]:
            os.close(directory)
    return moved


def _unlink(directory: int, name: bytes) -> bool:
    """Remove anything except a directory; return whether ``name`` is gone."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
        return False
    return True


def _open_to_empty(parent: int, name: bytes | str) -> int:
    """Return a descriptor of a directory whose names can be removed. Permissions do not bind root."""
    fd = open_directory(parent, name)
    if os.geteuid():
        with contextlib.suppress(
            PermissionError
        ):  # of another user: what is in it says why it stays
            make_writable(fd)
    return fd


@contextlib.contextmanager
def opened(name: bytes | str, parent: int | None = None) -> t.Iterator[int]:
    """Open a directory for a block."""
    fd = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def open_directory(parent: int, name: bytes | str) -> int:
    """Return a descriptor of a directory in ``parent``, also of one that its owner cannot read."""
    try:
        return os.open(name, DIRECTORY, dir_fd=parent)
    except PermissionError:
        widen(parent, name)
        return os.open(name, DIRECTORY, dir_fd=parent)


def make_writable(directory: int) -> None:
    """Let the owner of an open directory read and change it."""
    os.chmod(directory, stat.S_IMODE(os.fstat(directory).st_mode) | stat.S_IRWXU)


def widen(parent: int, name: bytes | str) -> None:
    """Let the owner of a directory read and change it. Never follow a link."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.chmod(f"/proc/self/fd/{fd}", mode | stat.S_IRWXU)
    finally:
        os.close(fd)


@contextlib.contextmanager
def movable(parent: int, name: bytes | str) -> t.Iterator[None]:
    """Let the owner of a directory move it: its ".." changes, for which the kernel asks for write permission."""
    fd = os.open(name, os.O_PATH | DIRECTORY, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & stat.S_IWUSR:
            yield
            return
        os.chmod(f"/proc/self/fd/{fd}", mode | stat.S_IWUSR)
        try:
            yield
        finally:
            os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
