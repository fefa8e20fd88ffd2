# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in engine_differences.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, untrusted
from ansible_collections.lockstep.images.plugins.plugin_utils._held import NOTHING
from ansible_collections.lockstep.images.plugins.plugin_utils._loaded import engine_rows
from ansible_collections.lockstep.images.plugins.plugin_utils._unknown import (
    EVERY_NAME,
    row_of_failed_host,
    unknown,
)


def engine_differences(results, known=()):
    """Return what the engines of hosts lack; see RETURN."""
    try:
        seen = {(one["host"], one["name"]) for one in known}
        rows = [
            row
            for host, result in results.items()
            for row in _rows_of_host(host, result or {}, seen)
        ]
    except (AttributeError, KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"engine_differences: {exc!r}, expected a dictionary of results of lockstep.images.image_load by host name",
        ) from exc
    return untrusted(rows)


def _rows_of_host(host, result, seen):
    """Return the rows of one host. A failure has none if the store, from which the engine gets its images, explains it."""
    if "images" not in result or (result.get("error") and not result.get("failures")):
        return [] if (host, EVERY_NAME) in seen else [row_of_failed_host(host, result)]
    kind = result["engine"]["kind"]
    failures = {one["name"]: one["msg"] for one in result.get("failures") or ()}
    explained = {name for name in failures if {(host, name), (host, EVERY_NAME)} & seen}
    return [
        *(_row(host, kind, name, one) for name, one in engine_rows(result).items()),
        *(unknown(host, msg, name) for name, msg in failures.items() if name not in explained),
    ]


def _row(host, kind, name, compared):
    wanted, found = map(str, compared)
    if compared.found == NOTHING:
        text = f"{kind} does not have {name}"
    elif compared.state == "incomplete":
        text = f"{name} is incomplete in {kind}"
    else:
        text = f"{name} is {found} in {kind} instead of {wanted}"
    return {
        "host": host,
        "name": name,
        "wanted": wanted,
        "found": f"{kind}: {found}",
        "message": f"{host}: {text}",
    }


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"engine_differences": engine_differences}
