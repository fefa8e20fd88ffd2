#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in store_info.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.store_info import (
    plan_store_info,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    return plan_store_info(store, layers=params["layers"])


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"]),
        argument_spec=dict(
            layers=dict(type="bool", default=False),
        ),
    )


if __name__ == "__main__":
    main()
