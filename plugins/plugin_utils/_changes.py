# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare two reports: what is wanted now, which hosts moved, and which are behind.

The time is linear in the size of the reports: for each host, only the names that differ in a report, or are wanted
differently, are visited.
"""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.plugin_utils._held import (
    NOT_IMAGES,
    UNKNOWN,
    Held,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._results import Json
from ansible_collections.lockstep.images.plugins.plugin_utils._snapshot import (
    STATUSES,
    HostState,
    Snapshot,
)


def changes(before: Snapshot, now: Snapshot) -> Json:
    """Return the key ``since`` of the report that report.yml documents."""
    wanted = _wanted(before, now)
    moves = _moves(before, now, wanted)
    hosts = [
        {
            "name": host.name,
            "status": host.status,
            "since": _since(before, now, host),
            "reasons": {name: _reason(before, now, host, name) for name in sorted(host.found)},
        }
        for _name, host in sorted(now.hosts.items())
        if host.status != "same"
    ]
    reasons = [set(host["reasons"].values()) for host in hosts]
    return {
        "date": before.date,
        "compared_with": before.compared_with,
        "fingerprint": before.fingerprint,
        "summary": {
            "wanted": len(wanted),
            "moved": len({host for hosts in moves.values() for host in hosts}),
            **{kind: sum(kind in one for one in reasons) for kind in _REASONS},
            "new": len(now.hosts.keys() - before.hosts.keys()),
            "gone": len(before.hosts.keys() - now.hosts.keys()),
        },
        "wanted": [_rollout(before, now, name) for name in wanted],
        "moves": [
            {
                "name": name,
                "from": str(old),
                "to": str(new),
                "wanted": new == now.wanted_for(name),
                "hosts": moves[name, old, new],
            }
            for name, old, new in sorted(moves)
        ],
        "statuses": _statuses(before, now),
        "hosts": hosts,
    }


# Why a host differs for a name.
_REASONS = ("behind", "unchanged", "drifted", "unclear")


def _reason(before: Snapshot, now: Snapshot, host: HostState, name: str) -> str:
    found, wanted = now.found(host, name), before.wanted_for(name)
    if found == UNKNOWN:
        return "unclear"
    if found == wanted:
        return "behind"
    earlier = before.hosts.get(host.name)
    held = before.found(earlier, name) if earlier else UNKNOWN
    if held == UNKNOWN:
        return "unclear"
    return "unchanged" if held == found else "drifted"


def _wanted(before: Snapshot, now: Snapshot) -> list[str]:
    """Return the names of images that hosts must hold in another version than before, or no longer, sorted."""
    names = {*before.wanted, *now.wanted}.difference(NOT_IMAGES)
    return [
        name
        for name in sorted(names)
        if before.wanted_for(name) != now.wanted_for(name)
        and UNKNOWN not in (before.wanted_for(name), now.wanted_for(name))
    ]


def _moves(
    before: Snapshot, now: Snapshot, wanted: t.Collection[str]
) -> dict[tuple[str, Held, Held], list[str]]:
    """Return the hosts, sorted, for each name, what they held and what they hold."""
    groups: dict[tuple[str, Held, Held], list[str]] = {}
    for name in sorted(before.hosts.keys() & now.hosts.keys()):
        then, host = before.hosts[name], now.hosts[name]
        for image in {*then.found, *host.found, *wanted}.difference(NOT_IMAGES):
            old, new = before.found(then, image), now.found(host, image)
            if old != new and UNKNOWN not in (old, new):
                groups.setdefault((image, old, new), []).append(name)
    return groups


def _rollout(before: Snapshot, now: Snapshot, name: str) -> Json:
    """Return how far the hosts follow a name that is wanted differently."""
    held = {host: now.found(state, name) for host, state in sorted(now.hosts.items())}
    old, new = before.wanted_for(name), now.wanted_for(name)
    return {
        "name": name,
        "before": str(old),
        "now": str(new),
        "followed": sum(one == new for one in held.values()),
        "behind": [host for host, one in held.items() if one == old],
    }


def _statuses(before: Snapshot, now: Snapshot) -> list[Json]:
    """Return the hosts by their status in both reports. None is the status of a host that a report does not have."""
    groups: dict[tuple[str | None, str | None], list[str]] = {}
    for name in sorted({*before.hosts, *now.hosts}):
        then, host = before.hosts.get(name), now.hosts.get(name)
        key = then.status if then else None, host.status if host else None
        groups.setdefault(key, []).append(name)
    order: tuple[str | None, ...] = (*STATUSES, None)
    return [
        {"before": old, "now": new, "hosts": groups[old, new]}
        for old in order
        for new in order
        if (old, new) in groups
    ]


def _since(before: Snapshot, now: Snapshot, host: HostState) -> str | None:
    """Return the date of the first report, without a gap, in which the host has its status."""
    earlier = before.hosts.get(host.name)
    return earlier.since if earlier and earlier.status == host.status else now.date
