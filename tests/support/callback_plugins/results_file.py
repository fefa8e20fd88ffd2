# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write every task result of a run to a file, one JSON object per line, for tests to read."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: results_file
type: notification
short_description: Write every task result to a file as JSON lines
description:
  - Appends one line per host and task, and one line with the recap, to the file named by
    E(LOCKSTEP_TEST_RESULTS).
  - The seconds of a task are those since Ansible began it, with all items of its loop, as
    P(ansible.posix.profile_tasks#callback) counts them.
  - It does not replace the output on the terminal. ansible-core has no JSON callback of its own.
requirements:
  - enabled in C(callbacks_enabled)
"""


class CallbackModule(CallbackBase):  # type: ignore[misc, unused-ignore]
    """Append each result to the file at once, so that a killed run leaves the results it had."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results_file"
    CALLBACK_NEEDS_ENABLED = True

    _began = 0.0

    def _write(self, **line: Any) -> None:
        with open(os.environ["LOCKSTEP_TEST_RESULTS"], "a", encoding="utf-8") as output:
            output.write(json.dumps(line, default=str) + "\n")

    def _task(self, status: str, result: Any, ignored: bool = False) -> None:
        # ansible-core 2.19 made these attributes public and deprecated the underscored ones.
        public = hasattr(result, "result")
        task = result.task if public else result._task
        self._write(
            host=(result.host if public else result._host).get_name(),
            task=task.get_name(),
            action=str(task.action),
            status=status,
            ignored=ignored,
            seconds=time.monotonic() - self._began,
            result=dict(result.result if public else result._result),
        )

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Note when a task begins."""
        self._began = time.monotonic()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Note when a handler begins."""
        self._began = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Write the result of a task that succeeded."""
        self._task("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Write the result of a task that failed, even if the failure is ignored."""
        self._task("failed", result, ignore_errors)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Write the result of a task whose condition was false."""
        self._task("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Write the result of a task whose host was unreachable."""
        self._task("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the recap, which is the last line of a complete run."""
        self._write(recap={host: stats.summarize(host) for host in sorted(stats.processed)})
