#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

# Documented in store_verify.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.verify import plan_verify
from ansible_collections.lockstep.images.plugins.module_utils._progress import PROGRESS
from ansible_collections.lockstep.images.plugins.module_utils._registry.lazy import LazyRegistries
from ansible_collections.lockstep.images.plugins.module_utils._registry.options import (
    RegistryOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    workers = os.cpu_count() or 1 if params["parallel"] is None else params["parallel"]
    return plan_verify(
        store,
        mode=params["mode"],
        workers=workers,
        sources=LazyRegistries(RegistryOptions.of(params, workers)) if params["repair"] else None,
    )


def main():
    run_plan(
        build,
        follow=PROGRESS.follow,
        open_target=lambda params: open_store(params["store"], kind=RepairStore),
        argument_spec=dict(
            mode=dict(type="str", choices=["quick", "full"], default="quick"),
            repair=dict(type="bool", default=False),
            parallel=dict(type="int"),
        ),
    )


if __name__ == "__main__":
    main()
