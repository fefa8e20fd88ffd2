# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the report on the stores of many hosts, compared with a lock file or with what most hosts hold.

The time is linear in the size of the results, and the order of hosts has no effect.
"""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.lockstep.images.plugins.plugin_utils._attached import Attachments
from ansible_collections.lockstep.images.plugins.plugin_utils._changes import changes
from ansible_collections.lockstep.images.plugins.plugin_utils._differences import (
    differences,
    reference_host,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._held import (
    NOTHING,
    UNKNOWN,
    Comparison,
    Held,
    held_by_name,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._results import (
    HostResults,
    Json,
    ResultReader,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._snapshot import (
    REPORT_VERSION,
    Snapshot,
    snapshot,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._treemap import picture
from ansible_collections.lockstep.images.plugins.plugin_utils._vouched import vouchers_of

T = t.TypeVar("T", str, Held)
STATES = ("same", "differs", "missing", "incomplete", "extra", "unknown", "none")


def report(
    results: t.Mapping[str, t.Any],
    date: str | None = None,
    since: Snapshot | None = None,
    lock: t.Any = None,
    attached: t.Any = None,
) -> Json:
    """Return the report that report.yml documents, from results by host name. ``since`` is an earlier report.

    ``lock`` is the value of the lock file, which says who vouches for its images. ``attached`` is the result of
    registry_info that lists what is attached to them.
    """
    reader = ResultReader()
    hosts = [reader.host(name, results[name]) for name in sorted(results)]
    # If the lock file of a run could not be used, a comparison with something else would mislead.
    locked = any(host.locked for host in hosts)
    if locked:
        wanted, fingerprint = _compare_with_lock(hosts)
    else:
        wanted, fingerprint = _compare_with_most(hosts)
    attachments = Attachments(attached)
    images = _images(hosts, wanted, vouchers_of(lock) if locked else {}, attachments)
    layers = _layers(hosts)
    model = {
        "report_version": REPORT_VERSION,
        "date": date,
        "compared_with": "lock" if locked else "most",
        "fingerprint": fingerprint,
        "summary": _summary(hosts, images, layers),
        "hosts": [_host_entry(host) for host in sorted(hosts, key=_rank)],
        "images": images,
        "attached_error": attachments.error or None,
        "differences": _grouped(hosts),
        "fingerprints": _fingerprints(hosts, fingerprint),
        "layers": layers,
        "picture": picture(layers),
        "since": None,
    }
    if since is not None:
        model["since"] = changes(since, snapshot(model))
    return model


def _compare_with_most(hosts: t.Sequence[HostResults]) -> tuple[dict[str, Held], str | None]:
    """Compare the hosts with what most of them hold. Return the wanted content by name, and its fingerprint."""
    held: dict[str, Json] = {
        host.name: {"fingerprint": host.fingerprint, "images": host.images}
        for host in hosts
        if host.images is not None
    }
    if not held:
        return {}, None
    model = held[reference_host(held)]
    listed: dict[str, dict[str, Comparison]] = {name: {} for name in held}
    for one in differences(held):
        listed[one.host][one.name] = Comparison(one.wanted.whole, one.found)
    wanted = {name: one.whole for name, one in held_by_name(model["images"]).items()}
    for host in hosts:
        if host.images is not None:
            host.rows = _rows(host, wanted, listed[host.name])
    for host in hosts:
        for name, row in (host.rows or {}).items():
            wanted.setdefault(name, row.wanted)
    return wanted, model["fingerprint"]


def _compare_with_lock(hosts: t.Sequence[HostResults]) -> tuple[dict[str, Held], str | None]:
    """Compare each host with its lock file. Return the content by name and the fingerprint that most lock files want."""
    votes: dict[str, Counter[Held]] = {}
    fingerprints: Counter[str] = Counter()
    for host in hosts:
        if host.images is None or host.sync is None:
            host.messages = host.messages or ["image_sync: no result"]
            continue
        found = {name: one.whole for name, one in held_by_name(host.images).items()}
        wanted = {name: found.get(name, UNKNOWN) for name in host.sync["sizes"]}
        wanted.update(found if host.sync["is_partial"] else {})
        wanted.update((name, row.wanted) for name, row in host.sync["rows"].items())
        host.rows = _rows(host, wanted, host.sync["rows"])
        if host.sync["fingerprint"] is not None:
            fingerprints[host.sync["fingerprint"]] += 1
        for name, one in wanted.items():
            votes.setdefault(name, Counter())[one] += one != UNKNOWN
    wanted_by_most = {name: _most(found) for name, found in votes.items()}
    return wanted_by_most, _most(fingerprints) if fingerprints else None


def _most(votes: Counter[T]) -> T:
    return min(votes, key=lambda one: (-votes[one], one))


def _rows(
    host: HostResults, wanted: t.Mapping[str, Held], listed: t.Mapping[str, Comparison]
) -> dict[str, Comparison]:
    """Return (wanted, found) by name for the names that differ, whether the module listed them or not."""
    found = held_by_name(host.images or ())
    rows = {
        name: Comparison(wanted.get(name, NOTHING), found.get(name, NOTHING))
        for name in {**wanted, **found}
    }
    rows.update(listed)
    return {name: row for name, row in rows.items() if not row.is_same}


def _rank(host: HostResults) -> tuple[int, int, str]:
    """Return a sort key: hosts with most differences first, then hosts that were not compared, then the others."""
    if host.rows is None:
        return 1, 0, host.name
    return (0, -len(host.rows), host.name) if host.rows else (2, 0, host.name)


def _host_entry(host: HostResults) -> Json:
    sync = host.sync or {}
    return {
        "name": host.name,
        "status": host.status,
        "messages": host.messages,
        "checked": host.checked if host.rows is not None else None,
        "fingerprint": host.fingerprint,
        "images": None if host.images is None else len({image["name"] for image in host.images}),
        "differing": None if host.rows is None else len(host.rows),
        "states": host.states,
        **{key: host.store.get(key) for key in ("store", "bytes", "reclaimable", "free")},
        "bytes_to_fetch": sync.get("bytes_to_fetch"),
        "bytes_to_free": sync.get("bytes_freed"),
        "engine": host.engine,
    }


def _images(
    hosts: t.Sequence[HostResults],
    wanted: t.Mapping[str, Held],
    vouchers: t.Mapping[tuple[str, str], list[str]],
    attachments: Attachments,
) -> list[Json]:
    """Return an entry for every name that is wanted or held, with the number of hosts in each state."""
    names = {name for host in hosts for name in host.rows or ()} | set(wanted)
    sizes = _sizes(hosts)
    blind = sum(host.rows is None for host in hosts)
    counts = {name: Counter({"unknown": blind}) for name in names}
    for host in hosts:
        for name, state in host.states.items():
            counts[name][state] += 1
    entries = []
    for name in sorted(names):
        usual = "none" if wanted.get(name, NOTHING) == NOTHING else "same"
        counts[name][usual] = len(hosts) - sum(counts[name].values())
        known = sizes.get(name, {})
        size = known.get(wanted.get(name, NOTHING), max(known.values(), default=None))
        entries.append(
            {
                "name": name,
                "wanted": str(wanted.get(name, NOTHING)),
                "vouched_for_by": vouchers.get((name, wanted.get(name, NOTHING).digest)),
                "attached": attachments.of(name, wanted.get(name, NOTHING).digest),
                "size": size,
                "usual": usual,
                "counts": {state: counts[name][state] for state in STATES},
            }
        )
    return entries


def _sizes(hosts: t.Sequence[HostResults]) -> dict[str, dict[Held | None, int]]:
    """Return for each name the bytes of all platforms, by content.

    A size that only a sync reports is stored under the wanted content, or under None if the name does not differ.
    """
    sizes: dict[str, dict[Held | None, int]] = {}
    for host in hosts:
        own: dict[tuple[str, Held], int] = {}
        for image in host.images or ():
            key = (image["name"], Held.of_image(image).whole)
            own[key] = own.get(key, 0) + image["size"]
        for (name, held), size in own.items():
            if not size:
                continue  # the size is unknown: the content is not in this store
            known = sizes.setdefault(name, {})
            known[held] = max(size, known.get(held, 0))
        for name, size in (host.sync or {}).get("sizes", {}).items():
            row = host.sync["rows"].get(name) if host.sync else None
            sizes.setdefault(name, {}).setdefault(row.wanted if row else None, size)
    return sizes


def _grouped(hosts: t.Sequence[HostResults]) -> list[Json]:
    """Return each difference once, with its hosts."""
    groups: dict[tuple[str, Comparison], list[str]] = {}
    for host in hosts:
        for name, row in (host.rows or {}).items():
            groups.setdefault((name, row), []).append(host.name)
    return [
        {
            "name": name,
            "state": row.state,
            "wanted": str(row.wanted),
            "found": str(row.found),
            "hosts": groups[name, row],
        }
        for name, row in sorted(groups)
    ]


def _fingerprints(hosts: t.Sequence[HostResults], wanted: str | None) -> list[Json]:
    groups: dict[str, list[str]] = {}
    for host in hosts:
        if host.fingerprint is not None:
            groups.setdefault(host.fingerprint, []).append(host.name)
    return [
        {"fingerprint": one, "wanted": one == wanted, "hosts": groups[one]}
        for one in sorted(groups, key=lambda one: (-len(groups[one]), one))
    ]


def _layers(hosts: t.Sequence[HostResults]) -> list[Json]:
    """Return the layers of all hosts, largest first, each with the names that use it and the number of hosts."""
    sizes: dict[str, int] = {}
    names: dict[str, set[str]] = {}
    held_by: dict[str, set[str]] = {}
    for host in hosts:
        for image in host.images or ():
            for digest, size in image["layers"]:
                sizes[digest] = max(size, sizes.get(digest, 0))
                names.setdefault(digest, set()).add(image["name"])
                held_by.setdefault(digest, set()).add(host.name)
    return [
        {
            "digest": digest,
            "size": sizes[digest],
            "images": sorted(names[digest]),
            "hosts": len(held_by[digest]),
        }
        for digest in sorted(sizes, key=lambda digest: (-sizes[digest], digest))
    ]


def _summary(
    hosts: t.Sequence[HostResults], images: t.Sequence[Json], layers: t.Sequence[Json]
) -> Json:
    states = Counter(host.status for host in hosts)
    synced = [host.sync["bytes_to_fetch"] for host in hosts if host.sync]
    depths = {host.checked["depth"] for host in hosts if host.checked and host.rows is not None}
    return {
        "hosts": len(hosts),
        **{status: states[status] for status in ("same", "differs", "failed", "unreachable")},
        # "sizes" sorts after "bytes", so this is the weakest check of all compared hosts.
        "depth": max(depths, default=None),
        "images": len(images),
        "bytes": sum(host.store.get("bytes", 0) for host in hosts),
        "bytes_to_fetch": sum(synced) if synced else None,
        "layer_bytes": sum(layer["size"] for layer in layers),
        "layer_bytes_unshared": sum(layer["size"] * len(layer["images"]) for layer in layers),
    }
