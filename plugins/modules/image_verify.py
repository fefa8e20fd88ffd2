#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib

# Documented in image_verify.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import platforms_of
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_verify import (
    RegistryMedium,
    StoreMedium,
    plan_image_verify,
    read_key,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import read_store
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy


def build(params, store):
    policy = parse_policy(params["verify"], read_key)
    names, workers = references(params), params["parallel"]
    platforms = platforms_of(params["platform"] or ())
    if store:
        medium = StoreMedium(store, platforms, bool(params["platform"]))
        return plan_image_verify(names, policy, medium, workers)
    sources = open_registries(RegistryOptions.of(params, workers))
    medium = RegistryMedium(sources, platforms)
    return plan_image_verify(names, policy, medium, workers, sources)


def open_source(params):
    is_store = params["source"] == "store"
    return read_store(params["store"]) if is_store else contextlib.nullcontext()


def main():
    run_plan(
        build,
        open_target=open_source,
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            verify=dict(type="raw", required=True),
            source=dict(type="str", choices=["registry", "store"], default="registry"),
            platform=dict(type="list", elements="str"),
            parallel=dict(type="int", default=6),
        ),
    )


if __name__ == "__main__":
    main()
