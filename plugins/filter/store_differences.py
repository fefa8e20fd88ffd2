# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: store_differences
short_description: List how the image stores of hosts differ
version_added: 1.0.0
description:
  - Compares the results of M(lockstep.images.image_info), M(lockstep.images.image_pull) or M(lockstep.images.image_sync) from several hosts.
  - Every host is compared with what most hosts hold. If two states are equally frequent, the state of the first host counts.
  - A store with missing content counts as correct only if all stores are like that.
  - With O(asked), only the names that hosts are asked to hold are compared. Other names are ignored.
options:
  _input:
    description: >-
      The result of one of these modules for each host name. A result of M(lockstep.images.image_pull) or M(lockstep.images.image_sync) says what the host
      holds after the task, of the names of the task.
    type: dict
    required: true
  asked:
    description:
      - For each host name, the names that the host is asked to hold. Each name is compared on the hosts that are asked to hold it.
      - For a host with an empty list, all names in its store are compared. If all lists are empty, the complete stores are compared.
    type: dict
author:
  - lockstep.images contributors (@lockstep-images)
"""

EXAMPLES = r"""
- name: Fail if the hosts differ
  ansible.builtin.assert:
    that: held | lockstep.images.store_differences | length == 0
  vars:
    held: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'store_held'))) }}"
"""

RETURN = r"""
_value:
  description: One entry for each host and name that differ from what most hosts hold. Empty if all hosts hold the same images.
  type: list
  elements: dict
  contains:
    host:
      description: The host.
      type: str
    name:
      description: The name in the store.
      type: str
    wanted:
      description: The expected digest with its platforms, or V(none).
      type: str
    found:
      description: The digest that this host holds with its platforms, or V(none).
      type: str
    message:
      description: The difference as a sentence. It names the number of hosts that hold the expected digest, unless these are the majority.
      type: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._differences import differences
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, untrusted


def store_differences(held, asked=None):
    """Return the differences between hosts; see RETURN."""
    try:
        return untrusted([one.as_result() for one in differences(held, asked)])
    except (AttributeError, KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"store_differences: {exc!r}, expected a dictionary of results of lockstep.images.image_info by host name",
        ) from exc


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"store_differences": store_differences}
