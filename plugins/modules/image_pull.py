#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_pull.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    errors,
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import platforms_of
from ansible_collections.lockstep.images.plugins.module_utils._operations import actions, fetching
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import plan_pull
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._registry import lazy
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    if params["source"] == "controller":
        raise errors.InputError("source=controller needs the action plugin")
    lock = None
    if params["lock"] is not None:
        from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock

        lock = Lock.parse(params["lock"], params["verified"])
    plan = plan_pull(
        references(params),
        platforms_of(params["platform"] or ()),
        store,
        lazy.LazyRegistries(lazy.RegistryOptions.of(params, params["parallel"])),
        fetching.FetchOptions.of(params),
        policy=params["pull"],
        all_tags=params["all_tags"],
        referrers=params["referrers"],
        lock=lock,
    )
    return plan if params["details"] else actions.without_details(plan)


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=lambda params: open_store(params["store"]),
        required_if=[("verified", True, ["lock"])],
        mutually_exclusive=[("lock", "all_tags"), ("lock", "referrers"), ("name", "verify")],
        argument_spec=dict(
            fetching.FETCHING,
            name=dict(type="list", elements="str", required=True),
            verify=dict(type="raw"),  # the action plugin removes it; the module refuses it
            lock=dict(type="dict"),
            verified=dict(type="bool", default=False),
            platform=dict(type="list", elements="str"),
            details=dict(type="bool", default=True),
            pull=dict(type="str", choices=["always", "missing", "never"], default="always"),
            source=dict(type="str", choices=["registry", "controller"], default="registry"),
            source_store=dict(type="path"),
            all_tags=dict(type="bool", default=False),
            referrers=dict(type="bool", default=False),
        ),
    )


if __name__ == "__main__":
    main()
