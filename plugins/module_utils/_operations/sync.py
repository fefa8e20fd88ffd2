# SPDX-License-Identifier: GPL-3.0-or-later
"""Sync: a store gets exactly what a lock says."""

from __future__ import annotations

import os
import stat
import typing as t

from .._image.lock import Lock
from .._image.names import Digest, Reference, platforms_of
from .._image.sources import Sources
from .._plan import Action, Plan
from .._progress import PROGRESS
from .._store.inventory import contents, roots
from .._store.reader import IndexEntry, render_names
from .._store.repair import FULL, OTHER_BYTES, RepairStore, verify_blob
from .._store.store import ImageStore, free_bytes
from .actions import shorten_images
from .fetching import FetchOptions, FetchPlanner, ImagePlan, ImageRequest, plan_fetch
from .naming import NOTHING, shown

if t.TYPE_CHECKING:
    from .._execution import Pool


class WriteIndex(Action):
    """Write the names of a lock and no others, in the same bytes as in every other store."""

    def __init__(
        self, names: t.Mapping[str, IndexEntry], dropped: tuple[str, ...], store: RepairStore
    ) -> None:
        self.names, self.dropped, self.store = names, dropped, store

    def summary(self) -> dict[str, t.Any]:
        return {"action": "write_index", "dropped": list(self.dropped)}

    def apply(self, pool: Pool) -> None:
        self.store.make_exactly(self.names)


def plan_sync(
    lock: Lock,
    store: RepairStore,
    sources: Sources,
    options: FetchOptions,
    *,
    platforms: t.Sequence[str] | None,
    exclusive: bool,
    mode: str,
) -> Plan:
    """Plan to fetch the images of a lock, for some of its platforms (none: all), and to remove everything else.

    Nothing is asked by tag. ``mode`` says how content that is here is checked: by its size, or all its bytes.
    """
    there = contents(store)
    sizes = {digest: one.st_size for digest, one in there.items()}
    reasons = _doubts(store, there, mode, options.workers)
    store.known_bad = set(reasons)
    planner = FetchPlanner(store, sources, options, embedded=lock.manifests)
    plans = planner.plan_all(_requests(lock, platforms))
    plan = plan_fetch(planner, plans)
    before, after = planner.names, {one.name: one.target for one in plans}
    gone = set(before) - set(after) - set(plan.failures) if exclusive else ()
    dropped = {name: before[name] for name in sorted(gone)}
    is_rewritten = (
        exclusive and not plan.failures and not _will_be_exact(store, plan, before, after)
    )
    last = [WriteIndex(after, tuple(dropped), store)] if is_rewritten else []
    garbage = [] if plan.failures else _garbage(store, sizes, plans, exclusive)
    promises = (
        {"fingerprint": str(Digest.of(render_names(after))), "other_names": 0} if exclusive else {}
    )
    differences = _differences(plans, reasons, sizes, dropped) or _leftovers(is_rewritten, garbage)
    free = free_bytes(store.path + "/blobs/sha256")

    def is_as_planned() -> bool:
        if exclusive:  # another task with the same lock may have finished first
            return dict(store.names()) in ({**before, **after}, after)
        return not _needed(store, ()).intersection(one.digest for one in garbage)

    return plan._replace(
        last=(*last, *garbage),
        before={**plan.before, **{name: shown(dropped[name]) for name in dropped}},
        facts={**plan.facts, "differences": differences, "store": store.path},
        promises={
            **plan.promises,
            **promises,
            "dropped": [
                {"name": one, "digest": str(dropped[one].target.digest)} for one in dropped
            ],
            "bytes_freed": sum(one.size for one in garbage),
        },
        stats=lambda: {**plan.stats(), "store_free": free},  # type: ignore[misc]
        before_cleanup=lambda: store.upgrade_lock(is_as_planned),
        shorten=shorten_sync,
    )


def shorten_sync(facts: t.Mapping[str, t.Any], arrived: t.Container[str]) -> dict[str, t.Any]:
    """Return ``images`` and ``differences`` of a failed result: of the latter, those that are left."""
    rows = [row for row in facts["differences"] if row["name"] not in arrived]
    return {**shorten_images(facts, arrived), "differences": rows}


def _requests(lock: Lock, platforms: t.Sequence[str] | None) -> list[ImageRequest]:
    return [
        ImageRequest.of(
            Reference.parse(image.name), platforms_of(platforms or sorted(image.platforms)), lock
        )._replace(exact=True)
        for image in lock.images
    ]


def _doubts(
    store: RepairStore, there: t.Mapping[Digest, os.stat_result], mode: str, workers: int
) -> dict[Digest, str]:
    """Return what is wrong with content of the store, by digest."""
    suspects = [
        digest for digest, one in there.items() if mode == FULL or not stat.S_ISREG(one.st_mode)
    ]
    if not suspects:
        return {}
    from .._execution import in_parallel

    size = sum(there[digest].st_size for digest in suspects)
    PROGRESS.count = lambda: (0, 0, sum(store.reads), size)
    reasons = in_parallel(lambda digest: verify_blob(store, digest), suspects, workers)
    return {digest: reason for digest, reason in zip(suspects, reasons) if reason}


def _will_be_exact(
    store: RepairStore,
    plan: Plan,
    before: t.Mapping[str, IndexEntry],
    after: t.Mapping[str, IndexEntry],
) -> bool:
    """Return whether the index is exact once the names are set."""
    if not plan.names:
        return store.is_exactly(after)
    # A new or moved name leaves the other entries unchanged, so they must be right already.
    return set(before) <= set(after) and store.is_exactly(before)


def _garbage(
    store: ImageStore, there: t.Mapping[Digest, int], plans: t.Sequence[ImagePlan], exclusive: bool
) -> list[t.Any]:
    """Return the unreferenced content: all of it, or that of names that moved."""
    kept = {digest for one in plans for digest in one.sizes}
    found = set(there) - kept
    if not found:
        return []
    if not exclusive:
        from .reach import Reachable

        moved = [one.before for one in plans if one.before and one.before != one.target]
        found &= Reachable.of(store, moved).needed
        found -= _needed(store, {one.name for one in plans}) if found else set()
    from .garbage import RemoveContent

    return [RemoveContent(digest, there[digest], store) for digest in sorted(found)]


def _needed(store: ImageStore, without: t.Container[str]) -> set[Digest]:
    """Return everything reachable from the index, except through some names; raise CorruptStoreError."""
    # Of a store without doubts: a manifest that is wrong must not pass for one that is missing.
    from .reach import Reachable

    whole = ImageStore(store.path)
    reach = Reachable.of(whole, roots(whole, without))
    reach.require_intact(store.path)
    return reach.needed


def _differences(
    plans: t.Sequence[ImagePlan],
    reasons: t.Mapping[Digest, str],
    sizes: t.Mapping[Digest, int],
    dropped: t.Mapping[str, IndexEntry],
) -> list[dict[str, str]]:
    rows = [_difference(one, reasons, sizes) for one in plans if one.status != "up_to_date"]
    rows += [_row(one, NOTHING, shown(dropped[one]), "is not in the lock") for one in dropped]
    return sorted(rows, key=lambda one: one["name"])


def _difference(
    plan: ImagePlan, reasons: t.Mapping[Digest, str], sizes: t.Mapping[Digest, int]
) -> dict[str, str]:
    wanted = shown(plan.target)
    if plan.before is None:
        return _row(plan.name, wanted, NOTHING, "is missing")
    if plan.before != plan.target:
        found = shown(plan.before)
        return _row(plan.name, wanted, found, f"is {found} instead of {wanted}")
    first, more = plan.content[0].descriptor, len(plan.content) - 1
    there = sizes.get(first.digest)
    reason = reasons.get(first.digest, OTHER_BYTES)
    if there is None:
        reason = "is missing"
    elif reason == OTHER_BYTES and there != first.size:
        reason = f"has {there} bytes instead of {first.size}"
    text = f"is incomplete: {first.digest} {reason}" + (f", and {more} more" if more else "")
    return _row(plan.name, wanted, shown(plan.target, is_incomplete=True), text)


def _leftovers(is_rewritten: bool, garbage: t.Sequence[t.Any]) -> list[dict[str, str]]:
    """Return the differences of a store in which every name is right."""
    rows = []
    if is_rewritten:
        text = "has entries without a name, or another form than this collection writes"
        rows.append(_row("index.json", "the names of the lock alone", "other entries", text))
    if garbage:
        found = f"{len(garbage)} ({sum(one.size for one in garbage)} bytes)"
        rows.append(_row("blobs", NOTHING, found, f"that no name needs: {found}"))
    return rows


def _row(name: str, wanted: str, found: str, text: str) -> dict[str, str]:
    return {"name": name, "wanted": wanted, "found": found, "message": f"{name} {text}"}
