# SPDX-License-Identifier: GPL-3.0-or-later
"""What a layer takes from the layers below it: directories that no entry names, and hard links to files below.

Every layer is unpacked alone, in parallel. This comes afterwards, in the order of the layers.
"""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from .._image.escaped import shown
from .directories import Directories, Directory
from .errors import LayerTooLargeError, TreeRefusedError
from .marks import Marks, Notes
from .options import TreeOptions
from .removal import DIRECTORY

_MOST_LINKS, _LONGEST_WALK = 40, 4096
_PIECE = 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HIDDEN = False  # by something other than a directory


class Lower:
    """The layers below, from the top to the bottom; each is a descriptor of its directory, which the caller closes.

    ``attribute`` is the extended attribute of an opaque directory, None in a tree without marks.
    """

    def __init__(self, layers: t.Sequence[int], attribute: str | None) -> None:
        self._layers, self._attribute = layers, attribute

    @contextlib.contextmanager
    def opened(self, path: bytes, flags: int) -> t.Iterator[int | None]:
        """Open a path as the layers show it together, None if it is missing. A link on the way stays in its layer."""
        for layer in self._layers:
            fd, may_continue = self._find(layer, path, flags)
            if fd is not None:
                try:
                    yield fd
                finally:
                    os.close(fd)
                return
            if not may_continue:
                break
        yield None

    def _find(self, layer: int, path: bytes, flags: int) -> tuple[int | None, bool]:
        """Return a descriptor of a path in one layer, and whether the layers below can have the path."""
        with _Trail(layer, path) as trail:
            may_continue = not self._is_opaque(layer)
            while True:
                part = trail.next_part()
                if part is None:
                    return trail.fds.pop(), may_continue
                found = _lstat(trail.fds[-1], part)
                if found is None:
                    return None, may_continue
                if stat.S_ISLNK(found.st_mode) and (trail.todo or flags & os.O_DIRECTORY):
                    if not trail.follow(part):
                        return None, _HIDDEN
                    continue
                is_directory = stat.S_ISDIR(found.st_mode)
                if not is_directory and (trail.todo or not _can_open(found, flags)):
                    return None, _HIDDEN  # also a whiteout
                trail.enter(part, DIRECTORY if trail.todo else flags)
                may_continue &= not (is_directory and self._is_opaque(trail.fds[-1]))

    def _is_opaque(self, directory: int) -> bool:
        if self._attribute is None:
            return False
        with contextlib.suppress(OSError):
            return os.getxattr(directory, self._attribute) == b"y"
        return False


class _Trail:
    """The way from the root of a layer to a path: the directories so far, and the parts of the path that are left."""

    def __init__(self, layer: int, path: bytes) -> None:
        self.fds = [os.dup(layer)]
        self.todo = path.split(b"/")[::-1]
        self._links = 0

    def __enter__(self) -> _Trail:
        return self

    def __exit__(self, *_error: object) -> None:
        self._back(0)

    def next_part(self) -> bytes | None:
        """Return the next name, None at the end. Above the root is the root."""
        while self.todo:
            part = self.todo.pop()
            if part == b"..":
                self._back(max(1, len(self.fds) - 1))
            elif part not in (b"", b"."):
                while self.todo and self.todo[0] in (b"", b"."):
                    del self.todo[0]  # what follows the last name
                return part
        return None

    def enter(self, part: bytes, flags: int) -> None:
        """Open what is at the next name."""
        self.fds.append(os.open(part, flags, dir_fd=self.fds[-1]))

    def follow(self, part: bytes) -> bool:
        """Continue where a link leads; return False after too many links."""
        target = os.readlink(part, dir_fd=self.fds[-1])
        if target.startswith(b"/"):
            self._back(1)
        self.todo += target.split(b"/")[::-1]
        self._links += 1
        return self._links <= _MOST_LINKS and len(self.todo) <= _LONGEST_WALK

    def _back(self, count: int) -> None:
        while len(self.fds) > count:
            os.close(self.fds.pop())


def _lstat(directory: int, name: bytes) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    return None


def _can_open(found: os.stat_result, flags: int) -> bool:
    """Return whether something other than a directory is what is looked for."""
    if flags & os.O_DIRECTORY:
        return False
    return stat.S_ISREG(found.st_mode) or (stat.S_ISLNK(found.st_mode) and bool(flags & os.O_PATH))


class Completion:
    """Completes the tree of a layer with what it takes from the layers below."""

    def __init__(
        self, root: int, lower: Lower, notes: Notes, marks: Marks, options: TreeOptions, limit: int
    ) -> None:
        self.bytes = 0  # that were copied
        self._root, self._lower, self._notes = root, lower, notes
        self._marks, self._options, self._limit = marks, options, limit

    def run(self, where: str) -> None:
        """Complete the tree; raise TreeRefusedError for a hard link to a missing file. Errors name the layer ``where``."""
        with Directories(os.dup(self._root), self._marks, self._notes) as directories:
            for path, target in self._notes.links.items():
                try:
                    self._link(directories, path, target)
                except (TreeRefusedError, LayerTooLargeError) as exc:
                    raise type(exc)(f"{where}: entry {shown(path)}: {exc}") from None
            for path in list(self._notes.implied):
                directory = directories.get(path, create=False)
                if directory is not None and directory.path == path:
                    self._inherit(directory)

    def _inherit(self, directory: Directory) -> None:
        """Give a directory that no entry names what it has in the layers below."""
        with self._lower.opened(directory.path, DIRECTORY) as found:
            if found is None:
                directory.mode, directory.mtime, directory.is_changed = 0o755, 0, True
                return
            state = os.fstat(found)
            if self._options.keeps_owner:
                os.chown(directory.fd, state.st_uid, state.st_gid)
            for name in os.listxattr(found):
                if ".overlay." not in name:
                    with contextlib.suppress(OSError):
                        os.setxattr(directory.fd, name, os.getxattr(found, name))
            directory.mode = stat.S_IMODE(state.st_mode)
            directory.mtime, directory.is_changed = state.st_mtime_ns, True

    def _link(self, directories: Directories, path: bytes, target: bytes) -> None:
        """Copy a file up, as overlayfs does for a hard link to it, and link to the copy."""
        parent_path, _slash, name = path.rpartition(b"/")
        above, _slash, copied = target.rpartition(b"/")
        parent = t.cast(Directory, directories.get(parent_path))
        directories.pinned = parent
        there = t.cast(Directory, directories.get(above))
        if there.below(copied + b"/").startswith(parent.below(name + b"/")):
            raise TreeRefusedError("is a hard link to itself")
        if _lstat(parent.fd, name) is not None:
            directories.remove(parent, name)
        if not self._copy_up(target, there, copied):
            raise TreeRefusedError(f"is a hard link to {shown(target)}, which does not exist")
        os.link(copied, name, src_dir_fd=there.fd, dst_dir_fd=parent.fd, follow_symlinks=False)
        parent.is_changed = there.is_changed = True

    def _copy_up(self, target: bytes, there: Directory, name: bytes) -> bool:
        """Copy a file or a link of the layers below into this layer; return False if it is missing."""
        present = _lstat(there.fd, name)
        if present is not None:
            return not stat.S_ISDIR(present.st_mode) and not stat.S_ISCHR(present.st_mode)
        with self._lower.opened(target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC) as found:
            if found is None or stat.S_ISDIR(os.fstat(found).st_mode):
                return False
            state = os.fstat(found)
            times = (state.st_mtime_ns, state.st_mtime_ns)
            if stat.S_ISLNK(state.st_mode):
                os.symlink(os.readlink(b"", dir_fd=found), name, dir_fd=there.fd)
                if self._options.keeps_owner:
                    os.chown(
                        name, state.st_uid, state.st_gid, dir_fd=there.fd, follow_symlinks=False
                    )
                os.utime(name, ns=times, dir_fd=there.fd, follow_symlinks=False)
                return True
        with self._lower.opened(target, _READ) as source:
            if source is None:
                return False
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=there.fd)
            try:
                self._copy(source, fd)
                if self._options.keeps_owner:
                    os.chown(fd, state.st_uid, state.st_gid)
                os.chmod(fd, stat.S_IMODE(state.st_mode))
                for attribute in os.listxattr(source):
                    if ".overlay." not in attribute:
                        os.setxattr(fd, attribute, os.getxattr(source, attribute))
                os.utime(fd, ns=times)
            finally:
                os.close(fd)
        return True

    def _copy(self, source: int, target: int) -> None:
        for data in iter(lambda: os.read(source, _PIECE), b""):
            self.bytes += len(data)
            if self.bytes > self._limit:
                raise LayerTooLargeError(f"it copies more than {self._limit} bytes of other layers")
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
