# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every case of bad input in ``data/trees.yml`` has tests, and every kind of error of trees and builds is raised by one."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._build import errors as of_builds
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import errors as of_trees

HERE = Path(__file__).parent
TABLE = yaml.safe_load((HERE / "data" / "trees.yml").read_text(encoding="utf-8"))
PLACES = (HERE, HERE.parent / "fleet", HERE.parent / "slow")


@functools.cache
def texts(stem: str) -> tuple[str, ...]:
    """Return the test files of a name."""
    found = (path for place in PLACES for path in place.rglob(f"{stem}.py"))
    return tuple(path.read_text(encoding="utf-8") for path in found)


@pytest.mark.parametrize("part", TABLE)
def test_every_case_has_tests_that_exist(part):
    for one in TABLE[part]:
        assert one["tests"], one
        for name in one["tests"]:
            stem, function, row = re.fullmatch(r"(\w+)::(\w+)(?:\[(.+)\])?", name).groups()
            known = [text for text in texts(stem) if f"\ndef {function}(" in text]
            assert len(known) == 1, name
            assert row is None or f'"{row}": ' in known[0], name


@pytest.mark.parametrize("module", [of_trees, of_builds])
def test_every_kind_of_error_is_expected_by_a_test(module):
    kinds = {
        one.kind: name
        for name, one in vars(module).items()
        if isinstance(one, type)
        and issubclass(one, LockstepError)
        and one.__module__ == module.__name__
    }
    files = [path.read_text(encoding="utf-8") for path in HERE.rglob("test_*.py")]
    assert kinds
    for kind, name in kinds.items():
        assert any(f'"{kind}"' in text or f"raises({name}" in text for text in files), kind
