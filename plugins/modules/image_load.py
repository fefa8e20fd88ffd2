#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_load.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.choice import open_engine
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import LoadOptions
from ansible_collections.lockstep.images.plugins.module_utils._engines.options import (
    ENGINE,
    EngineOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._operations import (
    fetching,
    load,
    load_origins,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.lazy import LazyRegistries
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    lock = Lock.parse(params["lock"]) if params["lock"] is not None else None
    wanted = LoadOptions.of(params)
    origin, options = load_origins.Origin(store), fetching.FetchOptions.of(params)
    if params["source"] == "registry":
        registries = LazyRegistries(RegistryOptions.of(params, options.workers))
        origin = load_origins.RegistryOrigin(store, registries, options)
    engine = open_engine(EngineOptions.of(params), origin.read_manifest)
    planner = load.LoadPlanner(engine, origin, wanted, options)
    return planner.plan(load.requests_of(references(params), lock, wanted.platform))


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"]),
        required_one_of=[("name", "lock")],
        required_if=[("engine", "directory", ["path"])],
        argument_spec=dict(
            {**ENGINE, **fetching.FETCHING},
            name=dict(type="list", elements="str"),
            lock=dict(type="dict"),
            platform=dict(type="str"),
            source=dict(type="str", choices=["store", "registry"], default="store"),
            existing=dict(type="str", choices=["move", "keep", "fail"], default="move"),
            pin=dict(type="bool", default=False),
            force=dict(type="bool", default=False),
        ),
    )


if __name__ == "__main__":
    main()
