#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib

# Documented in image_sign.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_sign import (
    plan_image_sign,
    registry_places,
    signing_of,
    store_places,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    signing, workers = signing_of(params), params["parallel"]
    if store:
        places = store_places(store)
    else:
        places = registry_places(open_registries(RegistryOptions.of(params, workers)))
    return plan_image_sign(references(params), signing, places, workers)


def open_target(params):
    is_store = params["source"] == "store"
    return open_store(params["store"]) if is_store else contextlib.nullcontext()


def main():
    run_plan(
        build,
        open_target=open_target,
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            key=dict(
                type="dict",
                required=True,
                no_log=False,
                options=dict(text=dict(type="str", no_log=True), path=dict(type="path")),
                mutually_exclusive=[("text", "path")],
                required_one_of=[("text", "path")],
            ),
            passphrase=dict(type="str", no_log=True),
            form=dict(type="str", choices=["cosign", "bundle", "both"], default="both"),
            recursive=dict(type="bool", default=False),
            annotations=dict(type="dict"),
            signed_as=dict(type="str", choices=["repository", "exact"], default="repository"),
            source=dict(type="str", choices=["registry", "store"], default="registry"),
            parallel=dict(type="int", default=6),
        ),
    )


if __name__ == "__main__":
    main()
