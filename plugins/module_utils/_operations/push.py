# SPDX-License-Identifier: GPL-3.0-or-later
"""Push: registries get what a store holds."""

from __future__ import annotations

import contextlib
import typing as t

from .._image import errors
from .._image.names import TAG, Reference, trimmed
from .._plan import Plan
from .._store.reader import IndexEntry, StoreReader
from .._store.source import StoreSource
from .find import find_label, find_name, find_text, not_in_store
from .reach import Reachable
from .sending import SendPlanner, Transfer


def targets_of(source: Reference, repositories: t.Sequence[str]) -> list[Reference]:
    """Return where to push an image: its own name, or each of ``repositories``, by default with its tag or digest."""
    if not repositories:
        return [source._replace(digest=None) if source.tag else source]
    found = []
    for text in repositories:
        target = Reference.parse(text)
        if target.digest:
            raise errors.InputError(f"{target}: an image is pushed to a tag, not to a digest")
        if not trimmed(text).endswith(f":{target.tag}"):
            target = target._replace(tag=source.tag, digest=None if source.tag else source.digest)
        found.append(target)
    return found


def _pairs(
    text: str, label: str, held: IndexEntry, repositories: t.Sequence[str]
) -> list[tuple[Reference, Reference]]:
    """Return the source and the target of an entry, for each target. An image named by another tool keeps its digest."""
    digest = held.target.digest
    if find_text(text, {label: held}):
        source = Reference.parse(text)
        return [
            (source._replace(digest=digest), target) for target in targets_of(source, repositories)
        ]
    if not repositories:
        raise errors.InputError(
            f"{label}: this name of the store does not say where to push it to",
            "Set repository, or tag it first with lockstep.images.image_tag.",
        )
    tag = label.partition("@")[0]
    own = Reference("", "", tag if TAG.fullmatch(tag) else None, digest)
    return [
        (Reference(target.registry, target.repository, None, digest), target)
        for target in targets_of(own, repositories)
    ]


def plan_push(
    store: StoreReader,
    references: t.Sequence[Reference | str],
    repositories: t.Sequence[str],
    planner: SendPlanner,
) -> Plan:
    """Plan to send entries of a store to registries, each under its own name or to ``repositories``.

    An entry whose label is not a reference needs ``repositories``.
    """
    names = store.names()
    sinks = planner.sinks
    transfers = []
    for text in map(str, references):
        # Of ten thousand names a task needs a few: search all entries only for a name that another tool wrote.
        known = names if find_text(text, names) else store.labelled()
        there = find_label(text, known)
        if there is None:
            planner.failures[str(Reference.parse(text))] = not_in_store(store, text)
            continue
        for source, target in _pairs(text, there, known[there], repositories):
            sink = sinks.of(target)
            content = StoreSource(store, names, source, sink.backoff)
            called = "" if find_name(source, names) else there
            transfers.append(Transfer(source, target, content, sink, content.require, called))

    def find_mounts() -> None:
        for name, held in names.items():
            with contextlib.suppress(errors.LockstepError):
                near = Reference.parse(name)
                sinks.uploads.add(near.registry, near.repository, Reachable.of(store, [held]).sizes)

    return planner.plan(transfers, find_mounts)
