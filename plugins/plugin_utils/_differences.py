# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores of several hosts against what most of them hold."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.lockstep.images.plugins.module_utils._operations.reading import (
    INCOMPLETE,
    NOTHING,
)

Held = t.Mapping[str, t.Mapping[str, t.Any]]


def differences(held: Held) -> list[dict[str, str]]:
    """Entries of host, name, wanted, found and message, for hosts as ``image_info`` told of them."""
    stores = held.items()
    if not stores:
        return []
    model = held[most_like(held)]
    right, wanted = model["fingerprint"], content(model["images"])
    return [
        entry
        for host, info in stores
        for entry in _compare(host, wanted, content(info["images"]), info["fingerprint"] == right)
    ]


def most_like(held: Held) -> str:
    """The first host that holds what most hold, of those in which nothing is missing; of all if there are none."""
    whole = [host for host in held if all(image["complete"] for image in held[host]["images"])]
    models = whole or list(held)
    # Counter keeps the order of the hosts, and most_common is stable.
    right = Counter(held[host]["fingerprint"] for host in models).most_common(1)[0][0]
    return next(host for host in models if held[host]["fingerprint"] == right)


def content(images: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Name to digest, platforms, and whether something is missing behind it."""
    found = {}
    for image in images:
        state = f"{image['digest']} ({', '.join(image['platforms'])})"
        found[image["name"]] = state if image["complete"] else f"{state}{INCOMPLETE}"
    return found


def _compare(
    host: str, wanted: t.Mapping[str, str], found: t.Mapping[str, str], same: bool
) -> list[dict[str, str]]:
    differing = [
        name for name in sorted({**wanted, **found}) if wanted.get(name) != found.get(name)
    ]
    if not differing and not same:
        # Entries without a name, as other tools leave them in an index, count for the fingerprint too.
        return [_entry(host, "index.json", "the index of most hosts", "another index")]
    return [
        _entry(host, name, wanted.get(name, NOTHING), found.get(name, NOTHING))
        for name in differing
    ]


def _entry(host: str, name: str, wanted: str, found: str) -> dict[str, str]:
    message = f"{host} holds {found} for {name}, most hosts hold {wanted}"
    return {"host": host, "name": name, "wanted": wanted, "found": found, "message": message}
