#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_push.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.push import plan_push
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    SendOptions,
    SendPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import read_store


def build(params, store):
    registries = open_registries(RegistryOptions.of(params, params["parallel"]))
    return plan_push(
        store,
        params["name"],
        params["repository"] or [],
        SendPlanner(registries, SendOptions.of(params)),
    )


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=lambda params: read_store(params["store"]),
        mutually_exclusive=[("name", "verify")],
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            verify=dict(type="raw"),  # the action plugin removes it; the module refuses it
            repository=dict(type="list", elements="str"),
            platform=dict(type="str"),
            allow_platform_mismatch=dict(type="bool", default=False),
            force=dict(type="bool", default=False),
            referrers=dict(type="bool", default=False),
            parallel=dict(type="int", default=6),
            chunk_size=dict(type="bytes", default="0"),
        ),
    )


if __name__ == "__main__":
    main()
