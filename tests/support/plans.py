# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, carried out as a module does it, or stopped on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.lockstep.images.plugins.module_utils._execution import Execution
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.plugins.module_utils._operations.fetching import (
    FetchOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Action, Outcome, Plan

# The names of what a test says of fetching.
FETCHING_KEYS = ("workers", "pieces", "foreign", "allow")


def fetch_options(how: Mapping[str, Any]) -> FetchOptions:
    """Return options of fetching: one worker, if a test does not say otherwise."""
    return FetchOptions(
        how.get("workers", 1),
        how.get("pieces", ChunkPolicy()),
        how.get("foreign", False),
        how.get("allow", False),
    )


def execution_of(plan: Plan) -> Execution:
    """Return the execution of a plan as a module makes it."""
    return (plan.execute or Execution)(plan)


def dry_run(plan: Plan) -> Outcome:
    """Return the outcome that check mode reports."""
    return Outcome(plan, None, plan.failures)


def execute(plan: Plan) -> Outcome:
    """Carry out a plan; return the outcome."""
    execution = execution_of(plan)
    if plan.changed or plan.has_news():
        execution.run()
    return Outcome(plan, execution.done, execution.failures)


def watch(plan: Plan, see: Callable[[Action], object]) -> list[Action]:
    """Carry out a plan, and call ``see`` with each action that is done, at once; return these actions."""
    execution = execution_of(plan)
    execution.done = _Watched(see)
    execution.run()
    return execution.done


def interrupt(plan: Plan, after: int) -> list[Action]:
    """Carry out a plan, but stop when so many actions are done, as Ctrl-C does; return these actions."""
    done: list[Action] = []

    def see(action: Action) -> None:
        done.append(action)
        if len(done) == after:
            raise _InterruptedError

    with contextlib.suppress(_InterruptedError):
        if after:
            watch(plan, see)
    return done


class _InterruptedError(BaseException):
    """Not an Exception, as KeyboardInterrupt is none."""


class _Watched(list):
    """The actions that are done, under the eyes of a test."""

    def __init__(self, see: Callable[[Action], object]) -> None:
        super().__init__()
        self._see = see

    def append(self, action: Action) -> None:
        super().append(action)
        self._see(action)

    def __iadd__(self, actions: Iterable[Action]) -> _Watched:  # type: ignore[override,misc]
        for action in actions:
            self.append(action)
        return self
