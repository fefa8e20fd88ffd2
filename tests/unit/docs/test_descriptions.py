# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A colon turns a description into a mapping, which makes ansible-doc end with a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted([*ROOT.glob("plugins/*/*.yml"), *ROOT.glob("roles/*/meta/argument_specs.yml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_description_is_text(path: Path) -> None:
    found = list(_descriptions(yaml.safe_load(path.read_text(encoding="utf-8"))))
    assert found
    assert [one for one in found if not isinstance(one, str)] == []


def _descriptions(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _descriptions(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("description", "short_description") and not isinstance(item, dict):
                yield from item if isinstance(item, list) else [item]
            else:
                yield from _descriptions(item)
