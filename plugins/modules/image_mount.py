#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_mount.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.mount import (
    MountOptions,
    MountPlanner,
    unpack_options,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.trees import (
    open_usual_trees,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.roots import Root


def build(params, target):
    store, state = target
    names = ("state", "read_only", "volatile", "fstab", "upper")
    options = MountOptions(*(params[name] for name in names))
    planner = MountPlanner(store, state, Root.of(state.path, params["root"]), options)
    return planner.plan(params["name"], unpack_options(params))


def main():
    run_plan(
        build,
        open_target=open_usual_trees,
        required_if=[("state", "mounted", ["name"])],
        argument_spec=dict(
            name=dict(type="str"),
            root=dict(type="str", required=True),
            state=dict(type="str", choices=["mounted", "unmounted", "absent"], default="mounted"),
            read_only=dict(type="bool", default=False),
            volatile=dict(type="bool", default=False),
            fstab=dict(type="bool", default=False),
            upper=dict(type="str", choices=["keep", "discard"]),
            platform=dict(type="str"),
            path=dict(type="path"),
            max_bytes=dict(type="int", default=100 * 1024**3),
            max_entries=dict(type="int", default=5_000_000),
            sync=dict(type="bool", default=True),
            parallel=dict(type="int", default=2),
        ),
    )


if __name__ == "__main__":
    main()
