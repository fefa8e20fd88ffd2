# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in pinned.yml.
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import parse_reference, raise_as


def pinned(value):
    """Return whether the name of an image has a digest."""
    with raise_as(AnsibleFilterError):
        return parse_reference(value).digest is not None


class TestModule:
    """Register the test with Ansible."""

    def tests(self):
        return {"pinned": pinned}
