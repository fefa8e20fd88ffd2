# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers become one tree: what overlayfs would show of them, without overlayfs. Files are moved, never copied."""

from __future__ import annotations

import contextlib
import os
import stat

from .marks import Notes
from .removal import clear, make_writable, movable, names_in, open_directory, remove


def merge(root: int, layer: int, notes: Notes, keeps_owner: bool) -> None:
    """Move the tree of a layer over the tree of the layers below it; both are descriptors. The layer is empty then."""
    for path in notes.opaque:
        found = _directory_at(root, path)
        if found is not None:
            if os.geteuid():
                make_writable(
                    found
                )  # the layer has this directory, too: its mode is set in the end
            clear(found)
            os.close(found)
    for path in notes.whiteouts:
        parent, _slash, name = path.rpartition(b"/")
        found = _directory_at(root, parent)
        if found is not None:
            if os.geteuid():
                make_writable(found)
            remove(found, name)
            os.close(found)
    _move(layer, root, keeps_owner)


def _directory_at(root: int, path: bytes) -> int | None:
    """Return a descriptor of a directory, None if a part of the path is missing or is a link."""
    current = os.dup(root)
    for part in path.split(b"/") if path else ():
        try:
            found = open_directory(current, part)
        except OSError:
            return None
        finally:
            os.close(current)
        current = found
    return current


def _move(layer: int, root: int, keeps_owner: bool) -> None:
    """Move everything in a directory of the layer. Directories that exist on both sides are merged."""
    stack = [_Pair(layer, root, b"", keeps_owner)]
    try:
        while stack:
            pair = stack[-1]
            name = next((name for name in pair.names if pair.have_directory(name)), None)
            if name is not None:
                fds = open_directory(pair.source, name), open_directory(pair.target, name)
                stack.append(_Pair(*fds, name, keeps_owner))
                continue
            pair.finish()
            stack.pop()
            if stack:
                pair.close()
                os.rmdir(pair.own, dir_fd=stack[-1].source)
    finally:
        for pair in stack[1:]:
            pair.close()


class _Pair:
    """A directory of the layer, and the directory that gets its content; both are descriptors."""

    def __init__(self, source: int, target: int, own: bytes, keeps_owner: bool) -> None:
        self.source, self.target, self.own = source, target, own
        self.names = iter(names_in(source))
        self._keeps_owner = keeps_owner
        self._state = os.fstat(source)  # before names leave it, which changes its time
        if os.geteuid():
            make_writable(source)
            make_writable(target)

    def close(self) -> None:
        """Close both."""
        os.close(self.source)
        os.close(self.target)

    def have_directory(self, name: bytes) -> bool:
        """Return whether both have a directory of this name; move anything else."""
        new = os.stat(name, dir_fd=self.source, follow_symlinks=False)
        old = None
        with contextlib.suppress(FileNotFoundError):
            old = os.stat(name, dir_fd=self.target, follow_symlinks=False)
        if old is not None:
            is_directory = stat.S_ISDIR(new.st_mode)
            if is_directory and stat.S_ISDIR(old.st_mode):
                return True
            if is_directory or stat.S_ISDIR(old.st_mode):
                remove(self.target, name)
        if stat.S_ISDIR(new.st_mode) and not new.st_mode & stat.S_IWUSR:
            with movable(self.source, name):
                self._rename(name)
        else:
            self._rename(name)
        return False

    def _rename(self, name: bytes) -> None:
        os.rename(name, name, src_dir_fd=self.source, dst_dir_fd=self.target)

    def finish(self) -> None:
        """Set owner, mode, attributes and time of the target to those that the source had."""
        state, target = self._state, self.target
        wanted = {name: os.getxattr(self.source, name) for name in _xattrs(self.source)}
        if self._keeps_owner:
            os.chown(target, state.st_uid, state.st_gid)
        for name in _xattrs(target):
            if name not in wanted:
                os.removexattr(target, name)
        for name, value in wanted.items():
            os.setxattr(target, name, value)
        os.chmod(target, stat.S_IMODE(state.st_mode))
        os.utime(target, ns=(state.st_mtime_ns, state.st_mtime_ns))


def _xattrs(directory: int) -> list[str]:
    """Return the extended attributes of a directory, without the label that a system gives by itself."""
    return [name for name in os.listxattr(directory) if name != "security.selinux"]
