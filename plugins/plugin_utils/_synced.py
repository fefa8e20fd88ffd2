# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the stores of hosts differ from a lock file, by results of image_sync."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.plugin_utils._unknown import (
    Row,
    row_of_failed_host,
    unknown,
)


def differences_of_syncs(results: t.Mapping[str, t.Any], lost: t.Iterable[str] = ()) -> list[Row]:
    """Return the rows that sync_differences documents, from results by host, and for hosts without a result."""
    found = [row for host, result in results.items() for row in _rows_of_host(host, result or {})]
    return found + [
        unknown(host, "no result, the play ended earlier for this host") for host in lost
    ]


def _rows_of_host(host: str, result: t.Mapping[str, t.Any]) -> list[Row]:
    """Return the rows of one host. A host without a result has a row too, because its store was not compared."""
    failures = result.get("failures") or ()
    if "differences" not in result or (result.get("error") and not failures):
        return [row_of_failed_host(host, result)]
    failed = {one["name"]: one["msg"] for one in failures}
    differing = [one for one in result["differences"] if one["name"] not in failed]
    return [
        *(dict(one, host=host, message=f"{host}: {one['message']}") for one in differing),
        *(unknown(host, text, name) for name, text in failed.items()),
    ]
