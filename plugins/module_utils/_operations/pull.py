# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull: a store gets what registries hold."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.names import Platform, Reference
from .._image.sources import Sources
from .._plan import Plan
from .._store.store import ImageStore
from .fetching import ALWAYS, NEVER, FetchOptions, FetchPlanner, ImageRequest, plan_fetch

if t.TYPE_CHECKING:
    from .._image.lock import Lock


def plan_pull(
    references: t.Sequence[Reference],
    platforms: t.Sequence[Platform] | None,
    store: ImageStore,
    sources: Sources,
    options: FetchOptions,
    *,
    policy: str = ALWAYS,
    all_tags: bool = False,
    referrers: bool = False,
    lock: Lock | None = None,
) -> Plan:
    """Plan to bring images, for each platform (None: all), into the store; by digest nothing is asked twice.

    With ``lock`` the images are what that says; raise LockError if it lacks one.
    """
    if policy == NEVER and (all_tags or referrers):
        raise errors.InputError("all_tags and referrers ask a registry, which pull=never forbids")
    planner = FetchPlanner(store, sources, options, policy, lock.manifests if lock else None)
    if all_tags or referrers:
        from .referrers import expand_tags, follow, referrers_of

        sources.prepare()
    if all_tags:
        references = expand_tags(references, sources, planner)
    plans = planner.plan_all([ImageRequest.of(one, platforms, lock) for one in references])
    if referrers:
        plans += follow(
            plans,
            lambda one: referrers_of(one.reference, sources.repository(one.reference), one.digests),
            lambda one: planner.plan_image(ImageRequest(one, None)),
            lambda one: one.store_name,
            planner,
        )
    return plan_fetch(planner, plans)
