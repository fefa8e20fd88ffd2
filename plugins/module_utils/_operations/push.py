# SPDX-License-Identifier: GPL-3.0-or-later
"""Push: registries get what a store holds."""

from __future__ import annotations

import contextlib
import typing as t

from .._oci import errors
from .._oci.names import Reference, trimmed
from .._oci.store import ImageStore
from .._oci.stored import StoreSource
from .._plan import Plan
from .reach import Reach, find_name
from .transfer import Sinks, Transfer, plan_transfers


def targets_of(source: Reference, repositories: t.Sequence[str]) -> list[Reference]:
    """Where an image goes to: itself, or each of ``repositories``, under its own tag or digest where they name none."""
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


def plan_push(
    store: ImageStore,
    references: t.Sequence[Reference],
    repositories: t.Sequence[str],
    sinks: Sinks,
    **options: t.Any,
) -> Plan:
    """Bring names of a store to registries, each under its own name or to ``repositories``."""
    names = store.names()
    failures: dict[str, errors.LockstepError] = {}
    transfers = []
    for reference in references:
        there = find_name(reference, names)
        if there is None:
            failures[str(reference)] = errors.NotInStoreError(
                f"{store.path} does not hold {reference}",
                "Pull it first, or give it this name with image_tag.",
            )
            continue
        for target in targets_of(reference, repositories):
            sink = sinks.of(target)
            source = reference._replace(digest=names[there].target.digest)
            content = StoreSource(store, names, reference, sink.pause)
            transfers.append(Transfer(source, target, content, sink, content.require))

    def holders() -> None:
        for name, held in names.items():
            with contextlib.suppress(errors.LockstepError):
                near = Reference.parse(name)
                sinks.uploads.add(near.registry, near.repository, Reach.of(store, [held]).sizes)

    return plan_transfers(transfers, failures, sinks=sinks, holders=holders, **options)
