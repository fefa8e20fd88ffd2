# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: policy
short_description: Read a policy for signatures on the controller
version_added: 1.0.0
description:
  - Reads a policy from a YAML or JSON file, and returns it as a value for O(lockstep.images.image_verify#module:verify) and
    O(lockstep.images.image_lock#module:verify).
  - The returned policy contains the public keys and trusted roots that the file names with C(path), so that hosts need no copies of these files. A
    relative path starts at the directory of the policy.
  - The policy is checked. Duplicate keys, unknown keys and unusable key files are errors.
  - A file in the form of C(policy.json) of Podman and skopeo is also read, with its C(keyPath) and C(keyPaths).
  - Only the controller needs the files. It also needs PyYAML and C(cryptography), which come with ansible-core.
options:
  _terms:
    description:
      - The policy. A relative path is searched where Ansible searches files (C(files/) of the role, beside the playbook),
        and then in the directory where C(ansible-playbook) was started.
    type: list
    elements: path
    required: true
  registries_d:
    description:
      - The directory C(registries.d) of Podman and skopeo, usually V(/etc/containers/registries.d) on the controller. It states where the signatures by
        GPG are that a C(policy.json) requires. It is read only if this option is set.
    type: path
author:
  - lockstep.images contributors (@lockstep-images)
seealso:
  - module: lockstep.images.image_lock
  - module: lockstep.images.image_verify
"""

EXAMPLES = r"""
- name: Lock what is signed
  lockstep.images.image_lock:
    path: images.lock.yml
    name: "{{ images }}"
    verify: "{{ lookup('lockstep.images.policy', 'trust.yml') }}"

- name: Lock what the policy of Podman on the controller accepts
  lockstep.images.image_lock:
    path: images.lock.yml
    name: "{{ images }}"
    verify: "{{ lookup('lockstep.images.policy', '/etc/containers/policy.json', registries_d='/etc/containers/registries.d') }}"
"""

RETURN = r"""
_raw:
  description: Each policy, as a list of rules, or as a dictionary for a C(policy.json).
  type: list
  elements: raw
"""

import os

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lockstep.images.plugins.module_utils._operations.policyfile import (
    read_policy,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import failed, plain, raise_as


class LookupModule(LookupBase):
    """Read policies; see DOCUMENTATION."""

    def run(self, terms, variables=None, **kwargs):
        place = kwargs.pop("registries_d", None)
        if kwargs:
            raise failed(
                AnsibleLookupError, f"policy: unsupported options: {', '.join(sorted(kwargs))}"
            )
        registries_d = None if place is None else os.path.expanduser(str(plain(place)))
        terms = [str(plain(term)) for term in self._flatten(terms)]
        return [self._read(term, variables, registries_d) for term in terms]

    def _read(self, term, variables, registries_d):
        place = os.path.expanduser(term)
        found = self.find_file_in_search_path(variables, "files", place, ignore_missing=True)
        with raise_as(AnsibleLookupError):
            try:
                path = os.path.realpath(found or place)
                return plain(read_policy(path, term, registries_d))
            except FileNotFoundError:
                raise failed(AnsibleLookupError, f"{term}: there is no such policy") from None
