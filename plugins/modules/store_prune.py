#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in store_prune.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
    seconds,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    return plan_prune(store, older_than=seconds(params["older_than"]), staging=params["staging"])


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"], exclusive=True),
        argument_spec=dict(
            older_than=dict(type="str", default="0"),
            staging=dict(type="bool", default=True),
        ),
    )


if __name__ == "__main__":
    main()
