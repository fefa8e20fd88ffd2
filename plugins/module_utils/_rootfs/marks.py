# SPDX-License-Identifier: GPL-3.0-or-later
"""What a layer says about the layers below it: as overlayfs reads it from the disk, or remembered for a merge."""

from __future__ import annotations

import os
import stat
import typing as t

from .errors import LayerTooLargeError, TreeAccessError

_MOST_BYTES = 24 * 1024 * 1024
_PER_NAME = 120  # bytes that Python needs for a name beside its text
_NO_XATTRS = (
    "Give a path on a file system with extended attributes, such as ext4, XFS, Btrfs or tmpfs."
)


class Notes:
    """What is remembered of a layer: it is bounded, as a layer can have millions of entries.

    ``implied`` are directories that no entry names, or that a later entry removed. ``links`` are hard links to files of
    the layers below, with their targets. ``whiteouts`` and ``opaque`` are only used without overlayfs.
    """

    def __init__(self) -> None:
        self.implied: dict[bytes, None] = {b"": None}  # in the order in which they were made
        self.links: dict[bytes, bytes] = {}  # in the order of their entries
        self.whiteouts: dict[bytes, None] = {}
        self.opaque: dict[bytes, None] = {}
        self._bytes = 0

    def add_implied(self, path: bytes) -> None:
        """Remember a directory that no entry names."""
        self._count(path)
        self.implied[path] = None

    def add_link(self, path: bytes, target: bytes) -> None:
        """Remember a hard link to a file of the layers below."""
        self._count(path)
        self._count(target)
        self.links[path] = target

    def add_removal(self, found: dict[bytes, None], path: bytes) -> None:
        """Remember a whiteout or an opaque directory."""
        if path not in found:
            self._count(path)
            found[path] = None

    def _count(self, path: bytes) -> None:
        self._bytes += len(path) + _PER_NAME
        if self._bytes > _MOST_BYTES:
            raise LayerTooLargeError(
                f"the layer has more than {_MOST_BYTES // 1024 // 1024} MiB of names that depend on the layers below"
            )


class Marks(t.Protocol):
    """How a layer says that something below it is hidden."""

    def whiteout(self, parent: int, name: bytes, path: bytes) -> bool:
        """Hide ``name`` of the layers below in a directory; return whether a file was made for it."""

    def opaque(self, directory: int, path: bytes) -> None:
        """Hide everything of the layers below in a directory."""


class OverlayMarks:
    """Marks that overlayfs reads from the disk (kernel documentation, "Overlay Filesystem")."""

    def __init__(self, is_root: bool) -> None:
        self.attribute = f"{'trusted' if is_root else 'user'}.overlay.opaque"

    def whiteout(self, parent: int, name: bytes, path: bytes) -> bool:
        """Make a character device 0:0; raise FileExistsError if the same layer has something of that name."""
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
        os.utime(name, ns=(0, 0), dir_fd=parent, follow_symlinks=False)
        return True

    def opaque(self, directory: int, path: bytes) -> None:
        """Set the attribute of an opaque directory."""
        try:
            os.setxattr(directory, self.attribute, b"y")
        except OSError as exc:
            raise TreeAccessError(f"{self.attribute}: {exc.strerror}", _NO_XATTRS) from exc


class RecordedMarks:
    """Marks that are only remembered, for a merge of the layers into one tree."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def whiteout(self, parent: int, name: bytes, path: bytes) -> bool:
        """Remember a whiteout."""
        self._notes.add_removal(self._notes.whiteouts, path)
        return False

    def opaque(self, directory: int, path: bytes) -> None:
        """Remember an opaque directory."""
        self._notes.add_removal(self._notes.opaque, path)


def is_whiteout(parent: int, name: bytes) -> bool:
    """Return whether a name is the whiteout of overlayfs. No entry of an archive can be one: they are refused."""
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
