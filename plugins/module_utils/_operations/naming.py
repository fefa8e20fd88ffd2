# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of a store: the action that points one at content, and what diffs show for it."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._plan import Action
from .._store.reader import IndexEntry
from .._store.store import ImageStore

if t.TYPE_CHECKING:
    from .._execution import Pool

# What is shown for a name that is missing, and after one that lacks content.
NOTHING, INCOMPLETE = "none", ", incomplete"


class SetName(Action):
    """Point a name at content, for None at nothing; ``expected`` is where it pointed."""

    def __init__(
        self,
        name: str,
        target: IndexEntry | None,
        expected: IndexEntry | None,
        store: ImageStore,
    ) -> None:
        self.name = self.subject = name
        self.target, self.expected, self.store = target, expected, store

    def summary(self) -> dict[str, t.Any]:
        was, now = (str(one.target.digest) if one else None for one in (self.expected, self.target))
        action = "set_name" if self.target else "drop_name"
        return {"action": action, "name": self.name, "digest": now, "previous": was}

    def apply(self, pool: Pool) -> None:
        self.store.set_names([self])

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        try:
            self.store.set_names(actions)
        except errors.ConflictError:  # of one, so each on its own
            return super().apply_all(actions, pool)
        return [None for _action in actions]


def shown(entry: IndexEntry, is_incomplete: bool = False) -> str:
    """Return the text that diffs and reports show: digest, platforms, and whether content is missing."""
    platforms = f" ({', '.join(entry.platforms)})" if entry.platforms else ""
    return f"{entry.target.digest}{platforms}{INCOMPLETE if is_incomplete else ''}"
