# SPDX-License-Identifier: GPL-3.0-or-later
"""Tag: content of a store gets more names."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.names import Reference
from .._plan import Plan
from .._store.reader import IndexEntry
from .._store.store import ImageStore
from .find import find_label, not_in_store
from .naming import SetName

OVERWRITE, KEEP = "overwrite", "keep"


def plan_tag(
    store: ImageStore, source: Reference | str, targets: t.Sequence[Reference], *, existing: str
) -> Plan:
    """Let each target be a name of what the source is; with ``keep`` one that is something else stays.

    The source may also be the label of an entry, or a digest.
    """
    for target in targets:
        if target.digest:
            raise errors.InputError(f"{target}: a new name has a tag, not a digest")
    names = store.labelled()
    there = find_label(str(source), names)
    if there is None:
        raise not_in_store(store, str(source))
    held = names[there]
    moves, entries = [], []
    for name in dict.fromkeys(one.store_name for one in targets):
        before = names.get(name)
        is_kept = before not in (None, held) and existing == KEEP
        if before != held and not is_kept:
            moves.append(SetName(name, held, before, store))
        entries.append(
            {
                "name": name,
                "digest": str((before if is_kept and before else held).target.digest),
                "status": "kept" if is_kept else "up_to_date" if before == held else "tagged",
            }
        )
    return Plan(
        names=tuple(moves),
        before={move.name: _digest(move.expected) for move in moves if move.expected},
        after={move.name: _digest(held) for move in moves},
        facts={"images": entries},
        prepare=store.prepare,
    )


def _digest(held: IndexEntry) -> str:
    return str(held.target.digest)
