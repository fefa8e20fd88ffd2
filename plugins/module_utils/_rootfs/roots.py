# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots: the layers of an image mounted as one tree, each with changes of its own.

::

    PATH/roots/NAME/
      root.json        the image, its layers and how they are mounted
      lHEX/0, ...      links to the layers, from the top to the bottom: short names, as a mount has room for a page of them.
                       HEX is of the layers, so a line of fstab never finds the links of another image
      upper            what was changed in this root
      work             belongs to overlayfs
      memory           a file system in memory that has upper and work instead, for a root that loses its changes
      merged           where it is mounted
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import typing as t
from dataclasses import dataclass

from .._image.errors import InputError
from .._image.escaped import shown
from .errors import TreeBusyError, access
from .mountinfo import mounts_below
from .mounting import mount_overlay, mount_tmpfs, overlay_options, unmount
from .removal import names_in, open_directory, opened, remove
from .state import make_private, read_json, write_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LINKS = re.compile(rb"l[0-9a-f]*")
_LOWER = re.compile(r"lowerdir\+?=([^,]*)")
_MOST_CHANGES = 1000
CHANGED, REMOVED, REPLACED = "changed", "removed", "replaced"


class RootRecord(t.NamedTuple):
    """What a root is made of. ``keys`` are those of the layers, the lowest first."""

    name: str
    digest: str
    chain_id: str | None
    keys: tuple[str, ...]
    read_only: bool
    volatile: bool

    def is_like(self, other: RootRecord) -> bool:
        """Return whether two roots are mounted in the same way; the images can have other names and settings."""
        return self[3:] == other[3:]


class Change(t.NamedTuple):
    """Something that a root has changed: a path, escaped, and how."""

    path: str
    change: str


@dataclass(frozen=True)
class Root:
    """The root ``name`` of the state directory ``state_path``."""

    state_path: str
    name: str

    @classmethod
    def of(cls, state_path: str, name: str | None) -> Root:
        """Return a root; raise InputError for a name that could mean something in a path or in mount options."""
        if not name or not _NAME.fullmatch(name):
            raise InputError(
                f"root: {name!r} is not a name of a root",
                "Use up to 64 letters, digits, points, hyphens and underscores.",
            )
        return cls(state_path, name)

    @property
    def path(self) -> str:
        """The directory of the root."""
        return os.path.join(self.state_path, "roots", self.name)

    @property
    def merged(self) -> str:
        """Where the root is mounted."""
        return os.path.join(self.path, "merged")

    @property
    def is_mounted(self) -> bool:
        """Whether the root is mounted now, whatever its record says: mounts end with a reboot."""
        return self.merged in mounts_below(self.merged)

    def has_mounted(self, record: RootRecord, options: str) -> bool:
        """Return whether ``options`` of the mount are those of a record: if power fails while the image changes, a boot
        mounts the old one.
        """
        lowers = [one for text in _LOWER.findall(options) for one in text.split(":")]
        # A task mounts names relative to their directory, with its record.
        places = {os.path.basename(os.path.dirname(one)) for one in lowers if "/" in one}
        has_upper = "upperdir=" in options
        is_whole = len(lowers) == len(self._links_of(record)) and has_upper != record.read_only
        return is_whole and places <= {_links_name(record)}

    @property
    def record(self) -> RootRecord | None:
        """What the root is made of, None if it does not exist."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            value = read_json(os.path.join(self.path, "root.json"))
            return RootRecord(**{**value, "keys": tuple(value["keys"])})
        return None

    def upper(self, volatile: bool) -> str:
        """Return the directory of the changes."""
        return os.path.join(self.path, *(("memory",) if volatile else ()), "upper")

    def changes(self, limit: int = _MOST_CHANGES) -> tuple[list[Change], bool]:
        """Return what was changed, and whether that is all; at most ``limit`` names are read."""
        record = self.record
        found: list[Change] = []
        if record is None or record.read_only:
            return found, True
        with access(self.path), contextlib.suppress(FileNotFoundError):
            with opened(self.upper(record.volatile)) as fd:
                return found, _collect(fd, b"", found, limit)
        return found, True

    def mount(self, record: RootRecord, line: str = "") -> None:
        """Mount the layers of a record, and write it. The links that a line of fstab names stay until the next mount."""
        with access(self.path):
            make_private(os.path.join(self.state_path, "roots"))
            make_private(self.path)
            links = self._link(record, line)
            os.makedirs(self.merged, mode=0o700, exist_ok=True)
            self._write(record)
            above = [] if record.read_only else self._prepare_upper(record)
            options = overlay_options(links, *above)
            where = os.path.join(self.path, _links_name(record))
            mount_overlay(where, self.merged, options, record.read_only)

    def unmount(self) -> None:
        """Unmount the root; raise TreeBusyError if something uses it."""
        if self.is_mounted:
            unmount(self.merged)
        memory = os.path.join(self.path, "memory")
        if memory in mounts_below(memory):
            unmount(memory)

    def discard(self) -> None:
        """Remove the changes of a root that is not mounted; raise TreeBusyError if something is mounted in its directory."""
        self._require_no_mount()
        with access(self.path), opened(self.path) as fd:
            for name in ("upper", "work"):
                self._remove(fd, name)

    def remove(self) -> None:
        """Remove a root that is not mounted, with its changes; raise TreeBusyError if something is mounted in its directory."""
        self._require_no_mount()
        with access(self.path), contextlib.suppress(FileNotFoundError):
            with opened(os.path.dirname(self.path)) as fd:
                self._remove(fd, self.name)

    def _remove(self, parent: int, name: str) -> None:
        """Remove a tree: it disappears at once, and its files after that. A root never has half of its changes."""
        with opened(os.path.join(self.state_path, "staging")) as staging:
            unique = f"root-{self.name}-{name}"
            remove(staging, unique)
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, unique, src_dir_fd=parent, dst_dir_fd=staging)
            remove(staging, unique)

    def _require_no_mount(self) -> None:
        left = mounts_below(self.path)
        if left:
            raise TreeBusyError(
                f"{self.path}: a file system is mounted at {left[0]}", "Unmount it, and run again."
            )

    def absolute_options(self, record: RootRecord) -> str:
        """Return the options of the mount for a file such as fstab, which has no working directory."""
        where = os.path.join(self.path, _links_name(record))
        links = [os.path.join(where, one) for one in self._links_of(record)]
        upper, work = self.upper(False), os.path.join(self.path, "work")
        return overlay_options(links, *(() if record.read_only else (upper, work)))

    def _links_of(self, record: RootRecord) -> list[str]:
        links = [str(number) for number in range(len(record.keys))]
        if len(links) < (2 if record.read_only else 1):
            links.append("empty")  # overlayfs wants two layers, or one below the upper
        return links

    def _link(self, record: RootRecord, line: str) -> list[str]:
        """Create short links to the layers; return their names, from the top to the bottom."""
        name, keys = _links_name(record), reversed(record.keys)
        targets = {str(number): f"../../../layers/{key}/diff" for number, key in enumerate(keys)}
        with opened(self.path) as fd:
            is_linked = _links_in(fd, name) == targets
            for old in map(os.fsdecode, filter(_LINKS.fullmatch, names_in(fd))):
                if not (is_linked if old == name else f"/{old}/" in line):
                    remove(fd, old)
            if not is_linked:
                os.mkdir(name, 0o700, dir_fd=fd)
                with opened(name, fd) as links:
                    os.mkdir("empty", 0o755, dir_fd=links)
                    for link, target in targets.items():
                        os.symlink(target, link, dir_fd=links)
        return self._links_of(record)

    def _prepare_upper(self, record: RootRecord) -> list[str]:
        """Create what the changes need; return upper and work relative to the links."""
        where = ""
        if record.volatile:
            memory = os.path.join(self.path, "memory")
            os.makedirs(memory, mode=0o700, exist_ok=True)
            if memory not in mounts_below(memory):
                mount_tmpfs(memory)
            where = "memory/"
        upper = os.path.join(self.path, where, "upper")
        if not os.path.isdir(upper):
            part = f"{upper}.part"
            os.makedirs(part, mode=0o700, exist_ok=True)
            self._copy_root(part, record)
            os.rename(part, upper)
        os.makedirs(os.path.join(self.path, where, "work"), mode=0o700, exist_ok=True)
        return [f"../{where}upper", f"../{where}work"]

    def _copy_root(self, upper: str, record: RootRecord) -> None:
        """Let the root directory be that of the image: overlayfs shows the one of the upper layer."""
        os.chmod(upper, 0o755)
        if record.keys:
            top = os.path.join(self.state_path, "layers", record.keys[-1], "diff")
            state = os.stat(top)
            os.chown(upper, state.st_uid, state.st_gid)
            os.chmod(upper, stat.S_IMODE(state.st_mode))
            os.utime(upper, ns=(state.st_mtime_ns, state.st_mtime_ns))

    def _write(self, record: RootRecord) -> None:
        with opened(self.path) as fd:
            write_json("root.json", dict(record._asdict(), keys=list(record.keys)), fd)


def _links_name(record: RootRecord) -> str:
    """Return the name of the directory of the links to the layers of a record."""
    return f"l{hashlib.sha256(repr(record.keys).encode()).hexdigest()[:8]}"


def _links_in(parent: int, name: str) -> dict[str, str]:
    """Return the links in a directory, none if there is no such directory."""
    with contextlib.suppress(FileNotFoundError), opened(name, parent) as fd:
        links = [one for one in os.listdir(fd) if one != "empty"]
        return {one: os.readlink(one, dir_fd=fd) for one in links}
    return {}


def roots_of(state_path: str) -> list[Root]:
    """Return all roots of a state directory."""
    with access(state_path), contextlib.suppress(FileNotFoundError):
        names = sorted(os.listdir(os.path.join(state_path, "roots")))
        return [Root(state_path, name) for name in names]
    return []


def require_unmounted(state_path: str, keys: t.Container[str]) -> None:
    """Raise TreeBusyError if a root that is mounted has one of these layers: overlayfs must not see them change."""
    for root in roots_of(state_path):
        record = root.record
        used = next((key for key in record.keys if key in keys), None) if record else None
        if used and root.is_mounted:
            raise TreeBusyError(
                f"layer {used}: root {root.name} is mounted on it, so it cannot be replaced",
                "Stop what uses the root, and unmount it with lockstep.images.image_mount.",
            )


def _collect(fd: int, path: bytes, found: list[Change], limit: int) -> bool:
    """Add the changes in a directory of the upper layer; return False at the limit."""
    for name in sorted(names_in(fd)):
        state = os.stat(name, dir_fd=fd, follow_symlinks=False)
        below = path + b"/" + name if path else name
        if len(found) >= limit:
            return False
        if not stat.S_ISDIR(state.st_mode):
            is_whiteout = stat.S_ISCHR(state.st_mode) and state.st_rdev == 0
            found.append(Change(shown(below)[1:-1], REMOVED if is_whiteout else CHANGED))
            continue
        inner = open_directory(fd, name)
        try:
            is_opaque = _is_opaque(inner)
            count = len(found)
            if is_opaque:
                found.append(Change(shown(below)[1:-1], REPLACED))
            if below.count(b"/") < 255 and not _collect(inner, below, found, limit):
                return False
            if len(found) == count:
                found.append(Change(shown(below)[1:-1], CHANGED))
        finally:
            os.close(inner)
    return True


def _is_opaque(fd: int) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(fd, "trusted.overlay.opaque") == b"y"
    return False
