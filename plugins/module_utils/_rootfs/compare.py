# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare two trees by everything that an unpacked layer promises: names, kinds, owners, modes, times, links, content."""

from __future__ import annotations

import os
import stat
import typing as t

from .removal import names_in, open_directory

_PIECE = 256 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Difference(t.NamedTuple):
    """The first difference: a path below the root, and what differs there."""

    path: bytes
    what: str


class Comparison:
    """Compares the trees of two descriptors, whose entries are read in the order of their names."""

    def __init__(self) -> None:
        self._inodes: dict[
            tuple[int, int], tuple[int, int]
        ] = {}  # hard links, from one side to the other

    def first_difference(self, one: int, other: int, path: bytes = b"") -> Difference | None:
        """Return the first difference, None for equal trees."""
        what = self._state(os.fstat(one), os.fstat(other)) or _xattrs(one, other)
        if what:
            return Difference(path, what)
        names = sorted(names_in(one))
        theirs = set(names_in(other))
        for name in names:
            below = path + b"/" + name if path else name
            if name not in theirs:
                return Difference(below, "is new")
            found = self._entry(one, other, name, below)
            if found:
                return found
        missing = sorted(theirs.difference(names))
        return (
            Difference(path + b"/" + missing[0] if path else missing[0], "is missing")
            if missing
            else None
        )

    def _entry(self, one: int, other: int, name: bytes, path: bytes) -> Difference | None:
        left = os.stat(name, dir_fd=one, follow_symlinks=False)
        right = os.stat(name, dir_fd=other, follow_symlinks=False)
        if stat.S_ISDIR(left.st_mode) and stat.S_ISDIR(right.st_mode):
            pair = open_directory(one, name), open_directory(other, name)
            try:
                return self.first_difference(*pair, path)
            finally:
                os.close(pair[0])
                os.close(pair[1])
        what = self._state(left, right) or self._links(left, right)
        if not what and stat.S_ISLNK(left.st_mode):
            is_equal = os.readlink(name, dir_fd=one) == os.readlink(name, dir_fd=other)
            what = "" if is_equal else "has another target"
        if not what and stat.S_ISREG(left.st_mode):
            what = _content(one, other, name)
        return Difference(path, what) if what else None

    def _state(self, left: os.stat_result, right: os.stat_result) -> str:
        if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
            return "has another type"
        if left.st_mode != right.st_mode:
            return (
                f"has mode {stat.S_IMODE(left.st_mode):04o}, not {stat.S_IMODE(right.st_mode):04o}"
            )
        if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
            return f"has owner {left.st_uid}:{left.st_gid}, not {right.st_uid}:{right.st_gid}"
        if not stat.S_ISDIR(left.st_mode) and left.st_size != right.st_size:
            return f"has {left.st_size} bytes, not {right.st_size}"
        if left.st_rdev != right.st_rdev:
            return "is another device"
        is_marker = stat.S_ISCHR(left.st_mode)
        return "has another time" if left.st_mtime_ns != right.st_mtime_ns and not is_marker else ""

    def _links(self, left: os.stat_result, right: os.stat_result) -> str:
        pair = (right.st_dev, right.st_ino)
        known = (
            self._inodes.setdefault((left.st_dev, left.st_ino), pair) if left.st_nlink > 1 else pair
        )
        return "" if known == pair and left.st_nlink == right.st_nlink else "has other hard links"


def _xattrs(one: int, other: int) -> str:
    def of(fd: int) -> dict[str, bytes]:
        return {
            name: os.getxattr(fd, name) for name in os.listxattr(fd) if name != "security.selinux"
        }

    return "" if of(one) == of(other) else "has other extended attributes"


def _content(one: int, other: int, name: bytes) -> str:
    pair = os.open(name, _READ, dir_fd=one), os.open(name, _READ, dir_fd=other)
    try:
        what = _xattrs(*pair)
        while not what:
            data = os.read(pair[0], _PIECE)
            if data != os.read(pair[1], _PIECE):
                return "has other content"
            if not data:
                break
        return what
    finally:
        os.close(pair[0])
        os.close(pair[1])
