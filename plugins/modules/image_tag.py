#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in image_tag.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.tag import plan_tag
from ansible_collections.lockstep.images.plugins.module_utils._store.store import open_store


def build(params, store):
    return plan_tag(
        store,
        params["name"],
        [Reference.parse(text) for text in params["repository"]],
        existing=params["existing"],
    )


def main():
    run_plan(
        build,
        open_target=lambda params: open_store(params["store"]),
        argument_spec=dict(
            name=dict(type="str", required=True),
            repository=dict(type="list", elements="str", required=True),
            existing=dict(type="str", choices=["overwrite", "keep"], default="overwrite"),
        ),
    )


if __name__ == "__main__":
    main()
