#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in tree_prune.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import run_plan
from ansible_collections.lockstep.images.plugins.module_utils._operations.tree_prune import (
    plan_tree_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.trees import (
    open_usual_trees,
)


def main():
    run_plan(
        lambda params, target: plan_tree_prune(*target),
        open_target=lambda params: open_usual_trees(dict(params, sync=False)),
        argument_spec=dict(
            path=dict(type="path"),
        ),
    )


if __name__ == "__main__":
    main()
