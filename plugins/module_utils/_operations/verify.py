# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify: whether a store holds what its names say, and what has to be fetched again."""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    Sources,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    CorruptStoreError,
    LockstepError,
    ReferenceError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    Digest,
    Reference,
    platforms_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import (
    Name,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.sweep import (
    DoubtedStore,
    contents,
    fault,
    foreign,
    roots,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import (
    plan_pull,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.reach import (
    Reach,
    needed,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import (
    Plan,
    in_parallel,
)

QUICK, FULL = "quick", "full"


@dataclass
class _Fault:
    digest: Digest
    reason: str
    size: int | None
    names: list[str] = field(default_factory=list)

    def as_result(self, store: DoubtedStore) -> dict[str, t.Any]:
        return {
            "digest": str(self.digest),
            "path": os.path.relpath(store.blob_path(self.digest), store.path),
            "reason": self.reason,
            "size": self.size,
            "names": self.names,
        }


def plan_verify(
    store: DoubtedStore, *, mode: str, workers: int, sources: Sources | None = None
) -> Plan:
    """What is wrong; with ``sources`` the actions that bring it again from where the names come from."""
    names = store.names()
    there = contents(store)
    reach = Reach.of(store, roots(store))
    corrupt = _corrupt(store, there, reach, mode, workers)
    store.doubted = set(corrupt)
    needs = {name: needed(store, held) for name, held in names.items()}
    missing: dict[Digest, _Fault] = {}
    for name, descriptors in needs.items():
        for digest, descriptor in descriptors.items():
            if digest in corrupt:
                corrupt[digest].names.append(name)
            elif digest not in there and not store.has(descriptor):
                fresh = _Fault(digest, "is missing", descriptor.size)
                missing.setdefault(digest, fresh).names.append(name)
    ill = {name for one in (*corrupt.values(), *missing.values()) for name in one.names}
    plan = _repair(store, {name: names[name] for name in sorted(ill)}, sources, workers)
    strangers = foreign(store)
    warning = f"{store.path}: {len(strangers)} files do not belong to the store"
    faults = [*corrupt.values(), *missing.values()]
    unsolved = faults if sources is None else [one for one in corrupt.values() if not one.names]
    return replace(
        plan,
        facts={
            "ok": not faults,
            "mode": mode,
            "corrupt": _listed(corrupt, store),
            "missing": _listed(missing, store),
            "foreign": strangers,
            "blobs": len(there),
            "bytes": sum(one.st_size for one in there.values()),
        },
        problem=_problem(store, unsolved, sources is not None),
        warnings=lambda: [*plan.warnings(), *([warning] if strangers else [])],
    )


def _corrupt(
    store: DoubtedStore,
    there: t.Mapping[Digest, os.stat_result],
    reach: Reach,
    mode: str,
    workers: int,
) -> dict[Digest, _Fault]:
    found: dict[Digest, _Fault] = {}
    sound: list[Digest] = []
    for digest, state in sorted(there.items(), key=lambda pair: (-pair[1].st_size, pair[0])):
        promised = reach.sizes.get(digest, state.st_size)
        if not stat.S_ISREG(state.st_mode):
            found[digest] = _Fault(digest, "is not a regular file", None)
        elif state.st_size != promised:
            reason = f"has {state.st_size} bytes instead of {promised}"
            found[digest] = _Fault(digest, reason, promised)
        else:
            sound.append(digest)
    if mode == FULL:
        reasons = in_parallel(lambda digest: fault(store, digest), sound, workers)
        for digest, reason in zip(sound, reasons):
            if reason:
                found[digest] = _Fault(digest, reason, there[digest].st_size)
    return found


def _repair(
    store: DoubtedStore, names: t.Mapping[str, Name], sources: Sources | None, workers: int
) -> Plan:
    """What brings the content of names again, each from its own repository and by the digest it has."""
    if sources is None or not names:
        return Plan(before={}, after={})
    failures: dict[str, LockstepError] = {}
    groups: dict[tuple[str, ...], list[Reference]] = {}
    for name, held in names.items():
        try:
            reference = replace(Reference.parse(name), digest=held.target.digest)
        except ReferenceError:
            failures[name] = CorruptStoreError(
                f"{name}: tells no registry to fetch it from", "Remove the name, or pull it again."
            )
            continue
        groups.setdefault(held.platforms, []).append(reference)
    plans = [
        plan_pull(
            references,
            platforms=platforms_of(platforms),
            policy="always",
            sources=sources,
            store=store,
            workers=workers,
        )
        for platforms, references in groups.items()
    ]
    for plan in plans:
        failures.update(plan.failures)
    return Plan(
        content=tuple(action for plan in plans for action in plan.content),
        before={},
        after={},
        failures=failures,
        workers=workers,
        prepare=store.prepare,
        stats=sources.stats,
        warnings=lambda: sources.warnings,
    )


def _listed(faults: t.Mapping[Digest, _Fault], store: DoubtedStore) -> list[dict[str, t.Any]]:
    return [faults[digest].as_result(store) for digest in sorted(faults)]


def _problem(
    store: DoubtedStore, faults: t.Sequence[_Fault], is_repaired: bool
) -> LockstepError | None:
    if not faults:
        return None
    first, more = faults[0], len(faults) - 1
    rest = f", and {more} more" if more else ""
    text = f"{store.path}: {first.digest} {first.reason}{rest}"
    hint = "Set repair to fetch again what names need."
    if is_repaired:
        hint = "No name needs it: remove it with lockstep.images.store_prune."
    return CorruptStoreError(text, hint, path=store.path)
