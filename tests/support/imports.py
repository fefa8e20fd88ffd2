# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out which files of the collection import which others, by parsing them as Ansible does."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
UTILS = PLUGINS / "module_utils"
PREFIX = "ansible_collections.lockstep.images."


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def imports_of(path: Path, early: bool = False) -> frozenset[str]:
    """Return the full names of all modules that a file imports anywhere.

    With `early`, only of those that are imported when the file itself is.
    """
    found: set[str] = set()
    for node in tree_of(path).body if early else ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = source_of(node, path)
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if file_of(name)} or {module}
    return frozenset(found)


def source_of(node: ast.ImportFrom, path: Path) -> str:
    """Return the full name of the package or module that an import statement names."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return PREFIX + ".".join(filter(None, [*package, node.module]))


@functools.cache
def file_of(module: str) -> Path | None:
    """Return the file of a module of the collection; None for another module."""
    if not module.startswith(PREFIX):
        return None
    path = ROOT.joinpath(*module[len(PREFIX) :].split(".")).with_suffix(".py")
    return path if path.is_file() else None


def closure_of(path: Path, early: bool = False) -> set[Path]:
    seen: set[Path] = set()
    todo = [path]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo += filter(None, map(file_of, imports_of(current, early)))
    return seen
