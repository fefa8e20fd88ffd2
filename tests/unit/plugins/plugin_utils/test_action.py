# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import inspect
import json

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible_collections.lockstep.images.plugins.plugin_utils._action import will_fail

FAILED = {"failed": True, "failures": [{"name": "app"}], "error": {"library": "requests"}}


@pytest.mark.parametrize(
    ("conditions", "fails"),
    [
        (None, True),
        (False, False),
        ("false", False),
        ("done is failed", True),
        (["done is failed", "limit == 3"], True),
        (["done is failed", "limit == 4"], False),
        ("done.failures | length > 1", False),
        ("limit == 3 and done.error.library != 'requests'", False),
        ("missing_variable == 3", True),
        ("not an expression", True),
    ],
)
def test_result_fails_its_task_as_failed_when_says(tmp_path, conditions, fails):
    file = tmp_path / "conditions.json"
    file.write_text(json.dumps([] if conditions is None else conditions))
    loader = DataLoader()
    # From ansible-core 2.19 on, only trusted text is a template.
    trusts = "trusted_as_template" in inspect.signature(loader.load_from_file).parameters
    found = loader.load_from_file(str(file), **({"trusted_as_template": True} if trusts else {}))
    task = Task()
    task._loader, task.register = loader, "done"
    task.failed_when = found if isinstance(found, list) else [found]
    assert will_fail(task, FAILED, {"limit": 3}) is fails
