#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools

# Documented in image_sync.yml, which does not travel.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._oci.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._oci.sources import LateRegistries
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import open_store
from ansible_collections.lockstep.images.plugins.module_utils._oci.sweep import DoubtedStore
from ansible_collections.lockstep.images.plugins.module_utils._operations.reading import (
    FETCHING,
    fetching,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import plan_sync


def build(params, store):
    return plan_sync(
        Lock.parse(params["lock"]),
        store=store,
        platforms=params["platform"],
        exclusive=params["exclusive"],
        mode=params["verify"],
        sources=LateRegistries(params, params["parallel"]),
        **fetching(params),
    )


def main():
    run_plan(
        build,
        open_target=functools.partial(open_store, kind=DoubtedStore),
        argument_spec=dict(
            FETCHING,
            lock=dict(type="dict", required=True),
            platform=dict(type="list", elements="str"),
            exclusive=dict(type="bool", default=True),
            verify=dict(type="str", choices=["quick", "full"], default="quick"),
        ),
    )


if __name__ == "__main__":
    main()
