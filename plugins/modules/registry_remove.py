#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in registry_remove.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.registry_remove import (
    plan_registry_remove,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)


def build(params, _target):
    return plan_registry_remove(
        references(params),
        by=params["by"],
        sources=open_registries(RegistryOptions.of(params, params["parallel"])),
        workers=params["parallel"],
    )


def main():
    run_plan(
        build,
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            by=dict(type="str", choices=["tag", "digest"], default="tag"),
            parallel=dict(type="int", default=6),
        ),
    )


if __name__ == "__main__":
    main()
