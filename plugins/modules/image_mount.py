#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_mount.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.mount import plan_mounts
from ansible_collections.lockstep.images.plugins.module_utils._operations.trees import (
    open_usual_trees,
)


def build(params, target):
    return plan_mounts(params, *target)


def main():
    run_plan(
        build,
        open_target=open_usual_trees,
        mutually_exclusive=[("root", "roots")],
        required_one_of=[("root", "roots")],
        argument_spec=dict(
            name=dict(type="str"),
            root=dict(type="str"),
            roots=dict(
                type="list",
                elements="dict",
                options=dict(
                    root=dict(type="str", required=True),
                    name=dict(type="str"),
                    state=dict(type="str", choices=["mounted", "unmounted", "absent"]),
                    read_only=dict(type="bool"),
                    volatile=dict(type="bool"),
                    fstab=dict(type="bool"),
                    upper=dict(type="str", choices=["keep", "discard"]),
                    platform=dict(type="str"),
                ),
            ),
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
