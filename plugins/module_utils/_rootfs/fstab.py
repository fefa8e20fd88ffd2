# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of roots in fstab(5), so that they are mounted after a reboot. Other lines are never changed."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import typing as t

from .._image.errors import InputError
from .errors import TreeAccessError, access
from .removal import opened

PATH = "/etc/fstab"
_LONGEST = 16 * 1024 * 1024
_BLANKS = re.compile("[ \t]+")  # only these separate the fields
_SPECIAL = re.compile(r"[,:\\\"\x00-\x1f]")  # to overlayfs or to mount(8)
_ESCAPED = {" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134"}


def line_of(target: str, options: str, read_only: bool) -> str:
    """Return the line that mounts an overlay; raise InputError for a path that means something else in its options."""
    if _SPECIAL.search(target):
        raise InputError(
            f"fstab: {target!r} means something else in the options of a mount",
            "Give a path without commas, colons, backslashes and quotes.",
        )
    mode = "ro" if read_only else "rw"
    fields = (
        "overlay",
        _escape(target),
        "overlay",
        _escape(f"{mode},nodev,nofail,{options}"),
        "0",
        "0",
    )
    return " ".join(fields)


def current(targets: t.Collection[str]) -> dict[str, str | None]:
    """Return the line of each of these mount points, None if it has none. The file is read once."""
    found: dict[str, str] = {}
    for line in _lines() if targets else ():
        found.setdefault(_target_of(line), line)
    return {target: found.get(_escape(target)) for target in targets}


def change(wanted: t.Mapping[str, str | None]) -> None:
    """Set the line of each mount point, or remove it for None. The file is replaced as a whole, once, and is durable in the end."""
    targets = set(map(_escape, wanted))
    lines = [one for one in _lines() if _target_of(one) not in targets]
    text = "".join(f"{one}\n" for one in [*lines, *filter(None, wanted.values())])
    part = f"{PATH}.lockstep"
    with access(PATH):
        mode = 0o644
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(PATH).st_mode)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(part, flags, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.rename(part, PATH)
        with opened(os.path.dirname(PATH)) as directory:
            os.fsync(directory)


def _lines() -> list[str]:
    with access(PATH), contextlib.suppress(FileNotFoundError):
        with open(PATH, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise TreeAccessError(f"{PATH}: is larger than 16 MiB")
        return text[: -1 if text.endswith("\n") else None].split("\n") if text else []
    return []


def _target_of(line: str) -> str:
    fields = [field for field in _BLANKS.split(line) if field]
    return fields[1] if len(fields) > 1 and not fields[0].startswith("#") else ""


def _escape(text: str) -> str:
    return "".join(_ESCAPED.get(char, char) for char in text)
