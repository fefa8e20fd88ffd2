# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull: a store gets what registries hold."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.names import Platform, Reference
from .._image.sources import ChunkPolicy, Sources
from .._plan import Plan, PlanBuilder
from .._store.store import ImageStore
from .copying import FetchBlob, SetName, merged, shorten_images
from .reading import CHUNKS, NEVER, ImagePlan, ImageRequest, Reading, shown

if t.TYPE_CHECKING:
    from .._image.lock import Lock


def plan_pull(
    references: t.Sequence[Reference],
    *,
    platforms: t.Sequence[Platform] | None,
    policy: str,
    sources: Sources,
    store: ImageStore,
    workers: int,
    all_tags: bool = False,
    pieces: ChunkPolicy = CHUNKS,
    referrers: bool = False,
    foreign: bool = False,
    allow: bool = False,
    lock: Lock | None = None,
) -> Plan:
    """Bring every reference, for each platform (None: all), into the store; by digest nothing is asked twice.

    With a lock, what that says, or LockError.
    """
    builder = PlanBuilder(workers)
    if policy == NEVER and (all_tags or referrers):
        raise errors.InputError("all_tags and referrers ask a registry, which pull=never forbids")
    if all_tags or referrers:
        sources.prepare()
    if all_tags:
        from .referrers import expand_tags

        references = expand_tags(references, sources, builder)
    carried = lock.manifests if lock else {}
    reading = Reading(store, sources, policy, pieces, foreign, carried, allow)
    requests = [ImageRequest.of(reference, platforms, lock) for reference in references]
    plans = reading.plan_all(requests, builder)
    if referrers:
        from .referrers import follow, referrers_of

        def look(plan: ImagePlan) -> list[Reference]:
            return referrers_of(plan.reference, sources.repository(plan.reference), plan.digests)

        plans += follow(
            plans,
            look,
            lambda one: reading.plan_image(ImageRequest(one, None)),
            lambda one: one.store_name,
            builder,
        )
    return plan_of(plans, builder, store, sources)


def plan_of(
    plans: t.Sequence[ImagePlan],
    builder: PlanBuilder,
    store: ImageStore,
    sources: Sources,
) -> Plan:
    """Return the plan that fetches the missing content of ``plans`` and sets their names; raise NoSpaceError if it does not fit."""
    content = merged(plans)
    sizes = {digest: size for plan in plans for digest, size in plan.sizes.items()}
    blobs = [action.descriptor for action in content if isinstance(action, FetchBlob)]
    if blobs:
        sources.prepare()
    staged = sum(map(store.staged, blobs))
    missing = sum(action.descriptor.size for action in content)
    digests = {action.descriptor.digest for action in content}
    store.require_space(missing - staged, digests)
    stats = {
        "bytes_to_fetch": sum(blob.size for blob in blobs) - staged,
        "bytes_reused": sum(size for digest, size in sizes.items() if digest not in digests),
    }
    return builder.build(
        content=content,
        names=tuple(
            SetName(plan.name, plan.target, plan.before, store)
            for plan in plans
            if plan.before != plan.target
        ),
        before={plan.name: plan.shown_before for plan in plans if plan.before},
        after={plan.name: shown(plan.target) for plan in plans},
        facts={"images": [plan.entry(image) for plan in plans for image in plan.images]},
        shorten=shorten_images,
        prepare=lambda: store.prepare(digests),
        stats=lambda: {**stats, "bytes_resumed": store.resumed, **sources.stats()},
        warnings=lambda: [*sources.warnings, *(text for plan in plans for text in plan.warnings)],
    )
