# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a killed task has left next to files outside a store, and their removal."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import typing as t
from dataclasses import dataclass

from .._plan import Action
from .._store.writing import open_unlocked

if t.TYPE_CHECKING:
    from .._execution import Pool

# The name of a staged file outside a store, in the directory of the file that it will be.
_BESIDE = re.compile(r"\.lockstep-[0-9a-f]{16}")


@dataclass(frozen=True)
class RemoveLeftover(Action):
    """Remove a file that a killed task has left, unless somebody is writing it."""

    path: str

    def summary(self) -> dict[str, t.Any]:
        return {"action": "remove_leftover", "path": self.path}

    def apply(self, pool: Pool) -> None:
        fd = open_unlocked(self.path)
        if fd is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            os.close(fd)


def remove_leftovers(*directories: str) -> tuple[RemoveLeftover, ...]:
    """Return an action for each file that killed tasks of this user have left in directories."""
    return tuple(RemoveLeftover(path) for one in directories for path in leftovers(one))


def leftovers(directory: str) -> list[str]:
    """Return the staged files of killed writers of this user in a directory that is not a store, sorted."""
    left = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if not _BESIDE.fullmatch(name):
                continue
            found = os.lstat(path)
            is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            fd = open_unlocked(path) if is_ours else None
            if fd is not None:
                os.close(fd)
                left.append(path)
    return left
