# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in engine_differences.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, untrusted
from ansible_collections.lockstep.images.plugins.plugin_utils._loaded import (
    differences_of_engines,
)


def engine_differences(results, known=()):
    """Return what the engines of hosts lack; see RETURN."""
    try:
        rows = differences_of_engines(results, known)
    except (AttributeError, KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"engine_differences: {exc!r}, expected a dictionary of results of lockstep.images.image_load by host name",
        ) from exc
    return untrusted(rows)


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"engine_differences": engine_differences}
