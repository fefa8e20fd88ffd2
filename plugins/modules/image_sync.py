#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_sync.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._operations.fetching import (
    FETCHING,
    FetchOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import plan_sync
from ansible_collections.lockstep.images.plugins.module_utils._registry.lazy import LazyRegistries
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    return plan_sync(
        Lock.parse(params["lock"]),
        store,
        LazyRegistries(RegistryOptions.of(params, params["parallel"])),
        FetchOptions.of(params),
        platforms=params["platform"],
        exclusive=params["exclusive"],
        mode=params["verify"],
    )


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"], kind=RepairStore),
        argument_spec=dict(
            FETCHING,
            lock=dict(type="dict", required=True),
            platform=dict(type="list", elements="str"),
            exclusive=dict(type="bool", default=True),
            verify=dict(type="str", choices=["quick", "full"], default="quick"),
        ),
    )


if __name__ == "__main__":
    main()
