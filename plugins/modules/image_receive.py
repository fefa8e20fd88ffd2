#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_receive.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import references, run_plan
from ansible_collections.lockstep.images.plugins.module_utils._image.names import platforms_of
from ansible_collections.lockstep.images.plugins.module_utils._operations import (
    actions,
    fetching,
    receive,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import plan_sync
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    lock, manifests = receive.lock_and_content(params["lock"], params["manifests"])
    options = fetching.FetchOptions.of(params)
    if params["name"] is None:
        plan = plan_sync(
            lock,
            store,
            receive.SentContent(),
            options,
            platforms=params["platform"],
            exclusive=params["exclusive"],
            mode=params["verify"],
        )
    else:
        plan = receive.plan_received(
            references(params),
            platforms_of(params["platform"] or ()),
            store,
            options,
            manifests=manifests,
            lock=lock,
        )
    return plan if params["details"] else actions.without_details(plan)


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=lambda params: open_store(params["store"], kind=RepairStore),
        required_one_of=[("name", "lock")],
        argument_spec=dict(
            fetching.FETCHING,
            name=dict(type="list", elements="str"),
            lock=dict(type="dict"),
            manifests=dict(type="dict", required=True),
            platform=dict(type="list", elements="str"),
            details=dict(type="bool", default=True),
            exclusive=dict(type="bool", default=True),
            verify=dict(type="str", choices=["quick", "full"], default="quick"),
        ),
    )


if __name__ == "__main__":
    main()
