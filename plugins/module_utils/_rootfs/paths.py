# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of entries: which are refused, and which mean that something of the layers below is removed."""

from __future__ import annotations

import typing as t

from .errors import TreeRefusedError

MAX_DEPTH = 255  # a tree that is deeper cannot be removed by many tools
MAX_NAME = 255  # bytes, NAME_MAX of Linux
MAX_PATH = 4095  # bytes, PATH_MAX of Linux without its NUL
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."  # files that aufs kept for itself


class Place(t.NamedTuple):
    """Where an entry goes: the path of its directory, and its name in there; both are empty for the root."""

    parent: bytes
    name: bytes

    @property
    def path(self) -> bytes:
        """The path below the root."""
        return self.parent + b"/" + self.name if self.parent else self.name


def split(name: bytes, what: str = "its name") -> Place:
    """Return the place that a name means below the root; raise TreeRefusedError for one that leaves it.

    As in the tools of all engines, a name is relative to the root, with or without a slash in front.
    """
    if not name:
        raise TreeRefusedError(f"{what} is empty")
    if len(name) > MAX_PATH:
        raise TreeRefusedError(f"{what} has {len(name)} bytes, more than {MAX_PATH}")
    if b"\0" in name:
        raise TreeRefusedError(f"{what} has a NUL")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise TreeRefusedError(f"{what} leads out of its directory with ..")
    if len(parts) > MAX_DEPTH:
        raise TreeRefusedError(f"{what} is {len(parts)} directories deep, more than {MAX_DEPTH}")
    if any(len(part) > MAX_NAME for part in parts):
        raise TreeRefusedError(f"a part of {what} is longer than {MAX_NAME} bytes")
    return Place(b"/".join(parts[:-1]), parts[-1] if parts else b"")


def removed_by(name: bytes) -> bytes | None:
    """Return the name that a whiteout removes from its directory (image-spec v1.1, layer.md "Whiteouts"), else None.

    Raise TreeRefusedError if that is not the name of a file.
    """
    if not name.startswith(WHITEOUT):
        return None
    removed = name[len(WHITEOUT) :]
    if removed in (b"", b".", b".."):
        raise TreeRefusedError("is a whiteout of no file")
    return removed


def belongs_to_aufs(place: Place) -> bool:
    """Return whether an entry is a file that aufs kept for itself, which engines ignore."""
    if _AUFS not in place.parent and not place.name.startswith(_AUFS):
        return False
    parts = [*place.parent.split(b"/"), place.name]
    return place.name != OPAQUE and any(part.startswith(_AUFS) for part in parts)
