# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify: whether a store holds what its names say, and what has to be fetched again."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
from dataclasses import dataclass, field

from .._execution import in_parallel
from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Reference, platforms_of
from .._image.sources import ContentSource, Sources
from .._image.walk import walk
from .._plan import Plan
from .._progress import PROGRESS
from .._store.foreign import foreign
from .._store.inventory import contents, roots
from .._store.reader import IndexEntry
from .._store.repair import FULL, RepairStore, verify_blob
from .actions import Content, StoreContent
from .fetching import FetchOptions, FetchPlanner, ImageRequest, plan_fetch
from .reach import Reachable, needed


@dataclass
class _Fault:
    digest: Digest
    reason: str
    size: int | None
    names: list[str] = field(default_factory=list)

    def as_result(self, store: RepairStore) -> dict[str, t.Any]:
        return {
            "digest": str(self.digest),
            "path": os.path.relpath(store.blob_path(self.digest), store.path),
            "reason": self.reason,
            "size": self.size,
            "names": self.names,
        }


def plan_verify(
    store: RepairStore, *, mode: str, workers: int, sources: Sources | None = None
) -> Plan:
    """Plan to report damage; with ``sources``, to fetch it again from the repositories of the names."""
    names = store.labelled()
    there = contents(store)
    store.known_bad = {digest for digest, one in there.items() if not stat.S_ISREG(one.st_mode)}
    reach = Reachable.of(store, roots(store))
    corrupt = _corrupt(store, there, reach, mode, workers)
    store.known_bad = set(corrupt)

    def is_here(descriptor: Descriptor) -> bool:
        return descriptor.digest in there

    needs = {name: needed(store, held, is_here) for name, held in names.items()}
    missing: dict[Digest, _Fault] = {}
    for name, descriptors in needs.items():
        for digest, descriptor in descriptors.items():
            if digest in corrupt:
                corrupt[digest].names.append(name)
            elif digest not in there and not store.has(descriptor):
                fresh = _Fault(digest, "is missing", descriptor.size)
                missing.setdefault(digest, fresh).names.append(name)
    ill = {name for one in (*corrupt.values(), *missing.values()) for name in one.names}
    plan = _repair(store, {name: names[name] for name in sorted(ill)}, sources, workers, is_here)
    strangers = foreign(store)
    warning = f"{store.path}: {len(strangers)} files do not belong to the store"
    faults = [*corrupt.values(), *missing.values()]
    brought = {action.descriptor.digest for action in t.cast("tuple[Content, ...]", plan.content)}
    unsolved = [
        one
        for one in faults
        if one.digest not in brought and plan.failures.keys().isdisjoint(one.names)
    ]
    return plan._replace(
        facts={
            "ok": not faults,
            "mode": mode,
            "corrupt": _listed(corrupt, store),
            "missing": _listed(missing, store),
            "foreign": strangers,
            "blobs": len(there),
            "bytes": sum(one.st_size for one in there.values()),
        },
        shorten=None,
        problem=_problem(store, unsolved, reach),
        warnings=lambda: [*plan.warnings(), *([warning] if strangers else [])],
    )


def _corrupt(
    store: RepairStore,
    there: t.Mapping[Digest, os.stat_result],
    reach: Reachable,
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
        elif digest in reach.corrupt:
            found[digest] = _Fault(digest, reach.corrupt[digest], promised)
        else:
            sound.append(digest)
    if mode == FULL:
        sizes = [there[digest].st_size for digest in sound]
        PROGRESS.count = lambda: (0, 0, sum(store.reads), sum(sizes))
        reasons = in_parallel(lambda digest: verify_blob(store, digest), sound, workers)
        for digest, reason in zip(sound, reasons):
            if reason:
                found[digest] = _Fault(digest, reason, there[digest].st_size)
    return found


def _repair(
    store: RepairStore,
    names: t.Mapping[str, IndexEntry],
    sources: Sources | None,
    workers: int,
    is_here: t.Callable[[Descriptor], bool],
) -> Plan:
    """Plan to fetch the content of names again, each from its own repository by its digest."""
    if sources is None or not names:
        return Plan(before={}, after={})
    planner = FetchPlanner(store, sources, FetchOptions(workers))
    requests: dict[str, ImageRequest] = {}
    content: list[Content] = []
    for name, held in names.items():
        try:
            reference = _reference(name)._replace(digest=held.target.digest)
            found = [reference]
            if held.target.is_index and not held.platforms:
                repository = sources.repository(reference)
                found = _images(store, held, reference, repository, is_here, content)
        except errors.LockstepError as exc:
            planner.failures[name] = exc
            continue
        platforms = platforms_of(held.platforms) if held.platforms else []
        requests.update({str(one): ImageRequest(one, platforms) for one in found})
    plan = plan_fetch(planner, planner.plan_all(list(requests.values())))
    content += t.cast("tuple[Content, ...]", plan.content)
    return plan._replace(
        content=_each_once(content),
        names=(),
        before={},
        after={},
        promises={},
        prepare=store.prepare,
    )


def _reference(name: str) -> Reference:
    with contextlib.suppress(errors.ReferenceError):
        reference = Reference.parse(name)
        if reference.store_name == name:
            return reference
    hint = "Tag it with its name in a registry (lockstep.images.image_tag) and remove this name, or pull it again."
    raise errors.CorruptStoreError(f"{name}: names no registry to fetch it from", hint)


def _images(
    store: RepairStore,
    held: IndexEntry,
    reference: Reference,
    source: ContentSource,
    is_here: t.Callable[[Descriptor], bool],
    content: list[Content],
) -> list[Reference]:
    """Return the images of an index that the store has. Other tools do not record which they left out on purpose."""

    def read(descriptor: Descriptor) -> Manifest | None:
        if not descriptor.is_index:
            return None
        index = store.manifest(descriptor.digest, descriptor.media_type)
        if index is None:
            _descriptor, index = source.read_manifest(descriptor.digest)
            action = StoreContent(descriptor, index.raw, store)
            content.append(action.replaced(needed_by=(str(reference),)))
        return index

    def choose_children(index: Manifest) -> list[Descriptor]:
        return [child for child in index.children if is_here(child)]

    return [
        reference._replace(tag=None, digest=node.descriptor.digest)
        for node in walk(held.target, read, choose_children)
        if node.descriptor.is_manifest
    ]


def _each_once(content: t.Iterable[Content]) -> tuple[Content, ...]:
    """Deduplicate the actions of several plans; each serves every name that waits for it."""
    found: dict[Digest, Content] = {}
    for action in content:
        digest = action.descriptor.digest
        first = found.get(digest)
        names = (*first.needed_by, *action.needed_by) if first else ()
        found[digest] = first.replaced(needed_by=names) if first else action
    return tuple(found.values())


def _listed(faults: t.Mapping[Digest, _Fault], store: RepairStore) -> list[dict[str, t.Any]]:
    return [faults[digest].as_result(store) for digest in sorted(faults)]


def _problem(
    store: RepairStore, faults: t.Sequence[_Fault], reach: Reachable
) -> errors.LockstepError | None:
    if not faults:
        return None
    first, more = faults[0], len(faults) - 1
    rest = f", and {more} more" if more else ""
    text = f"{store.path}: {first.digest} {first.reason}{rest}"
    hint = "Set repair to fetch again what names need."
    if not any(one.names for one in faults):
        how = "the file" if first.digest in reach.sizes else "it with lockstep.images.store_prune"
        hint = f"No name needs it: remove {how}."
    return errors.CorruptStoreError(text, hint, path=store.path)
