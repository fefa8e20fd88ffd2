# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in store_proof.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, untrusted
from ansible_collections.lockstep.images.plugins.plugin_utils._proof import prove


def store_proof(hostvars, hosts):
    """Return what the role lockstep.images.store left on these hosts, compared; see RETURN."""
    try:
        return untrusted(prove({str(host): hostvars[host] for host in hosts}))
    except (AttributeError, KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"store_proof: {exc!r}, expected hostvars, and hosts on which the role lockstep.images.store has run",
        ) from exc


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"store_proof": store_proof}
