#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_remove.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.remove import plan_remove
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    return plan_remove(
        store,
        params["name"] or (),
        prune=params["prune"],
        keep_newest=params["keep_newest"],
        all_but=params["all_but"],
    )


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"], exclusive=True),
        argument_spec=dict(
            name=dict(type="list", elements="str"),
            all_but=dict(type="list", elements="str"),
            prune=dict(type="bool", default=True),
            keep_newest=dict(type="int", default=0),
        ),
        required_one_of=[("name", "all_but")],
        mutually_exclusive=[("name", "all_but")],
    )


if __name__ == "__main__":
    main()
