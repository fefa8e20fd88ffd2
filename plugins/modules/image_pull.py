#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_pull.yml, which does not travel.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    open_store,
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.fetch import Pieces
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import platforms_of
from ansible_collections.lockstep.images.plugins.module_utils._oci.registries import (
    open_registries,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.pull import plan_pull


def build(params, store):
    return plan_pull(
        references(params),
        platforms=platforms_of(params["platform"] or ()),
        policy=params["pull"],
        sources=open_registries(params, params["parallel"]),
        store=store,
        workers=params["parallel"],
        all_tags=params["all_tags"],
        pieces=Pieces(
            params["chunk_size"],
            params["parallel"]
            if params["connections_per_blob"] is None
            else params["connections_per_blob"],
        ),
        referrers=params["referrers"],
        foreign=params["foreign_layers"] == "fetch",
    )


def main():
    run_plan(
        build,
        open_target=open_store,
        argument_spec=dict(
            name=dict(type="list", elements="str", required=True),
            platform=dict(type="list", elements="str"),
            all_tags=dict(type="bool", default=False),
            referrers=dict(type="bool", default=False),
            foreign_layers=dict(type="str", choices=["skip", "fetch"], default="skip"),
            pull=dict(type="str", choices=["always", "missing", "never"], default="always"),
            parallel=dict(type="int", default=6),
            chunk_size=dict(type="bytes", default="16M"),
            connections_per_blob=dict(type="int"),
        ),
    )


if __name__ == "__main__":
    main()
