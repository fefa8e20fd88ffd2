# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted on this host, as this process sees it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import contextlib
import re
import typing as t

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(t.NamedTuple):
    """A mounted file system: its path, its type, and its options."""

    path: str
    type: str
    source: str
    options: str


def mounts() -> list[Mount]:
    """Return everything that is mounted, in the order in which it was mounted."""
    found = []
    with (
        contextlib.suppress(OSError),
        open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file,
    ):
        for line in file:
            before, _dash, after = line.rstrip("\n").partition(" - ")
            kind, source, options = [*after.split(" "), "", ""][:3]
            path = _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), before.split(" ")[4])
            found.append(Mount(path, kind, source, f"{before.split(' ')[5]},{options}"))
    return found


def mounts_below(path: str) -> list[str]:
    """Return the mount points at a path and below it."""
    below = path.rstrip("/") + "/"
    return [one.path for one in mounts() if one.path == path or one.path.startswith(below)]
