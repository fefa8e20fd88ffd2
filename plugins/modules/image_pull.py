#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_pull.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import platforms_of
from ansible_collections.lockstep.images.plugins.module_utils._operations.fetching import (
    FETCHING,
    FetchOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import plan_pull
from ansible_collections.lockstep.images.plugins.module_utils._registry.lazy import LazyRegistries
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def lock_of(params):
    if params["lock"] is None:
        return None
    from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock

    return Lock.parse(params["lock"])


def build(params, store):
    return plan_pull(
        references(params),
        platforms_of(params["platform"] or ()),
        store,
        LazyRegistries(RegistryOptions.of(params, params["parallel"])),
        FetchOptions.of(params),
        policy=params["pull"],
        all_tags=params["all_tags"],
        referrers=params["referrers"],
        lock=lock_of(params),
    )


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"]),
        mutually_exclusive=[("lock", "all_tags"), ("lock", "referrers")],
        argument_spec=dict(
            FETCHING,
            name=dict(type="list", elements="str", required=True),
            lock=dict(type="dict"),
            platform=dict(type="list", elements="str"),
            all_tags=dict(type="bool", default=False),
            referrers=dict(type="bool", default=False),
            pull=dict(type="str", choices=["always", "missing", "never"], default="always"),
        ),
    )


if __name__ == "__main__":
    main()
