# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every attack in ``data/attacks.yml`` has a test and a control, and every kind of error of signatures is raised by a test."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._trust import errors

HERE = Path(__file__).parent
UTILS = HERE.parents[1] / "plugins" / "module_utils"
TABLE = yaml.safe_load((HERE / "data" / "attacks.yml").read_text(encoding="utf-8"))
SAME = "same"


@functools.cache
def functions(stem: str) -> dict[str, str]:
    """Return the source of each test in the files of a name."""
    found = {}
    for path in HERE.rglob(f"{stem}.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                found[node.name] = "\n".join(text.splitlines()[start - 1 : node.end_lineno])
    return found


@functools.cache
def texts(stem: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in HERE.rglob(f"{stem}.py"))


def source_of(name: str) -> str:
    stem, _colons, function = name.partition("::")
    assert function in functions(stem), name
    return functions(stem)[function]


@pytest.mark.parametrize("entry", TABLE["attacks"], ids=lambda entry: entry["attack"])
def test_attack_has_a_test_and_a_control(entry):
    source = source_of(entry["test"])
    assert "row" not in entry or entry["row"] in texts(entry["test"].partition("::")[0])
    if entry["control"] == SAME:
        assert len(re.findall(r"\bassert\b|pytest\.raises", source)) > 1, "has no control"
    else:
        assert entry["control"] != entry["test"]
        source_of(entry["control"])


def test_every_kind_of_error_is_raised_by_a_test():
    defined = {
        one.kind
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.LockstepError)
    }
    inherited = {errors.LockstepError.kind, errors.InputError.kind}
    assert TABLE["kinds"].keys() == defined - inherited | {"missing-dependency"}
    for kind, name in TABLE["kinds"].items():
        assert kind in source_of(name)


def test_no_error_is_swallowed_in_the_room_of_signatures():
    files = [*(UTILS / "_trust").glob("*.py"), *(UTILS / "_operations").glob("*sign*.py")]
    broad = re.compile(r"except( Exception| BaseException)?\s*(as \w+)?:|suppress\(Exception")
    assert [path.name for path in files if broad.search(path.read_text(encoding="utf-8"))] == []
