#!/usr/bin/python
# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# Documented in engine_info.yml, which Ansible does not send to hosts.
from ansible_collections.lockstep.images.plugins.module_utils._ansible import (
    references,
    run_plan,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.choice import open_engine
from ansible_collections.lockstep.images.plugins.module_utils._engines.options import (
    ENGINE,
    EngineOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.engine_info import (
    plan_engine_info,
)


def build(params, _target):
    wanted = references(params)
    return plan_engine_info(open_engine(EngineOptions.of(params), lambda _digest: None), wanted)


def main():
    run_plan(
        build,
        required_if=[("engine", "directory", ["path"])],
        argument_spec=dict(
            ENGINE,
            name=dict(type="list", elements="str"),
        ),
    )


if __name__ == "__main__":
    main()
