#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in registry_info.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    parse_registry,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.registry_info import (
    plan_registry_info,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)


def build(params, _target):
    sources = open_registries(RegistryOptions.of(params, params["parallel"]))
    catalog = params["repositories"]
    return plan_registry_info(
        references(params),
        sources=sources,
        workers=params["parallel"],
        platforms=[Platform.parse(text) for text in params["platform"] or ()],
        tags=params["tags"],
        referrers=params["referrers"],
        attached=params["attached"],
        catalog_of=sources.registry(parse_registry(params["registry_url"])) if catalog else None,
    )


def main():
    run_plan(
        build,
        argument_spec=dict(
            name=dict(type="list", elements="str"),
            registry_url=dict(
                type="str", default="https://index.docker.io/v1/", aliases=["registry", "url"]
            ),
            tags=dict(type="bool", default=False),
            repositories=dict(type="bool", default=False),
            referrers=dict(type="bool", default=False),
            attached=dict(type="bool", default=False),
            platform=dict(type="list", elements="str"),
            parallel=dict(type="int", default=6),
        ),
    )


if __name__ == "__main__":
    main()
