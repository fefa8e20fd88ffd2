# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins of this collection do around a module."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible.errors import AnsibleError
from ansible.playbook.conditional import Conditional
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible_collections.lockstep.images.plugins.module_utils._progress import VARIABLE
from ansible_collections.lockstep.images.plugins.plugin_utils._progress import OFF, interval_of
from ansible_collections.lockstep.images.plugins.plugin_utils._watch import Watch


class DiffAction(NormalAction):
    """Run the module, and show its diff if it failed.

    Ansible shows the diff of a task only if it succeeds. But if one of several images fails, the other images have
    changed the host, and ``--diff`` must show that change.
    """

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        # Results of all hosts stay in the memory of the controller, which has the lock file anyway.
        ((result.get("invocation") or {}).get("module_args") or {}).pop("lock", None)
        is_shown = self._task.diff and not self._task.no_log
        if is_shown and result.get("failures") and will_fail(self._task, result, task_vars or {}):
            # Format a copy like the callback does, because it would modify the result.
            text = CallbackBase(self._display)._get_diff(dict(result.get("diff") or {}))
            if text:
                self._display.display(text)
        return result


def will_fail(task: t.Any, result: t.Any, task_vars: t.Mapping[str, t.Any]) -> bool:
    """Return whether a failed result fails its task: Ansible decides it by ``failed_when`` after the action has run."""
    if not task.failed_when:
        return True
    named = task.register  # a name, or from ansible-core 2.21 on also names with expressions
    names = [named] if isinstance(named, str) else list(named or ())
    variables = {**task_vars, **dict.fromkeys(names, result)}
    try:
        if hasattr(task, "_resolve_conditional"):
            return bool(task._resolve_conditional(task.failed_when, variables))
        # before ansible-core 2.19
        condition = Conditional(loader=task._loader)
        condition.when = task.failed_when
        templar = Templar(loader=task._loader, variables=variables)
        return bool(condition.evaluate_conditional(templar, variables))
    except AnsibleError:  # an invalid condition fails the task
        return True


class ProgressAction(DiffAction):
    """Also show on standard error how far the module is, while it runs."""

    _watch: Watch | None = None

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {"failed": True}
        self._watch = watch_of(self, task_vars or {})
        try:
            result = super().run(tmp, task_vars)
        finally:
            if self._watch:
                self._watch.stop(not result.get("failed"))
        return result

    def _compute_environment_string(self, raw_environment_out: t.Any = None) -> str:
        """Return the environment of the module, with the token by which the watch finds its process."""
        text = super()._compute_environment_string(raw_environment_out)
        if self._watch is None:
            return text
        own = self._connection._shell.env_prefix(**{VARIABLE: self._watch.token})
        return f"{own} {text}".rstrip()


def watch_of(action: t.Any, task_vars: t.Mapping[str, t.Any]) -> Watch | None:
    """Start to watch the module of a task; return None if its progress is not shown."""
    task, interval = action._task, interval_of(os.environ.get("LOCKSTEP_PROGRESS"))
    if interval == OFF or task.async_val or task.check_mode or task.no_log:
        return None
    hosts = 1 if task.run_once else len(task_vars.get("ansible_play_batch") or [0])
    with contextlib.suppress(Exception):  # the connection plugins of others can be unlike Ansible's
        watch = Watch(action, str(task_vars.get("inventory_hostname", "")), hosts, interval)
        watch.start()
        return watch
    return None
