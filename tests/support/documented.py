# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the documentation of modules with their behaviour."""

from __future__ import annotations

import contextlib
import importlib
import re
import typing as t
from pathlib import Path

import yaml
from ansible_collections.lockstep.images.plugins.module_utils import _ansible as runner

_HOME = "ansible_collections.lockstep.images.plugins."
_ALWAYS = {"changed", "invocation", "warnings", "deprecations"}
_TYPES: dict[str, t.Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
}


class _Stop(Exception):
    """Ends a module as soon as its argument spec is known."""


def argument_spec(module: str, monkeypatch: t.Any) -> dict[str, t.Any]:
    """Return the argument spec of a module, in the form of ``documented_options``."""
    return comparable_options(module_options(module, monkeypatch)["argument_spec"])


def module_options(module: str, monkeypatch: t.Any) -> dict[str, t.Any]:
    """Return the keyword arguments with which a module constructs its ``Module``."""
    seen: dict[str, t.Any] = {}

    def made(**options: t.Any) -> t.NoReturn:
        seen.update(options)
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(runner, "Module", made)
        with contextlib.suppress(_Stop):
            importlib.import_module(f"{_HOME}modules.{module}").main()
    return seen


def documented_options(module: str) -> dict[str, t.Any]:
    """Return the options that DOCUMENTATION and its fragments describe."""
    return all_options(_document(module, "DOCUMENTATION"))


def all_options(document: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the options of DOCUMENTATION and its fragments. Each must have a description."""
    options: dict[str, t.Any] = document["options"]
    for name in document["extends_documentation_fragment"]:
        file, _dot, part = name[len("lockstep.images.") :].partition(".")
        fragment = importlib.import_module(f"{_HOME}doc_fragments.{file}").ModuleDocFragment
        text = getattr(fragment, part.upper() or "DOCUMENTATION")
        for option, value in (yaml.safe_load(text).get("options") or {}).items():
            options[option] = {**value, **options.get(option, {})}
    assert all(_is_described(option) for option in options.values())
    return comparable_options(options)


def comparable_options(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Reduce each option to the fields that argument spec and documentation share."""
    return {name: _comparable(option) for name, option in options.items()}


def documented_values(
    module: str, returned: str, present: t.Container[str] | None = None
) -> dict[str, t.Any]:
    """Return the values of RETURN for ``success`` or ``failure``; with a condition only those in ``present``."""
    values = {}
    for name, value in _document(module, "RETURN").items():
        when, condition = re.fullmatch("(.*?)((?: and |, ).*)?", value["returned"]).groups()
        if returned in when.split(" or ") and (not condition or present is None or name in present):
            values[name] = value
    return values


def assert_as_documented(module: str, result: dict[str, t.Any], returned: str = "success") -> None:
    """Assert that a result has the keys and types of RETURN, in nested dicts too."""
    ignored = _ALWAYS | ({"msg", "failed", "exception"} if returned == "failure" else set())
    _compare(
        {name: value for name, value in result.items() if name not in ignored},
        {"type": "dict", "contains": documented_values(module, returned, result)},
        module,
        returned,
    )


def _compare(value: t.Any, documented: dict[str, t.Any], where: str, returned: str) -> None:
    if value is None:
        return
    assert isinstance(value, _TYPES[documented["type"]]), where
    contains = documented.get("contains")
    if contains is None:
        return
    contains = {
        key: one for key, one in contains.items() if returned in one.get("returned", returned)
    }
    items = value if isinstance(value, list) else [value]
    # Actions and errors of different kinds have different keys, each of which is documented.
    kinds = any("action" in item or "kind" in item for item in items)
    for item in items:
        assert item.keys() <= contains.keys(), where
        assert kinds or item.keys() == contains.keys(), where
        for name, inner in item.items():
            _compare(inner, contains[name], f"{where}.{name}", returned)


def _document(module: str, part: str) -> t.Any:
    """Return a part of the documentation, which is in a file next to the module."""
    source = importlib.import_module(f"{_HOME}modules.{module}").__file__ or ""
    return yaml.safe_load(Path(source).with_suffix(".yml").read_text(encoding="utf-8"))[part]


def _is_described(option: dict[str, t.Any]) -> bool:
    inner = (option.get("suboptions") or {}).values()
    return bool(option["description"]) and all(map(_is_described, inner))


def _comparable(option: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "type": option.get("type", "str"),
        "elements": option.get("elements"),
        "default": option.get("default"),
        "required": option.get("required", False),
        "choices": sorted(option.get("choices") or ()),
        "aliases": sorted(option.get("aliases") or ()),
        "suboptions": comparable_options(option.get("suboptions") or option.get("options") or {}),
    }
