# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import what the processes of all hosts need, in their common parent.

Ansible imports an action plugin with the name of a module before it forks a process for each host. Python keeps no compiled files of a
collection, so a file that is not imported by then is compiled again for each host. Ansible looks for a filter in every file of the
directory, and loads its own filters and tests in each process that uses one. It parses the documentation of a lookup when it
first gets it.
"""

# pylint: disable=unused-import

from __future__ import annotations

from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible_collections.lockstep.images.plugins.filter import (  # noqa: F401
    as_list,
    engine_differences,
    human_size,
    reference,
    report,
    store_audit,
    store_differences,
    store_proof,
    sync_differences,
    table,
    with_logins,
)

for loader in (filter_loader, test_loader):
    list(loader.all(class_only=True))
for name in ("lockstep.images.lock", "ansible.builtin.varnames"):
    lookup_loader.get(name)
