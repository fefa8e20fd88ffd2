# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller compiles in each run what the hosts of most runs need, and nothing that only a few runs use."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from ansible_collections.lockstep.images.tests.support.modules import PYTHONPATH

PREFIX = "ansible_collections.lockstep.images.plugins."
# The client of registries, engines and their archives, and the report. Ansible compiles their files again in each run.
RARE = re.compile(
    r"module_utils\._(archive|engines|execution|registry\.(?!credentials|loginfiles|loginwriter|options|urls))"
    r"|plugin_utils\._(report|results|snapshot|changes|treemap)"
)
LIST = f"""
import sys
import {PREFIX}plugin_utils._preload
import {PREFIX}lookup.lock
print(*sys.modules)
"""


def test_controller_compiles_no_file_that_few_runs_need():
    env = {**os.environ, "PYTHONPATH": PYTHONPATH}
    output = subprocess.run(
        [sys.executable, "-c", LIST], env=env, check=True, capture_output=True, text=True
    ).stdout
    names = [name[len(PREFIX) :] for name in output.split() if name.startswith(PREFIX)]
    assert "filter.with_logins" in names
    assert "lookup.lock" in names
    assert [name for name in names if RARE.match(name)] == []
