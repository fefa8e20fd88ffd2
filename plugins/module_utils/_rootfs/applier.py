# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of one layer become files of a directory that holds this layer alone."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
import typing as t
from dataclasses import dataclass, field

from .._archive import header as tar
from .._image.escaped import shown
from .directories import Directories, Directory
from .errors import TreeAccessError, TreeRefusedError
from .marks import Marks, Notes, is_whiteout
from .options import MAKE, TreeOptions
from .paths import OPAQUE, Place, belongs_to_aufs, removed_by, split
from .reader import Entry
from .stream import LayerStream

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {tar.CHAR: stat.S_IFCHR, tar.DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
_ATTRIBUTE_HINT = (
    "Leave the attribute out of the option xattrs, or give a path on another file system."
)


@dataclass
class Counts:
    """What was written of a layer, and what was left out."""

    entries: int = 0
    bytes: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, what: str) -> None:
        """Count something that was left out."""
        self.skipped[what] = self.skipped.get(what, 0) + 1


class Applier:
    """Applies entries in their order. An error leaves a part of the layer, which the caller removes."""

    def __init__(
        self, directories: Directories, options: TreeOptions, marks: Marks, notes: Notes
    ) -> None:
        self.counts = Counts()
        self._directories, self._options = directories, options
        self._marks, self._notes = marks, notes
        self._lost, self._keeps_owner = options.lost_bits, options.keeps_owner
        self._kept_xattrs: dict[bytes, bool] = {}
        self._apply = {
            tar.FILE: self._file,
            tar.DIRECTORY: self._directory,
            tar.SYMLINK: self._symlink,
            tar.LINK: self._link,
            tar.CHAR: self._device,
            tar.DEVICE: self._device,
            tar.FIFO: self._node,
        }

    def apply(self, entry: Entry, stream: LayerStream) -> None:
        """Apply an entry, whose content comes next in ``stream``; raise TreeRefusedError if it breaks a rule."""
        place = split(entry.name)
        if not place.name:
            return self._root(entry)
        self.counts.entries += 1
        if place.name.startswith(b".wh.") or b".wh..wh." in place.parent:
            if belongs_to_aufs(place):
                return self.counts.skip("aufs")
            if self._hide(place):
                return None
        parent = t.cast(Directory, self._directories.get(place.parent))
        self._directories.pinned = parent
        if self._notes.links:  # the last entry of a name counts
            self._notes.links.pop(parent.below(place.name), None)
        self._apply[entry.kind](parent, place.name, entry, stream)
        return None

    def _hide(self, place: Place) -> bool:
        """Apply a whiteout or an opaque marker; return False for any other entry."""
        if place.name == OPAQUE:
            directory = t.cast(Directory, self._directories.get(place.parent))
            self._marks.opaque(directory.fd, directory.path)
            return True
        removed = removed_by(place.name)
        if removed is None:
            return False
        parent = t.cast(Directory, self._directories.get(place.parent))
        try:
            parent.is_changed |= self._marks.whiteout(parent.fd, removed, parent.below(removed))
        except (
            FileExistsError
        ):  # a file of the same layer stays, and so does a directory, which becomes opaque
            found = self._directories.present(parent, removed)
            if found:
                self._marks.opaque(found.fd, found.path)
        return True

    def _root(self, entry: Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise TreeRefusedError("replaces the root by something that is not a directory")
        self._describe(t.cast(Directory, self._directories.get(b"")), entry)

    def _directory(self, parent: Directory, name: bytes, entry: Entry, stream: LayerStream) -> None:
        self._describe(self._directories.enter(parent, name), entry)

    def _describe(self, directory: Directory, entry: Entry) -> None:
        """Set owner and attributes of a directory; mode and time follow when it is closed."""
        self._notes.implied.pop(directory.path, None)
        if self._keeps_owner:
            os.chown(directory.fd, entry.uid, entry.gid)
        if entry.xattrs:
            self._set_xattrs(directory.fd, entry)
        directory.mode = self._mode(entry)
        directory.mtime, directory.is_changed = entry.mtime, True

    def _file(self, parent: Directory, name: bytes, entry: Entry, stream: LayerStream) -> None:
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent.fd)
        except FileExistsError:
            self._directories.remove(parent, name)
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent.fd)
        parent.is_changed = True
        try:
            if entry.segments is None:
                _write(fd, entry.size, stream)
            else:
                os.ftruncate(fd, entry.size)
                for offset, length in entry.segments:
                    os.lseek(fd, offset, os.SEEK_SET)
                    _write(fd, length, stream)
            self.counts.bytes += entry.size
            # In this order: chown removes setuid bits and capabilities.
            if self._keeps_owner:
                os.chown(fd, entry.uid, entry.gid)
            os.chmod(fd, self._mode(entry))
            if entry.xattrs:
                self._set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _symlink(self, parent: Directory, name: bytes, entry: Entry, stream: LayerStream) -> None:
        if not 0 < len(entry.link) <= 4095 or b"\0" in entry.link:
            raise TreeRefusedError(f"links to a name of {len(entry.link)} bytes")
        self._replace(parent, name, lambda: os.symlink(entry.link, name, dir_fd=parent.fd))
        self._finish_by_name(parent, name, entry)

    def _link(self, parent: Directory, name: bytes, entry: Entry, stream: LayerStream) -> None:
        target = split(entry.link, "the target of the hard link")
        if not target.name:
            raise TreeRefusedError("is a hard link to the root")
        there = self._directories.get(target.parent, create=False)
        try:
            found = os.stat(target.name, dir_fd=there.fd, follow_symlinks=False) if there else None
        except FileNotFoundError:
            found = None
        if there is None or found is None or is_whiteout(there.fd, target.name):
            return self._notes.add_link(parent.below(name), target.path)
        if stat.S_ISDIR(found.st_mode):
            raise TreeRefusedError(f"is a hard link to the directory {shown(target.path)}")
        if (there.below(target.name) + b"/").startswith(parent.below(name) + b"/"):
            raise TreeRefusedError("is a hard link to itself")

        def link() -> None:
            os.link(
                target.name, name, src_dir_fd=there.fd, dst_dir_fd=parent.fd, follow_symlinks=False
            )

        self._replace(parent, name, link)
        return None

    def _device(self, parent: Directory, name: bytes, entry: Entry, stream: LayerStream) -> None:
        if not (0 <= entry.major < 2**12 and 0 <= entry.minor < 2**20):
            raise TreeRefusedError(f"its device number {entry.major}:{entry.minor} is out of range")
        if entry.kind == tar.CHAR and entry.major == entry.minor == 0:
            raise TreeRefusedError("is a character device 0:0, which is a whiteout to overlayfs")
        if self._options.devices != MAKE:
            return self.counts.skip("device")
        return self._node(parent, name, entry, stream)

    def _node(self, parent: Directory, name: bytes, entry: Entry, stream: LayerStream) -> None:
        device = os.makedev(entry.major, entry.minor)
        kind = _KINDS[entry.kind] | 0o600
        self._replace(parent, name, lambda: os.mknod(name, kind, device, dir_fd=parent.fd))
        self._finish_by_name(parent, name, entry)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
        try:
            os.chmod(
                f"/proc/self/fd/{fd}", self._mode(entry)
            )  # opening a device can start something
        finally:
            os.close(fd)

    def _replace(self, parent: Directory, name: bytes, make: t.Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._directories.remove(parent, name)
            make()
        parent.is_changed = True

    def _finish_by_name(self, parent: Directory, name: bytes, entry: Entry) -> None:
        """Set owner and time of what cannot be opened, and has no attributes."""
        if entry.xattrs:
            self.counts.skip("xattr")
        if self._keeps_owner:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent.fd, follow_symlinks=False)
        times = (entry.mtime, entry.mtime)
        os.utime(name, ns=times, dir_fd=parent.fd, follow_symlinks=False)

    def _mode(self, entry: Entry) -> int:
        if entry.mode & self._lost and entry.kind != tar.DIRECTORY:
            self.counts.skip("setuid")
            return entry.mode & ~self._lost
        return entry.mode

    def _set_xattrs(self, fd: int, entry: Entry) -> None:
        for name, value in entry.xattrs.items():
            if b"\0" in name or not name:
                raise TreeRefusedError(f"its extended attribute {shown(name)} has no valid name")
            if b".overlay." in name:
                raise TreeRefusedError(
                    f"its extended attribute {shown(name)} is an instruction to overlayfs"
                )
            kept = self._kept_xattrs.get(name)
            if kept is None:
                text = os.fsdecode(name)
                kept = any(fnmatch.fnmatchcase(text, one) for one in self._options.xattrs)
                self._kept_xattrs[name] = kept
            if not kept:
                self.counts.skip("xattr")
                continue
            try:
                os.setxattr(fd, name, value)
            except OSError as exc:
                self._excuse(exc, name)

    def _excuse(self, exc: OSError, name: bytes) -> None:
        """Count an attribute that a user without privileges cannot set; raise TreeAccessError for any other reason."""
        if exc.errno in (errno.EPERM, errno.EACCES) and not self._keeps_owner:
            return self.counts.skip("xattr")
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE):
            reason = f"its extended attribute {shown(name)} does not fit: {exc.strerror}"
        else:
            reason = f"its extended attribute {shown(name)}: {exc.strerror}"
        raise TreeAccessError(reason, _ATTRIBUTE_HINT) from exc


def _write(fd: int, size: int, stream: LayerStream) -> None:
    """Write the next ``size`` bytes of an archive; raise TreeRefusedError if it ends before."""
    left = size
    for chunk in stream.chunks(size):
        written = os.write(fd, chunk)
        while written < len(chunk):
            written += os.write(fd, chunk[written:])
        left -= written
    if left:
        raise TreeRefusedError(f"the archive ends {left} bytes too early")
