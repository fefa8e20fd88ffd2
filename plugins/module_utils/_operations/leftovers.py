# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task that was killed has left beside the files it wrote."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._plan import Action, Pool
from .._store.partial import leftovers, remove_unlocked


@dataclass(frozen=True)
class RemoveLeftover(Action):
    """Remove a file that a killed task has left, unless somebody is writing it."""

    path: str

    def summary(self) -> dict[str, t.Any]:
        return {"action": "remove_leftover", "path": self.path}

    def apply(self, pool: Pool) -> None:
        remove_unlocked(self.path)


def remove_leftovers(*directories: str) -> tuple[RemoveLeftover, ...]:
    """Return an action for each file that killed tasks of this user have left in directories."""
    return tuple(RemoveLeftover(path) for one in directories for path in leftovers(one))
