#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_build.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._build.compress import COMPRESSIONS
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._operations.build import plan_build
from ansible_collections.lockstep.images.plugins.module_utils._operations.build_options import (
    ENGINES,
    BuildOptions,
    open_target,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.fetching import (
    FETCHING,
    FetchOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._registry.lazy import LazyRegistries
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)


def build(params, target):
    return plan_build(
        target,
        LazyRegistries(RegistryOptions.of(params, params["parallel"])),
        BuildOptions.of(params),
        FetchOptions.of(params),
        policy=params["pull"],
        lock=None if params["lock"] is None else Lock.parse(params["lock"]),
    )


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=open_target,
        mutually_exclusive=[("file", "instructions")],
        required_one_of=[("context", "file", "instructions")],
        argument_spec=dict(
            FETCHING,
            name=dict(type="str", required=True),
            context=dict(type="path"),
            file=dict(type="path"),
            instructions=dict(type="str"),
            args=dict(type="dict"),
            target=dict(type="str"),
            platform=dict(type="str"),
            compression=dict(type="str", choices=list(COMPRESSIONS), default="stored"),
            created=dict(type="int"),
            modes=dict(type="str", choices=["git", "keep"], default="git"),
            format=dict(type="str", choices=["oci", "docker"], default="oci"),
            engine=dict(type="str", choices=list(ENGINES), default="none"),
            lock=dict(type="dict"),
            pull=dict(type="str", choices=["always", "missing", "never"], default="missing"),
        ),
    )


if __name__ == "__main__":
    main()
