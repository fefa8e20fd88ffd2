#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_copy.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.copy import (
    Destination,
    Tags,
    plan_copy,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    SendOptions,
    SendPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registries import (
    open_registries,
)


def build(params, _target):
    registries = open_registries(RegistryOptions.of(params, params["parallel"]))
    return plan_copy(
        references(params),
        Destination.parse(params["destination"], params["rewrite"] or []),
        Tags.of(params["all_tags"], params["tags_matching"], params["newest"]),
        SendPlanner(registries, SendOptions.of(params)),
    )


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        mutually_exclusive=[("name", "verify")],
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            verify=dict(type="raw"),  # the action plugin removes it; the module refuses it
            destination=dict(type="str", required=True),
            rewrite=dict(
                type="list",
                elements="dict",
                options={key: dict(type="str", required=True) for key in ("match", "replace")},
            ),
            tags_matching=dict(type="str"),
            newest=dict(type="int"),
            platform=dict(type="str"),
            allow_platform_mismatch=dict(type="bool", default=False),
            force=dict(type="bool", default=False),
            parallel=dict(type="int", default=6),
            chunk_size=dict(type="bytes", default="0"),
            **{key: dict(type="bool", default=False) for key in ("all_tags", "referrers")},
        ),
    )


if __name__ == "__main__":
    main()
