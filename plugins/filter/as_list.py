# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in as_list.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import list_from, raise_as


def as_list(value):
    """Return the entries of a list that can be written as a string; see RETURN."""
    with raise_as(AnsibleFilterError):
        return list_from(value)


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"as_list": as_list}
