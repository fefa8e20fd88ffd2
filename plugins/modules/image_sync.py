#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_sync.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import errors, run_plan
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._operations import actions, fetching
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import plan_sync
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._registry import lazy
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    if params["source"] == "controller":
        raise errors.InputError("source=controller needs the action plugin")
    plan = plan_sync(
        Lock.parse(params["lock"], params["verified"]),
        store,
        lazy.LazyRegistries(lazy.RegistryOptions.of(params, params["parallel"])),
        fetching.FetchOptions.of(params),
        platforms=params["platform"],
        exclusive=params["exclusive"],
        mode=params["verify"],
    )
    return plan if params["details"] else actions.without_details(plan)


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=lambda params: open_store(params["store"], kind=RepairStore),
        argument_spec=dict(
            fetching.FETCHING,
            source=dict(type="str", choices=["registry", "controller"], default="registry"),
            source_store=dict(type="path"),
            lock=dict(type="dict", required=True),
            verified=dict(type="bool", default=False),
            platform=dict(type="list", elements="str"),
            details=dict(type="bool", default=True),
            exclusive=dict(type="bool", default=True),
            verify=dict(type="str", choices=["quick", "full"], default="quick"),
        ),
    )


if __name__ == "__main__":
    main()
