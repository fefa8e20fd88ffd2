# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in reference.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.module_utils._operations.info import familiar
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import parse_reference, raise_as


def reference(value):
    """Return the parts of the name of an image; see RETURN."""
    with raise_as(AnsibleFilterError):
        parsed = parse_reference(value)
    return {
        "registry": parsed.registry,
        "repository": parsed.repository,
        "tag": parsed.tag,
        "digest": str(parsed.digest) if parsed.digest else None,
        "name": parsed.name,
        "canonical": str(parsed),
        "familiar": familiar(parsed),
    }


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"reference": reference}
