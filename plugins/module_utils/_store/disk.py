# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system that a store is on."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .files import access
from .store import ImageStore


def disk(store: ImageStore) -> dict[str, t.Any]:
    """Return the file system of the content: mount point, type, total bytes, and the free bytes for this user."""
    path = os.path.join(store.path, "blobs", "sha256")
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    with access(path):
        found = os.statvfs(path)
    mount, kind = _mount_of(os.path.realpath(path))
    return {
        "mount": mount,
        "type": kind,
        "size": found.f_blocks * found.f_frsize,
        "free": (found.f_bavail if os.geteuid() else found.f_bfree) * found.f_frsize,
    }


def has_overlay() -> bool:
    """Return whether the running kernel has overlayfs loaded."""
    with contextlib.suppress(OSError), open("/proc/filesystems", encoding="ascii") as handle:
        return any(line.split()[-1:] == ["overlay"] for line in handle)
    return False


def _mount_of(path: str) -> tuple[str | None, str | None]:
    """Return mount point and type of the file system of a path (proc_pid_mountinfo(5)), None if unknown."""
    best: tuple[str | None, str | None] = (None, None)
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as handle:
        for line in handle:
            before, _dash, after = line.decode("utf-8", "surrogateescape").partition(" - ")
            mount = before.split()[4].encode("latin-1", "replace").decode("unicode_escape")
            is_above = path == mount or path.startswith(mount.rstrip("/") + "/")
            if is_above and len(mount) >= len(best[0] or ""):
                best = (mount, after.split()[0])
    return best
