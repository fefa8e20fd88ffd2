# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories of one tree, each opened by its name in the directory above: the kernel never resolves a path or a link.

A link that an earlier entry of the layer made is followed here, inside the tree. What is written goes to an open
directory, so a process that replaces directories by links in the meantime changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from .._image.escaped import shown
from .errors import TreeRefusedError
from .marks import Marks, Notes, is_whiteout
from .paths import MAX_DEPTH
from .removal import DIRECTORY, remove, widen

_OPEN_AT_ONCE = 48
_MOST_LINKS = 40  # as in the kernel, path_resolution(7)
_LONGEST_WALK = 4096


class Directory:
    """An open directory. ``mode`` and ``mtime`` are set when it is closed, as new entries change the time."""

    __slots__ = ("fd", "is_changed", "mode", "mtime", "path")

    def __init__(self, fd: int, path: bytes, found: os.stat_result) -> None:
        self.fd, self.path = fd, path
        self.mode: int | None = None
        self.mtime = found.st_mtime_ns
        self.is_changed = False

    def below(self, name: bytes) -> bytes:
        """Return the path of a name in the directory."""
        return self.path + b"/" + name if self.path else name

    def widen(self, found: os.stat_result) -> None:
        """Let a user without privileges fill the directory until it is closed."""
        if found.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            self.mode = stat.S_IMODE(found.st_mode)
            os.chmod(self.fd, self.mode | stat.S_IRWXU)

    def close(self) -> None:
        """Set mode and time, and close it."""
        try:
            if self.mode is not None:
                os.chmod(self.fd, self.mode)
            if self.is_changed:
                os.utime(self.fd, ns=(self.mtime, self.mtime))
        finally:
            os.close(self.fd)


class Directories:
    """The directories below ``root``, whose descriptor is closed with them.

    Few are open at a time; ``pinned`` stays open.
    """

    def __init__(self, root: int, marks: Marks, notes: Notes) -> None:
        found = os.fstat(root)
        self._root = Directory(root, b"", found)
        self.pinned: Directory | None = None
        self._is_root = os.geteuid() == 0
        if not self._is_root:
            self._root.widen(found)
        self._open: dict[bytes, Directory] = {}
        self._marks, self._notes = marks, notes

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_error: object) -> None:
        for one in [*self._open.values(), self._root]:
            one.close()
        self._open = {}

    def get(self, path: bytes, create: bool = True) -> Directory | None:
        """Return a directory by its path, whose last part can be a link, too. Create what is missing, or return None.

        With ``create``, raise TreeRefusedError if a part of the path is neither a directory nor a link to one.
        """
        if not path:
            return self._root
        found = self._open.get(path)
        return found or self._walk(path, create)

    def enter(self, parent: Directory, name: bytes) -> Directory:
        """Return the directory ``name`` in ``parent``, new or as it is; anything else of that name is removed."""
        try:
            return self._child(parent, name)
        except FileNotFoundError:
            return self._make(parent, name)
        except NotADirectoryError:
            hides = is_whiteout(parent.fd, name)
            remove(parent.fd, name)
            return self._make(parent, name, hides)

    def present(self, parent: Directory, name: bytes) -> Directory | None:
        """Return the directory ``name`` in ``parent``, None for anything else of that name."""
        found = self._step(parent, name, create=False)
        return found if isinstance(found, Directory) else None

    def remove(self, parent: Directory, name: bytes) -> None:
        """Remove what a new entry replaces, and close the directories in it."""
        path = parent.below(name)
        below = path + b"/"
        for other in [one for one in self._open if one == path or one.startswith(below)]:
            self._open.pop(other).close()
        remove(parent.fd, name)
        parent.is_changed = True

    def _walk(self, path: bytes, create: bool) -> Directory | None:
        start = path
        while start and start not in self._open:
            start = start.rpartition(b"/")[0]
        current = self._open[start] if start else self._root
        todo = path[len(start) :].split(b"/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":  # of a link: above the root is the root
                above = self.get(current.path.rpartition(b"/")[0])
                current = above or self._root
                continue
            found = self._step(current, part, create)
            if isinstance(found, Directory):
                current = found
                continue
            if found is None:
                return None
            links += 1
            if links > _MOST_LINKS or len(todo) > _LONGEST_WALK:
                if not create:
                    return None
                raise TreeRefusedError(f"too many links on the way to {shown(path)}")
            current = self._root if found.startswith(b"/") else current
            todo += found.split(b"/")[::-1]
        return current

    def _step(self, parent: Directory, name: bytes, create: bool) -> Directory | bytes | None:
        """Return the directory ``name`` in ``parent``, or the target of a link of that name."""
        try:
            return self._child(parent, name)
        except FileNotFoundError:
            if not create:
                return None
        except NotADirectoryError:
            mode = os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return os.readlink(name, dir_fd=parent.fd)
            if not create:
                return None
            if not is_whiteout(parent.fd, name):
                raise TreeRefusedError(
                    f"{shown(parent.below(name))} on its way is not a directory"
                ) from None
            os.unlink(name, dir_fd=parent.fd)
            return self._implied(parent, name, hides=True)
        return self._implied(parent, name)

    def _implied(self, parent: Directory, name: bytes, hides: bool = False) -> Directory:
        """Create a directory that no entry has named so far."""
        made = self._make(parent, name, hides)
        self._notes.add_implied(made.path)
        made.mode, made.mtime = 0o755, 0
        return made

    def _make(self, parent: Directory, name: bytes, hides: bool = False) -> Directory:
        if parent.path.count(b"/") + 2 > MAX_DEPTH:  # links lead deeper than any name does
            raise TreeRefusedError(f"its directory is more than {MAX_DEPTH} directories deep")
        os.mkdir(name, 0o700, dir_fd=parent.fd)
        parent.is_changed = True
        made = self._child(parent, name)
        made.is_changed = True
        if hides:
            self._marks.opaque(made.fd, made.path)
        return made

    def _child(self, parent: Directory, name: bytes) -> Directory:
        """Return the directory ``name``, opened if it is not; raise NotADirectoryError for anything else, also for a link."""
        path = parent.below(name)
        known = self._open.get(path)
        if known:
            return known
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent.fd)
        except PermissionError:
            found = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            widen(parent.fd, name)
            fd = os.open(name, DIRECTORY, dir_fd=parent.fd)
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            raise
        else:
            found = os.fstat(fd)
        opened = Directory(fd, path, found)
        if not self._is_root:
            opened.widen(found)
        if len(self._open) >= _OPEN_AT_ONCE:
            self._close_oldest(parent)
        self._open[path] = opened
        return opened

    def _close_oldest(self, parent: Directory) -> None:
        kept = (parent, self.pinned)
        oldest = next(path for path, one in self._open.items() if one not in kept)
        self._open.pop(oldest).close()
