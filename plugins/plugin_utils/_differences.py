# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the stores of several hosts with what most of them hold."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.lockstep.images.plugins.plugin_utils._held import (
    NOTHING,
    Held,
    held_in,
)

# Results of image_info, image_pull or image_sync, by host.
Results = t.Mapping[str, t.Mapping[str, t.Any]]


class Difference(t.NamedTuple):
    """A name for which a host does not hold what ``holders`` hold, for example "most hosts"."""

    host: str
    name: str
    wanted: Held
    found: Held
    holders: str

    def as_result(self) -> dict[str, str]:
        """Return the texts that store_differences documents."""
        wanted, found = str(self.wanted), str(self.found)
        message = f"{self.host} holds {found} for {self.name}, {self.holders} hold {wanted}"
        return {
            "host": self.host,
            "name": self.name,
            "wanted": wanted,
            "found": found,
            "message": message,
        }


def differences(
    results: Results, asked: t.Mapping[str, t.Collection[str]] | None = None
) -> list[Difference]:
    """Return the differences between hosts, from what their stores hold.

    ``asked`` lists for each host the names that it must hold. Each name is compared only on the hosts that must hold it. A host
    without names is compared under all names that it holds. If no host has names, the complete stores are compared.
    """
    found = {host: held_in(result) for host, result in results.items()}
    if asked and any(asked.values()):
        return _compare_names(
            found, {host: set(asked.get(host) or found[host]) for host in results}
        )
    if not results:
        return []
    model = reference_host(results)
    prints = {host: result["fingerprint"] for host, result in results.items()}
    # An empty one is not known yet, and differs from none.
    same = [host for host in prints if not prints[model] or prints[host] in (prints[model], "")]
    holders = holders_phrase(len(same), len(results))
    alike, counts = frozenset(same), dict[str, int]()
    return [
        one
        for host in results
        for one in _compare_host(host, found[model], found, holders, alike, counts)
    ]


def holders_phrase(count: int, total: int) -> str:
    """Return a phrase for the hosts that hold the wanted content: "most hosts" only for a majority."""
    return "most hosts" if count * 2 > total else f"{count} of {total} hosts"


def reference_host(results: Results) -> str:
    """Return the first host with the most frequent fingerprint. Prefer hosts without missing content."""
    whole = [
        host
        for host, result in results.items()
        if not any(held.is_incomplete for held in held_in(result).values())
    ]
    models = whole or list(results)
    # Counter keeps the order of the hosts and most_common is stable, so the first host decides ties.
    right = Counter(results[host]["fingerprint"] for host in models).most_common(1)[0][0]
    return next(host for host in models if results[host]["fingerprint"] == right)


def _compare_names(
    found: t.Mapping[str, t.Mapping[str, Held]], asked: t.Mapping[str, t.Collection[str]]
) -> list[Difference]:
    rows: dict[str, list[Difference]] = {host: [] for host in found}
    for name in sorted({name for names in asked.values() for name in names}):
        held = {host: found[host].get(name, NOTHING) for host in found if name in asked[host]}
        whole = [one for one in held.values() if one != NOTHING and not one.is_incomplete]
        wanted, count = Counter(whole or held.values()).most_common(1)[0]
        holders = holders_phrase(count, len(held))
        for host, one in held.items():
            if one != wanted:
                rows[host].append(Difference(host, name, wanted, one, holders))
    return [row for host in found for row in rows[host]]


def _compare_host(
    host: str,
    wanted: t.Mapping[str, Held],
    all_found: t.Mapping[str, t.Mapping[str, Held]],
    holders: str,
    same: t.Collection[str],
    counts: dict[str, int],
) -> list[Difference]:
    """Return the differences of one host. ``counts`` keeps how many hosts hold what is wanted, by name, for the next host."""
    found = all_found[host]
    names = [name for name in sorted({**wanted, **found}) if wanted.get(name) != found.get(name)]
    if not names and host not in same:
        # Other tools can write index entries without a name, which also change the fingerprint.
        right, other = Held(f"the index of {holders}"), Held("another index")
        return [Difference(host, "index.json", right, other, holders)]
    rows = []
    for name in names:
        right = wanted.get(name, NOTHING)
        if name not in counts:
            counts[name] = sum(one.get(name, NOTHING) == right for one in all_found.values())
        who = holders_phrase(counts[name], len(all_found))
        rows.append(Difference(host, name, right, found.get(name, NOTHING), who))
    return rows
