# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The budget: how much code Ansible sends to every host for each module.

Docstrings and comments are not counted, as saving bytes must never cost words. A limit is raised only on
purpose, by whoever can say what the hosts get for it.
"""

from __future__ import annotations

import ast
import functools
import zlib
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support.imports import PLUGINS, closure_of

MODULES = PLUGINS / "modules"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# KiB.
LIMITS = {
    "engine_info": 70,
    "image_copy": 109.7,
    "image_info": 37.9,
    "image_load": 176,
    "image_lock": 132.3,
    "image_pull": 114.6,
    "image_push": 117.0,
    "image_remove": 46.2,
    "image_sync": 120.3,
    "image_tag": 39.0,
    "registry_info": 93.9,
    "registry_login": 86.3,
    "registry_remove": 82.7,
    "store_info": 42.4,
    "store_prune": 48.0,
    "store_verify": 120.5,
}


@functools.cache
def sent_bytes(path: Path) -> int:
    """Return what a file adds to the archive of a module: its code, compressed by itself, in base64."""
    code = ast.unparse(without_docstrings(ast.parse(path.read_text(encoding="utf-8"))))
    return len(zlib.compress(code.encode(), 9)) * 4 // 3


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def test_every_module_has_a_limit():
    assert sorted(LIMITS) == sorted(path.stem for path in MODULES.glob("*.py"))


@pytest.mark.parametrize("name", LIMITS)
def test_a_module_sends_no_more_code_than_its_limit(name):
    files = closure_of(MODULES / f"{name}.py")
    sizes = {path.name: round(sent_bytes(path) / 1024, 1) for path in files}
    assert sum(map(sent_bytes, files)) / 1024 <= LIMITS[name], sizes
