# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare hosts with each other or with a lock file, by the results that the role store registered."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.plugin_utils._differences import differences
from ansible_collections.lockstep.images.plugins.plugin_utils._held import held_in
from ansible_collections.lockstep.images.plugins.plugin_utils._loaded import (
    differences_of_engines,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._synced import (
    differences_of_syncs,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._vouched import voucher_counts

Variables = t.Mapping[str, t.Any]


class _Host(t.NamedTuple):
    """What one host holds now, what it holds after a run without check mode, and what it is asked to hold."""

    held: Variables
    promised: Variables
    asked: t.Sequence[str]
    loaded: Variables | None

    @classmethod
    def of(cls, variables: Variables) -> _Host:
        """Read the variables of a host.

        The step ``proof`` of the role sets ``store_asked`` and more, if the result of image_sync does not say it all.
        """
        if "store_asked" not in variables:
            return cls(variables["store_synced"], variables["store_synced"], (), None)
        loaded = variables["store_loaded"] if variables["store_has_engine"] else None
        held, asked = variables["store_held"], variables["store_asked"]
        return cls(held, variables["store_promised"] or held, asked, loaded)


def prove(variables: t.Mapping[str, Variables]) -> dict[str, t.Any]:
    """Return the comparison that store_proof documents, from the variables of hosts by name."""
    hosts = {name: _Host.of(one) for name, one in variables.items()}
    # A host whose engine gets its images from registries has no store, and a host without images asks no engine.
    stores = {name: one for name, one in hosts.items() if not one.held.get("skipped")}
    loaded = {
        name: one.loaded
        for name, one in hosts.items()
        if one.loaded and not one.loaded.get("skipped")
    }
    asked = {name: one.asked for name, one in stores.items()}
    rows = differences({name: one.promised for name, one in stores.items()}, asked)
    prints = {one.held["fingerprint"] for one in stores.values()}
    names: set[str] = set()
    if len(prints) == 1:
        names.update(held_in(next(iter(stores.values())).held))
    elif stores:
        names.update(*asked.values())
    else:
        names.update(one["name"] for result in loaded.values() for one in result["images"])
    return {
        "stores": [row.as_result() for row in rows],
        "engines": differences_of_engines(loaded),
        "fingerprint": next(iter(prints)) if len(prints) == 1 else "",
        "names": len(names),
        "by_names": any(asked.values()),
        "unlisted": _unlisted(stores),
        "compared_engines": len(loaded),
    }


def _unlisted(stores: t.Mapping[str, _Host]) -> dict[str, list[str]]:
    """Return the names that hosts hold but are not asked to hold, by host, for each host that has some."""
    found = {
        host: sorted({image["name"] for image in one.held["images"]}.difference(one.asked))
        for host, one in stores.items()
        if one.asked
    }
    return {host: names for host, names in found.items() if names}


def audit(
    variables: t.Mapping[str, Variables], lost: t.Iterable[str], lock: t.Any = None
) -> dict[str, t.Any]:
    """Return the comparison with the lock file that store_audit documents, from the variables of hosts by name.

    ``lock`` is the value of the lock file, None to leave out who vouches for its images.
    """
    loaded = {name: one.get("store_loaded") for name, one in variables.items()}
    loaded = {name: one for name, one in loaded.items() if one and not one.get("skipped")}
    synced = {name: one.get("store_synced") or {} for name, one in variables.items()}
    # A host whose engine gets its images from registries has no result of a store, or that of a skipped task.
    direct = {name for name in loaded if synced[name].get("skipped", not synced[name])}
    synced = {name: one for name, one in synced.items() if name not in direct}
    rows = differences_of_syncs(synced, lost)
    of_engines = differences_of_engines(loaded, rows)
    hosts: dict[str, dict[str, None]] = {"unreachable": {}, "unknown": {}, "differing": {}}
    for row in rows + of_engines:
        hosts.get(row["found"], hosts["differing"])[row["host"]] = None
    prints = (
        result["fingerprint"] for result in synced.values() if result and "fingerprint" in result
    )
    return {
        "differences": rows + of_engines,
        "stores_differ": bool(rows),
        "hosts": {kind: list(names) for kind, names in hosts.items()},
        "stores": len(synced),
        "engines": len(loaded),
        "fingerprint": next(prints, ""),
        "vouchers": voucher_counts(lock),
    }
