# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of cases in YAML, each with the tests that show what happens, as FILE::TEST or FILE::TEST[ROW] for a row of a table."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError

TESTS = Path(__file__).resolve().parents[1]
PLACES = (TESTS / "unit", TESTS / "fleet", TESTS / "slow", TESTS / "scale")


def read_table(name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the parts of a table in ``tests/unit/data``."""
    text = (TESTS / "unit/data" / f"{name}.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)  # type: ignore[no-any-return]


@functools.cache
def texts(stem: str) -> tuple[str, ...]:
    """Return the test files of a name."""
    found = (path for place in PLACES for path in place.rglob(f"{stem}.py"))
    return tuple(path.read_text(encoding="utf-8") for path in found)


def text_of(name: str) -> str:
    """Return the file of a test, with the tables that it imports; assert that the test and its row exist."""
    match = re.fullmatch(r"(\w+)::(\w+)(?:\[(.+)\])?", name)
    assert match, name
    stem, function, row = match.groups()
    known = [text for text in texts(stem) if f"\ndef {function}(" in text]
    assert len(known) == 1, name
    imported = re.findall(r"^from \S+\.tests\.support\.(\w+) import", known[0], re.M)
    more = ((TESTS / "support" / f"{one}.py").read_text(encoding="utf-8") for one in imported)
    text = "\n".join([known[0], *more])
    assert row is None or f'"{row}": ' in text, name
    return text


def kinds_of(*modules: ModuleType) -> dict[str, str]:
    """Return the kinds of the errors that are defined in some modules, with the names of their classes."""
    return {
        one.kind: name
        for module in modules
        for name, one in vars(module).items()
        if isinstance(one, type)
        and issubclass(one, LockstepError)
        and one.__module__ == module.__name__
    }


def is_expected(kind: str, class_name: str, text: str) -> bool:
    """Return whether a test file expects an error of this kind."""
    return f'"{kind}"' in text or f"raises({class_name}" in text or f"errors.{class_name}" in text
