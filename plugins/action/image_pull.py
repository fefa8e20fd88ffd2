# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the controller around every module that returns ``failures``; meta/runtime.yml names them.

Ansible shows the diff of a task that succeeds, and drops that of one that fails. But of several images, those
that did not fail have changed the host, and ``--diff`` asks for what has changed.
"""

from __future__ import annotations

from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.plugins.callback import CallbackBase


class ActionModule(NormalAction):
    """Run the module as any other, and show its diff if it failed."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        failed = result.get("failures") and not self._task.failed_when
        if failed and self._task.diff and not self._task.no_log:
            # As the callback does it, which would replace what is in the result.
            text = CallbackBase(self._display)._get_diff(dict(result.get("diff") or {}))
            if text:
                self._display.display(text)
        return result
