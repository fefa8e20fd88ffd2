# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lock
short_description: Read a lock file on the controller
version_added: 0.1.0
description:
  - Reads what M(lockstep.images.image_lock) has written, checks it, and gives it as O(lockstep.images.image_sync#module:lock) takes it.
  - Each entry gets the number of its line, so that an error on a host can name it.
  - The manifests that lie beside the file (C(images.lock.d) beside C(images.lock.yml)) come along, so that hosts ask no registry for them. Each is
    checked against its digest, and one that is missing is an error.
  - Only the controller needs to have the file, and PyYAML, which ansible-core brings.
options:
  _terms:
    description:
      - The lock file. A relative path is looked for where Ansible looks for files (C(files/) of the role, beside the playbook),
        and then in the directory that C(ansible-playbook) was started in.
    type: list
    elements: path
    required: true
  names:
    description:
      - Names of images, as the modules of this collection take them. One that is not locked is an error, and so is a digest beside it that is
        another one.
    type: list
    elements: str
    default: []
author:
  - lockstep.images contributors (@lockstep-images)
seealso:
  - module: lockstep.images.image_lock
  - module: lockstep.images.image_sync
  - module: lockstep.images.image_pull
"""

EXAMPLES = r"""
- name: Have exactly what the lock file says
  lockstep.images.image_sync:
    lock: "{{ lookup('lockstep.images.lock', 'images.lock.yml') }}"

- name: Have what it says, and fail if an image of this host is not locked
  lockstep.images.image_sync:
    lock: "{{ lookup('lockstep.images.lock', 'images.lock.yml', names=['docker.io/library/debian:12']) }}"

- name: Tell the names in it
  ansible.builtin.debug:
    msg: "{{ lookup('lockstep.images.lock', 'images.lock.yml').images | map(attribute='name') }}"
"""

RETURN = r"""
_raw:
  description: For each lock file what it holds.
  type: list
  elements: dict
  contains:
    lockfile_version:
      description: The version of its form.
      type: int
    images:
      description: The entries as they are in the file, each with the number of its C(line).
      type: list
      elements: dict
    file:
      description: The path as it was given.
      type: str
    manifests:
      description: Digest to text of the manifests that are carried along, if there are any.
      type: dict
"""

import os

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    failed,
    list_from,
    parse_reference,
    plain,
    told_as,
)


class LookupModule(LookupBase):
    """The lookup of this file."""

    def run(self, terms, variables=None, **kwargs):
        with told_as(AnsibleLookupError):
            names = list_from(kwargs.pop("names", []))
        if kwargs:
            raise failed(
                AnsibleLookupError, f"lock: unsupported options: {', '.join(sorted(kwargs))}"
            )
        found = [self._read(str(plain(term)), variables) for term in self._flatten(terms)]
        with told_as(AnsibleLookupError):
            for lock in map(Lock.parse, found if names else ()):
                for reference in map(parse_reference, names):
                    lock.image(reference).pin(reference)
        return plain(found)

    def _read(self, term, variables):
        place = os.path.expanduser(term)
        found = self.find_file_in_search_path(variables, "files", place, ignore_missing=True)
        with told_as(AnsibleLookupError):
            value = read_lock(os.path.realpath(found or place), term)
        if value is None:
            raise failed(AnsibleLookupError, f"{term}: there is no such lock file")
        return value
