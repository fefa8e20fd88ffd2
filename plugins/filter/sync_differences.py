# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in sync_differences.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import untrusted
from ansible_collections.lockstep.images.plugins.plugin_utils._unknown import (
    row_of_failed_host,
    unknown,
)


def sync_differences(results, lost=()):
    """Return the differences from the lock file; see RETURN."""
    if not isinstance(results, dict):
        raise AnsibleFilterError(
            f"sync_differences: input is of type {type(results).__name__},"
            " expected a dictionary of results of lockstep.images.image_sync by host name"
        )
    found = [
        entry for host, result in results.items() for entry in _entries_of_host(host, result or {})
    ]
    found += [unknown(host, "no result, the play ended earlier for this host") for host in lost]
    return untrusted(found)


def _entries_of_host(host, result):
    """Return the entries of one host. A host without a result is an entry too, because its store was not compared."""
    failures = result.get("failures") or ()
    if "differences" not in result or (result.get("error") and not failures):
        return [row_of_failed_host(host, result)]
    failed = {one["name"]: one["msg"] for one in failures}
    differing = [one for one in result["differences"] if one["name"] not in failed]
    return [
        *(dict(one, host=host, message=f"{host}: {one['message']}") for one in differing),
        *(unknown(host, text, name) for name, text in failed.items()),
    ]


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"sync_differences": sync_differences}
