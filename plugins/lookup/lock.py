# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lock
short_description: Read a lock file on the controller
version_added: 1.0.0
description:
  - Reads and checks a lock file that M(lockstep.images.image_lock) wrote, and returns it as a value for O(lockstep.images.image_sync#module:lock).
  - Each entry contains its line number, so that an error on a host can name the line.
  - If there are manifests beside the file (C(images.lock.d) beside C(images.lock.yml)), they are included, so that hosts ask no registry for them.
    Each manifest is checked against its digest. If one is missing, the lookup fails.
  - Only the controller needs the file. It also needs PyYAML, which comes with ansible-core.
options:
  _terms:
    description:
      - The lock file. A relative path is searched where Ansible searches files (C(files/) of the role, beside the playbook),
        and then in the directory where C(ansible-playbook) was started.
    type: list
    elements: path
    required: true
  names:
    description:
      - Names of images that must be locked, written as for the modules of this collection. If a name is not locked, or has a digest that differs
        from the locked digest, the lookup fails.
    type: list
    elements: str
    default: []
  verified:
    description:
      - Whether every entry must have a verdict, which M(lockstep.images.image_lock) writes with O(lockstep.images.image_lock#module:verify).
        Otherwise the lookup fails.
    type: bool
    default: false
author:
  - lockstep.images contributors (@lockstep-images)
seealso:
  - module: lockstep.images.image_lock
  - module: lockstep.images.image_sync
  - module: lockstep.images.image_pull
"""

EXAMPLES = r"""
- name: Sync the store with a lock file
  lockstep.images.image_sync:
    lock: "{{ lookup('lockstep.images.lock', 'images.lock.yml') }}"

- name: Sync the store with a lock file, and fail if an image of this host is not locked
  lockstep.images.image_sync:
    lock: "{{ lookup('lockstep.images.lock', 'images.lock.yml', names=['docker.io/library/debian:12']) }}"

- name: Show the names in a lock file
  ansible.builtin.debug:
    msg: "{{ lookup('lockstep.images.lock', 'images.lock.yml').images | map(attribute='name') }}"
"""

RETURN = r"""
_raw:
  description: The content of each lock file.
  type: list
  elements: dict
  contains:
    lockfile_version:
      description: The version of the file format.
      type: int
    images:
      description: The entries of the file, each with its line number as C(line).
      type: list
      elements: dict
    file:
      description: The path of the file, as it was given.
      type: str
    manifests:
      description: The embedded manifests, by digest. Missing if the file has none.
      type: dict
"""

import os

from ansible.errors import AnsibleLookupError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.lookup import LookupBase
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    failed,
    list_from,
    parse_reference,
    plain,
    raise_as,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._locks import read_lock_once


class LookupModule(LookupBase):
    """Read lock files; see DOCUMENTATION."""

    def run(self, terms, variables=None, **kwargs):
        with raise_as(AnsibleLookupError):
            names = list_from(kwargs.pop("names", []))
        verified = boolean(plain(kwargs.pop("verified", False)))
        if kwargs:
            raise failed(
                AnsibleLookupError, f"lock: unsupported options: {', '.join(sorted(kwargs))}"
            )
        found = [self._read(str(plain(term)), variables) for term in self._flatten(terms)]
        with raise_as(AnsibleLookupError):
            for lock in [Lock.parse(one, verified) for one in found if names or verified]:
                for reference in map(parse_reference, names):
                    lock.image(reference).pin(reference)
        return plain(found)

    def _read(self, term, variables):
        place = os.path.expanduser(term)
        found = self.find_file_in_search_path(variables, "files", place, ignore_missing=True)
        with raise_as(AnsibleLookupError):
            value = read_lock_once(os.path.realpath(found or place), term)
        if value is None:
            raise failed(AnsibleLookupError, f"{term}: there is no such lock file")
        return value
