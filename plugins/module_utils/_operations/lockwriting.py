# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions that write a lock file, and the manifests beside it."""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image.names import Digest
from .._lockfile.lockfile import (
    ATTRIBUTES,
    KEEP_BYTES,
    listed_manifests,
    manifests_of,
    read_attributes,
    read_manifests,
)
from .._plan import Action
from .._store.files import access
from .._store.writing import FILE_MODE, make_directory, remove_file, write_file
from .leftovers import remove_leftovers


@dataclass(frozen=True)
class WriteFile(Action):
    """Replace a file as a whole; it keeps the mode it has."""

    path: str
    data: bytes = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return {"action": "write_file", "path": self.path, "size": len(self.data)}

    def apply(self, pool: Pool) -> None:
        mode, directory = FILE_MODE, os.path.dirname(self.path)
        make_directory(directory)
        with access(self.path):
            if os.path.exists(self.path):
                mode = stat.S_IMODE(os.stat(self.path).st_mode)
        write_file(self.path, directory, self.data, mode)


@dataclass(frozen=True)
class WriteManifest(WriteFile):
    """The same for what is in the directory of manifests: these come first, all at once."""


@dataclass(frozen=True)
class RemoveManifest(Action):
    """Remove a manifest that is no longer embedded, or the attributes that git read for it."""

    path: str

    def summary(self) -> dict[str, t.Any]:
        return {"action": "remove_file", "path": self.path}

    def apply(self, pool: Pool) -> None:
        remove_file(self.path)


def write_lock(
    path: str, there: bytes | None, data: bytes, carried: t.Mapping[Digest, bytes]
) -> t.Iterator[Action]:
    """Return the actions that write a lock file: the manifests first, so that no lock file ever lacks one."""
    directory = manifests_of(path)
    # Also those of a run that was killed before it wrote the lock file.
    good = read_manifests(path, skip_bad=True)
    for digest in sorted(carried):
        if digest not in good:
            yield WriteManifest(os.path.join(directory, digest.encoded), carried[digest])
    attributes = read_attributes(path)
    if carried and attributes is None:  # those that are there may be the user's
        yield WriteManifest(os.path.join(directory, ATTRIBUTES), KEEP_BYTES)
    # Where git converts line ends, the lock file itself may differ in nothing else.
    if there is None or data != there.replace(b"\r\n", b"\n"):
        yield WriteFile(path, data)
    wanted = {digest.encoded for digest in carried}
    for name in listed_manifests(path):
        if name not in wanted:
            yield RemoveManifest(os.path.join(directory, name))
    if not carried and attributes == KEEP_BYTES:
        yield RemoveManifest(os.path.join(directory, ATTRIBUTES))
    yield from remove_leftovers(os.path.dirname(path), directory)
