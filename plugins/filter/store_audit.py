# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in store_audit.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    failed,
    plain,
    raise_as,
    untrusted,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._proof import audit


def store_audit(hostvars, hosts, lost=(), lock=None):
    """Return how these hosts differ from the lock file; see RETURN."""
    try:
        with raise_as(AnsibleFilterError):
            found = audit({str(host): hostvars[host] for host in hosts}, lost, plain(lock))
        return untrusted(found)
    except (AttributeError, KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"store_audit: {exc!r}, expected hostvars, and hosts on which the role lockstep.images.store has run",
        ) from exc


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"store_audit": store_audit}
