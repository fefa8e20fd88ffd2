#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_unpack.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.trees import open_trees
from ansible_collections.lockstep.images.plugins.module_utils._operations.unpack import (
    UnpackOptions,
    UnpackPlanner,
)


def build(params, target):
    store, state = target
    return UnpackPlanner(store, state, UnpackOptions.of(params)).plan(params["name"])


def main():
    run_plan(
        build,
        open_target=open_trees,
        required_if=[("form", "rootfs", ["dest"]), ("form", "bundle", ["dest"])],
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            platform=dict(type="str"),
            path=dict(type="path"),
            form=dict(type="str", choices=["layers", "rootfs", "bundle"], default="layers"),
            dest=dict(type="path"),
            owner=dict(type="str", choices=["keep", "caller"]),
            setuid=dict(type="str", choices=["keep", "strip"], default="keep"),
            devices=dict(type="str", choices=["skip", "make"], default="skip"),
            xattrs=dict(type="list", elements="str", default=["security.capability", "user.*"]),
            max_bytes=dict(type="int", default=100 * 1024**3),
            max_entries=dict(type="int", default=5_000_000),
            sync=dict(type="bool", default=True),
            verify=dict(type="str", choices=["quick", "full"], default="quick"),
            parallel=dict(type="int", default=2),
        ),
    )


if __name__ == "__main__":
    main()
