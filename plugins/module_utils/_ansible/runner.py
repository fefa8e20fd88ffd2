# SPDX-License-Identifier: GPL-3.0-or-later
"""The one edge to AnsibleModule: makes the module, builds a plan, then shows it or carries it out."""

from __future__ import annotations

import contextlib
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.lockstep.images.plugins.module_utils._ansible.options import (
    SHARED_RULES,
    shared_options,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DependencyError,
    LockstepError,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Plan

Parameters = t.Mapping[str, t.Any]


@contextlib.contextmanager
def no_target(params: Parameters) -> t.Iterator[None]:
    """For a module that holds nothing while it works."""
    yield None


def run_plan(
    build: t.Callable[[Parameters, t.Any], Plan],
    *,
    argument_spec: dict[str, t.Any],
    open_target: t.Callable[[Parameters], t.ContextManager[t.Any]] = no_target,
    **module_options: t.Any,
) -> None:
    """Run a module: ``open_target`` gives what the plan works on, ``build`` the plan, and the mode decides the rest.

    Exits by ``exit_json`` with ``Plan.result()``, or by ``fail_json`` with ``error`` (``kind``, ``hint`` and details).
    """
    module = AnsibleModule(
        argument_spec=dict(argument_spec, **shared_options()),
        supports_check_mode=True,
        **SHARED_RULES,
        **module_options,
    )
    done = []
    try:
        with open_target(module.params) as target:
            plan = build(module.params, target)
            if not module.check_mode:
                for action in plan.apply():
                    done.append(action)
    except DependencyError as exc:
        module.fail_json(
            msg=f"{missing_required_lib('requests')} ({exc})",
            error=exc.as_result(),
            changed=bool(done),
            exception="".join(traceback.format_exception(type(exc), exc, exc.__traceback__)),
        )
    except LockstepError as exc:
        module.fail_json(msg=f"{exc} {exc.hint}".strip(), error=exc.as_result(), changed=bool(done))
    for warning in plan.warnings():
        module.warn(warning)
    module.exit_json(**plan.result())
