# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: store_differences
short_description: Tell in what the image stores of hosts differ
version_added: 0.1.0
description:
  - Compares what M(lockstep.images.image_info) told of the stores of several hosts.
  - What most hosts hold is taken for right. Of two that are held equally often, the one of the host that comes first.
  - A store in which content is missing is taken for right only if all are like that.
  - With O(asked), hosts are compared under the names that they were asked to hold. What else they hold is left out.
options:
  _input:
    description: Host name to what M(lockstep.images.image_info) returned there.
    type: dict
    required: true
  asked:
    description:
      - Host name to the names in the store that this host was asked to hold. For each name, the hosts that were asked for it are compared.
      - A host with an empty list is compared with all that it holds. If all lists are empty, the whole stores are compared.
    type: dict
author:
  - lockstep.images contributors (@lockstep-images)
"""

EXAMPLES = r"""
- name: Fail when hosts differ
  ansible.builtin.assert:
    that: held | lockstep.images.store_differences | length == 0
  vars:
    held: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'store_held'))) }}"
"""

RETURN = r"""
_value:
  description: One entry for each host and name that differ from what most hosts hold. Empty if all hosts hold the same.
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
      description: The digest that is taken for right, with the platforms, or V(none).
      type: str
    found:
      description: The digest this host holds, with the platforms, or V(none).
      type: str
    message:
      description: The same as a sentence, which says how many hosts hold what is taken for right, if these are not most of them.
      type: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.plugin_utils._differences import differences
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, untrusted


def store_differences(held, asked=None):
    """Entries of host, name, wanted and found; see RETURN."""
    try:
        return untrusted(differences(held, asked))
    except (AttributeError, KeyError, TypeError) as exc:
        raise failed(
            AnsibleFilterError,
            f"store_differences: expects host names with results of lockstep.images.image_info, {exc!r}",
        ) from exc


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"store_differences": store_differences}
