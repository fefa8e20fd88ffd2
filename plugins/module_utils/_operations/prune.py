# SPDX-License-Identifier: GPL-3.0-or-later
"""Prune: remove unreferenced content from a store, and what killed tasks left."""

from __future__ import annotations

import functools
import os
import re
import time
import typing as t
from dataclasses import dataclass

from .._execution import Pool
from .._image import errors
from .._plan import Action, Plan
from .._store.inventory import contents, roots
from .._store.partial import remove_unlocked
from .._store.reader import part_size
from .._store.store import KEPT, ImageStore
from .reach import Reachable
from .remove import unreferenced
from .transit import TransitStore

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class RemoveStaged(Action):
    """Remove a leftover of the staging area, unless another task is writing it again."""

    path: str
    size: int

    def summary(self) -> dict[str, t.Any]:
        return {"action": "remove_staged", "path": self.path, "size": self.size}

    def apply(self, pool: Pool) -> None:
        remove_unlocked(self.path)


def plan_prune(store: ImageStore, *, older_than: float, staging: bool) -> Plan:
    """Remove unreferenced content, and the leftovers of dead writers; inside an exclusive ``hold``."""
    # A clock may be wrong: without an age, time says nothing.
    oldest = time.time() - older_than if older_than else float("inf")
    old = {digest for digest, there in contents(store).items() if there.st_mtime <= oldest}
    reach = Reachable.of(store, roots(store))
    reach.require_intact(store.path)
    garbage = unreferenced(store, reach, old)
    age = older_than or KEPT
    stale = (*store.stale((), age), *TransitStore(store).leftovers(age)) if staging else ()
    staged = [RemoveStaged(path, part_size(path)) for path in sorted(stale)]
    return Plan(
        last=(*garbage, *staged),
        before={"blobs": len(garbage), "staged": len(staged)},
        after={"blobs": 0, "staged": 0},
        facts={
            "removed": [{"digest": str(one.digest), "size": one.size} for one in garbage],
            "staged": [os.path.basename(one.path) for one in staged],
            "bytes_freed": sum(one.size for one in garbage) + sum(one.size for one in staged),
        },
        # "prepare" would remove the content that the plan counts.
        prepare=functools.partial(store.prepare, stale=False),
    )


def seconds(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``12h``, ``7d`` or ``2w``; a number alone is seconds."""
    match = re.fullmatch("([0-9]{1,9})([smhdw]?)", text.strip())
    if not match:
        raise errors.InputError(f"older_than: {text!r} is not a duration such as 12h or 7d")
    return float(match.group(1)) * _UNITS[match.group(2)]
