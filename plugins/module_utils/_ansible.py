# SPDX-License-Identifier: GPL-3.0-or-later
"""The one edge to AnsibleModule: shared options, hidden secrets, and the runner of plans."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

# First, because it speeds up the imports after it.
from . import _zipimport  # noqa: F401  # pylint: disable=unused-import
from ._image import errors
from ._image.names import Reference
from ._plan import Outcome, Plan

Parameters = t.Mapping[str, t.Any]

# The password before the "@" of a URL, or of a name that looks like one.
_PASSWORD_IN_URL = re.compile(r"(?:\w+://)?[^/:@\s]*:(.+)@(?!sha\d+:)")

REQUIRED_BY = {"password": ["username"], "client_key": ["client_cert"]}

# The options of one registry or mirror; as options of a task they apply to all registries.
_REGISTRY: dict[str, t.Any] = {
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool"},
    "ca_path": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "plain_http": {"type": "bool"},
}


def shared_options() -> dict[str, t.Any]:
    """Return the argument spec of the doc fragments. Every module takes all of it, so that ``module_defaults`` works."""
    return {
        **_REGISTRY,
        "store": {"type": "path"},
        "config_path": {"type": "path"},
        "validate_certs": {"type": "bool", "default": True},
        "plain_http": {"type": "bool", "default": False},
        "use_proxy": {"type": "bool", "default": True},
        "timeout": {"type": "float", "default": 30.0},
        "timeout_total": {"type": "float", "default": 900.0},
        "retries": {"type": "int", "default": 5},
        "requests_per_second": {"type": "float"},
        "rate_limit_floor": {"type": "int", "default": 0},
        "use_host_config": {"type": "bool", "default": False},
        "registries": {
            "type": "list",
            "elements": "dict",
            "options": dict(
                _REGISTRY,
                registry={"type": "str", "required": True},
                mirrors={
                    "type": "list",
                    "elements": "dict",
                    "options": dict(
                        _REGISTRY,
                        url={"type": "str", "required": True},
                        headers={"type": "dict"},
                        pull_from_mirror={
                            "type": "str",
                            "choices": ["all", "digest-only", "tag-only"],
                            "default": "all",
                        },
                    ),
                },
            ),
        },
    }


def references(params: Parameters) -> list[Reference] | None:
    """Return the references in the option ``name``, None if it is not set; raise ReferenceError for an invalid one."""
    return None if params["name"] is None else [Reference.parse(name) for name in params["name"]]


def as_list(text: str) -> list[t.Any]:
    """Return the entries of a list that a variable holds as text: JSON, ``[a, b]``, or entries between commas or line ends."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        with contextlib.suppress(ValueError, RecursionError):
            return list(json.loads(text))
        if not any(char in text[1:-1] for char in "[{"):
            text = text[1:-1]
    entries = (entry.strip(" \t\r\n'\"") for entry in re.split("[,\\n]", text))
    return [entry for entry in entries if entry]


def with_lists(spec: Parameters, values: Parameters) -> dict[str, t.Any]:
    """Return the values of options, with a text converted to a list wherever the argument spec has a list.

    An empty text stays a text, which Ansible rejects.
    """
    return {
        name: as_list(value)
        if isinstance(value, str) and value.strip() and spec.get(name, {}).get("type") == "list"
        else value
        for name, value in values.items()
    }


def require_usable(spec: Parameters, values: Parameters) -> None:
    """Raise InputError for a text or a number that Ansible or the system cannot handle. The error never has the value."""
    todo = [(name, name, spec, value) for name, value in values.items()]
    while todo:
        where, name, options, value = todo.pop()
        option = options.get(name) or next(
            (one for one in options.values() if name in one.get("aliases", ())), {}
        )
        if isinstance(value, t.Mapping):
            inner = option.get("options") or {}
            todo += [(f"{where}.{key}", key, inner, item) for key, item in value.items()]
        elif isinstance(value, list):
            todo += [(where, name, options, item) for item in value]
        elif isinstance(value, str):
            _require_text(where, value, "path" in (option.get("type"), option.get("elements")))
        if isinstance(value, (int, float)) or option.get("type") in ("int", "float", "bytes"):
            _require_number(where, value)
            if option.get("options"):  # Ansible looks into a number for options
                raise errors.InputError(f"{where}: is not a dict")


def _require_text(where: str, text: str, is_path: bool) -> None:
    if "\0" in text:
        raise errors.InputError(f"{where}: has a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise errors.InputError(f"{where}: is not UTF-8", "Write it in UTF-8.") from None
    try:
        os.fsencode(text if is_path else "")
    except UnicodeEncodeError:
        raise errors.InputError(
            f"{where}: cannot be a path here: file names are {sys.getfilesystemencoding()}",
            "Set LC_ALL to C.UTF-8 in the environment of the task.",
        ) from None


def _require_number(where: str, value: t.Any) -> None:
    with contextlib.suppress(ValueError, TypeError):
        text = value.strip("bBkKmMgGtTpPzZyY ") if isinstance(value, str) else value
        with contextlib.suppress(OverflowError):
            if math.isfinite(float(text)):
                return
        raise errors.InputError(f"{where}: is not a finite number")


class Module(AnsibleModule):
    """An AnsibleModule that also takes lists as text, and hides secrets in options that it rejects.

    Secrets stay out of results and of the log of the host. Ansible alone stops collecting secrets at the first value
    of a wrong type, and shows that value in its message.
    """

    def _load_params(self) -> None:
        super()._load_params()
        try:
            require_usable(self.argument_spec, self.params)
        except errors.InputError as exc:
            self.params = {}  # Ansible cannot hide, log or return them
            self.fail_json(exc.full_message(), error=exc.as_result(), changed=False)
        self.no_log_values.update(secrets_of(self.argument_spec, self.params))
        self.params = with_lists(self.argument_spec, self.params)
        self.no_log_values.update(secrets_of(self.argument_spec, self.params))


def secrets_of(spec: Parameters, values: Parameters) -> t.Iterator[str]:
    """Yield the texts that no result may show: values of secret or unknown options, and passwords in URLs."""
    known = {key: one for name, one in spec.items() for key in (name, *one.get("aliases", ()))}
    for name, value in values.items():
        if name.startswith("_ansible_"):
            continue
        option = known.get(name, {"no_log": True})
        inner = option.get("options")
        for item in value if isinstance(value, list) else [value]:
            if inner and isinstance(item, t.Mapping):
                yield from secrets_of(inner, item)
                continue
            whole = inner or option.get("no_log")
            # A dictionary has no image names with logins: it is a lock file.
            for text in _texts(item) if whole or not isinstance(item, t.Mapping) else ():
                match = None if whole else _PASSWORD_IN_URL.match(text)
                secret = text if whole else match[1] if match else ""
                if len(secret) > 3:  # shorter ones occur in every message
                    yield from (secret, repr(secret)[1:-1])  # Ansible logs the repr() of a list


def _texts(value: t.Any) -> t.Iterator[str]:
    """Yield every text and number in a value, numbers as text."""
    if isinstance(value, (list, tuple, t.Mapping)):
        for item in value.values() if isinstance(value, t.Mapping) else value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def run_plan(
    build: t.Callable[[Parameters, t.Any], Plan],
    argument_spec: dict[str, t.Any],
    open_target: t.Callable[[Parameters], t.ContextManager[t.Any]] = contextlib.nullcontext,
    follow: t.Any = bool,
    **module_options: t.Any,
) -> None:
    """Run a module: build a plan, apply it unless in check mode, and exit with the result.

    ``open_target`` returns what is held while the plan is built and applied. ``follow`` gets the execution before it
    runs. A LockstepError fails the module with its message, and with ``error`` as ``LockstepError.as_result``
    describes it.
    """
    module = Module(
        argument_spec=dict(argument_spec, **shared_options()),
        supports_check_mode=True,
        required_by=REQUIRED_BY,
        **module_options,
    )
    done: t.Sequence[t.Any] = ()
    try:
        with open_target(module.params) as target:
            plan = build(module.params, target)
            outcome = Outcome(plan, None, plan.failures)
            if (plan.changed or plan.has_news()) and not module.check_mode:
                from ._execution import Execution

                execution = (plan.execute or Execution)(plan)
                done = execution.done
                follow(execution)
                execution.run()
                outcome = Outcome(plan, done, execution.failures)
    except errors.DependencyError as exc:
        missing = f"{missing_required_lib(exc.details['library'])} ({exc})"
        trace = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        module.fail_json(missing, error=exc.as_result(), changed=bool(done), exception=trace)
    except errors.LockstepError as exc:
        # Ansible can show tracebacks, and the message of a cause may repeat a signed URL or a login.
        exc.__cause__ = exc.__context__ = None
        module.fail_json(exc.full_message(), error=exc.as_result(), changed=bool(done))
    for warning in outcome.warnings():
        module.warn(errors.in_message(warning))
    failure = outcome.failure
    if failure:
        text = failure.full_message()
        module.fail_json(text, error=failure.as_result(), **outcome.brief())
    module.exit_json(**outcome.result())
