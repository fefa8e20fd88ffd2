# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the stores of several hosts with what most of them hold."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.lockstep.images.plugins.module_utils._operations.reading import (
    INCOMPLETE,
    NOTHING,
)

Held = t.Mapping[str, t.Mapping[str, t.Any]]


def differences(
    held: Held, asked: t.Mapping[str, t.Collection[str]] | None = None
) -> list[dict[str, str]]:
    """Return the differences as dicts of host, name, wanted, found and message, from results of ``image_info`` by host.

    ``asked`` lists for each host the names that it must hold. Each name is compared only on the hosts that must hold it. A host
    without names is compared under all names that it holds. If no host has names, the complete stores are compared.
    """
    found = {host: content(info["images"]) for host, info in held.items()}
    if asked and any(asked.values()):
        return _compare_names(found, {host: set(asked.get(host) or found[host]) for host in held})
    if not held:
        return []
    model = reference_host(held)
    same = [host for host in held if held[host]["fingerprint"] == held[model]["fingerprint"]]
    return [
        entry
        for host in held
        for entry in _compare(host, found[model], found, holders_phrase(len(same), len(held)), same)
    ]


def holders_phrase(count: int, total: int) -> str:
    """Return a phrase for the hosts that hold the wanted content: "most hosts" only for a majority."""
    return "most hosts" if count * 2 > total else f"{count} of {total} hosts"


def _compare_names(
    found: t.Mapping[str, t.Mapping[str, str]], asked: t.Mapping[str, t.Collection[str]]
) -> list[dict[str, str]]:
    rows: dict[str, list[dict[str, str]]] = {host: [] for host in found}
    for name in sorted({name for names in asked.values() for name in names}):
        hold = {host: found[host].get(name, NOTHING) for host in found if name in asked[host]}
        whole = [one for one in hold.values() if one != NOTHING and not one.endswith(INCOMPLETE)]
        wanted, count = Counter(whole or hold.values()).most_common(1)[0]
        for host, one in hold.items():
            if one != wanted:
                who = holders_phrase(count, len(hold))
                rows[host].append(_entry(host, name, wanted, one, who))
    return [row for host in found for row in rows[host]]


def reference_host(held: Held) -> str:
    """Return the first host with the most frequent fingerprint. Prefer hosts without missing content."""
    whole = [host for host in held if all(image["complete"] for image in held[host]["images"])]
    models = whole or list(held)
    # Counter keeps the order of the hosts and most_common is stable, so the first host decides ties.
    right = Counter(held[host]["fingerprint"] for host in models).most_common(1)[0][0]
    return next(host for host in models if held[host]["fingerprint"] == right)


def content(images: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Return for each name its digest, its platforms, and a mark if content is missing, as one string."""
    found = {}
    for image in images:
        state = f"{image['digest']} ({', '.join(image['platforms'])})"
        found[image["name"]] = state if image["complete"] else f"{state}{INCOMPLETE}"
    return found


def _compare(
    host: str,
    wanted: t.Mapping[str, str],
    all_found: t.Mapping[str, t.Mapping[str, str]],
    who: str,
    same: t.Collection[str],
) -> list[dict[str, str]]:
    found = all_found[host]
    names = [name for name in sorted({**wanted, **found}) if wanted.get(name) != found.get(name)]
    if not names and host not in same:
        # Other tools can write index entries without a name, which also change the fingerprint.
        return [_entry(host, "index.json", f"the index of {who}", "another index", who)]
    entries = []
    for name in names:
        right = wanted.get(name, NOTHING)
        count = sum(one.get(name, NOTHING) == right for one in all_found.values())
        holders = holders_phrase(count, len(all_found))
        entries.append(_entry(host, name, right, found.get(name, NOTHING), holders))
    return entries


def _entry(host: str, name: str, wanted: str, found: str, who: str) -> dict[str, str]:
    message = f"{host} holds {found} for {name}, {who} hold {wanted}"
    return {"host": host, "name": name, "wanted": wanted, "found": found, "message": message}
