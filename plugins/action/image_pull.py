# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrap every module that returns ``failures``, on the controller. meta/runtime.yml lists these modules.

Ansible shows the diff of a task only if it succeeds. But if one of several images fails, the other images have changed the
host, and ``--diff`` must show that change.
"""

from __future__ import annotations

from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.plugins.callback import CallbackBase


class ActionModule(NormalAction):
    """Run the module, and show its diff if it failed."""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        failed = result.get("failures") and not self._task.failed_when
        if failed and self._task.diff and not self._task.no_log:
            # Format a copy like the callback does, because it would modify the result.
            text = CallbackBase(self._display)._get_diff(dict(result.get("diff") or {}))
            if text:
                self._display.display(text)
        return result
