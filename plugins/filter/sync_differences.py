# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in sync_differences.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import untrusted
from ansible_collections.lockstep.images.plugins.plugin_utils._synced import (
    differences_of_syncs,
)


def sync_differences(results, lost=()):
    """Return the differences from the lock file; see RETURN."""
    if not isinstance(results, dict):
        raise AnsibleFilterError(
            f"sync_differences: input is of type {type(results).__name__},"
            " expected a dictionary of results of lockstep.images.image_sync by host name"
        )
    return untrusted(differences_of_syncs(results, lost))


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"sync_differences": sync_differences}
