#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_export.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_export import (
    ExportOptions,
    ExportPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import read_store


def build(params, store):
    lock = Lock.parse(params["lock"]) if params["lock"] is not None else None
    return ExportPlanner(store, lock, ExportOptions.of(params)).plan(params["name"])


def main():
    run_plan(
        build,
        open_target=lambda params: read_store(params["store"]),
        required_one_of=[("name", "lock")],
        argument_spec=dict(
            name=dict(type="list", elements="str"),
            lock=dict(type="dict"),
            dest=dict(type="path", required=True),
            format=dict(type="str", choices=["oci", "docker", "both"], default="both"),
            have=dict(type="raw"),
            chunk_size=dict(type="bytes"),
            platform=dict(type="list", elements="str"),
            referrers=dict(type="bool", default=False),
        ),
    )


if __name__ == "__main__":
    main()
