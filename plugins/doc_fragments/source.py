# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  source:
    description:
      - Where the content comes from. With V(registry), the host requests it from registries.
      - With V(controller), the controller sends the content that the host lacks from its own store, over the connection that Ansible has, as the user
        that the task becomes. The host needs no network, no registry, no open port and no C(requests), and its store verifies every byte.
      - With V(controller), the options of registries have no effect. Content that the store of the controller lacks is an error before anything is sent.
        Interrupted transfers are resumed.
      - The connection must carry input for a command, as C(ssh) does, or copy files. With C(async), V(controller) is an error.
    type: str
    choices:
      - registry
      - controller
    default: registry
  source_store:
    description:
      - The path of the store on the controller, for O(source=controller).
      - The default is the default store of the user that runs C(ansible-playbook), as O(store) describes it.
    type: path
"""
