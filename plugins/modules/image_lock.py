#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

# Documented in image_lock.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_verify import (
    read_key,
    registry_verifier,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.lock import (
    LockOptions,
    plan_lock,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy


def build(params, _target):
    policy = None if params["verify"] is None else parse_policy(params["verify"], read_key)
    workers = params["parallel"]
    sources = open_registries(RegistryOptions.of(params, workers))
    return plan_lock(
        os.path.realpath(params["path"]),
        references(params),
        params["from"] or (),
        sources,
        LockOptions.of(params, policy and registry_verifier(policy, sources, workers)),
    )


def main():
    run_plan(
        build,
        argument_spec={
            "path": dict(type="path", required=True),
            "name": dict(type="list", elements="str"),
            "from": dict(type="list", elements="raw"),
            "platform": dict(type="list", elements="str"),
            "update": dict(type="list", elements="str", default=["none"]),
            "manifests": dict(type="str", choices=["embed", "omit"], default="omit"),
            "format": dict(type="str", choices=["lockstep", "imgpkg"], default="lockstep"),
            "allow_platform_mismatch": dict(type="bool", default=False),
            "verify": dict(type="raw"),
            "parallel": dict(type="int", default=6),
        },
    )


if __name__ == "__main__":
    main()
