# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom, and the house measures: read from the source, not from what runs."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support.imports import (
    PLUGINS,
    PREFIX,
    UTILS,
    closure_of,
    file_of,
    imports_of,
    source_of,
    tree_of,
)

HOME = f"{PREFIX}plugins.module_utils."
UTIL_FILES = sorted(UTILS.rglob("*.py"))
MODULE_FILES = sorted((PLUGINS / "modules").glob("*.py"))
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))

# Part of the house -> the parts it may import beside itself and the standard library.
MAY_IMPORT = {
    "_oci": {"_oci"},
    "_engines": {"_engines", "_oci"},
    "_plan": {"_oci"},
    "_operations": {"_operations", "_engines", "_plan", "_oci"},
    "_archive": set(),
    "_ansible": {"_ansible", "_archive", "_operations", "_plan", "_oci", "ansible"},
    "modules": {"_ansible", "_operations", "_oci"},
    "doc_fragments": set(),
    "action": {"_ansible", "_operations", "_plan", "_oci", "ansible"},
    "lookup": {"plugin_utils", "_ansible", "_operations", "_plan", "_oci", "ansible"},
    "filter": {"plugin_utils", "_ansible", "_operations", "_plan", "_oci", "ansible"},
    "test": {"plugin_utils", "_ansible", "_operations", "_plan", "_oci", "ansible"},
    "plugin_utils": {"plugin_utils", "_ansible", "_operations", "_plan", "_oci", "ansible"},
}


def of_file(path: Path) -> str:
    return str(path.relative_to(PLUGINS))


every_util = pytest.mark.parametrize("path", UTIL_FILES, ids=of_file)
every_plugin = pytest.mark.parametrize("path", PLUGIN_FILES, ids=of_file)
every_module = pytest.mark.parametrize("path", MODULE_FILES, ids=of_file)


def part_of(path: Path) -> str:
    parts = path.relative_to(PLUGINS).with_suffix("").parts
    return parts[1] if parts[0] == "module_utils" else parts[0]


def target_of(module: str) -> str:
    """The part of the house a module belongs to, or its top-level package."""
    path = file_of(module)
    return part_of(path) if path else module.split(".", maxsplit=1)[0]


def is_standard(module: str) -> bool:
    known = getattr(sys, "stdlib_module_names", None)
    if known is None:  # Python 3.9 cannot tell; the newer Pythons do
        return not module.startswith(("ansible", "requests", "urllib3", "yaml", "tomli", "."))
    return module in known


# The files that import anything from elsewhere, which a host may lack.
FROM_ELSEWHERE = {
    UTILS / "_oci" / "transport.py": {"requests", "urllib3"},
    UTILS / "_oci" / "connect.py": {"socks"},
    UTILS / "_oci" / "hostfiles.py": {"tomllib", "tomli"},
    UTILS / "_oci" / "yamlfile.py": {"yaml"},
}


@every_plugin
def test_every_file_imports_only_what_its_part_may(path):
    allowed = MAY_IMPORT[part_of(path)] | FROM_ELSEWHERE.get(path, set())
    wrong = {
        module
        for module in imports_of(path)
        if target_of(module) not in allowed and not is_standard(target_of(module))
    }
    assert wrong == set()


@every_plugin
def test_imports_are_absolute_or_ansible_would_not_ship_them(path):
    assert [module for module in imports_of(path) if module.startswith(".")] == []


@every_plugin
def test_imports_of_the_collection_lead_to_files(path):
    own = {module for module in imports_of(path) if module.startswith(PREFIX)}
    assert {module for module in own if file_of(module) is None} == set()


def test_the_closure_of_imports_is_found_at_all():
    assert UTILS / "_oci" / "transport.py" in closure_of(PLUGINS / "modules" / "image_pull.py")


def test_image_info_ships_nothing_that_speaks_to_a_registry():
    shipped = {of_file(path) for path in closure_of(PLUGINS / "modules" / "image_info.py")}
    network = {"transport", "registry", "auth", "hosts", "hostfiles"}
    assert shipped & {f"module_utils/_oci/{name}.py" for name in network} == set()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("image_pull", {"fetch", "lock", "referrers"}),
        ("image_sync", {"fetch"}),
        ("store_verify", set()),
    ],
)
def test_what_a_converged_run_has_no_use_for_is_imported_where_it_is_used(name, more):
    """What is imported is compiled, on every host and in every run."""
    path = PLUGINS / "modules" / f"{name}.py"
    late = {one.stem for one in closure_of(path) - closure_of(path, early=True)}
    asking = {"auth", "hostfiles", "hosts", "registries", "registry", "transport"}
    assert late >= asking | more


def first_import_of(path: Path) -> str:
    """What a file imports first of the collection."""
    nodes = (node for node in tree_of(path).body if isinstance(node, ast.ImportFrom))
    own = (node for node in nodes if source_of(node, path).startswith(PREFIX))
    return next(f"{source_of(node, path)}.{node.names[0].name}" for node in own)


@every_module
def test_the_importer_comes_before_what_it_is_for(path):
    assert first_import_of(path).startswith(f"{HOME}_ansible.")
    assert first_import_of(UTILS / "_ansible.py") == f"{HOME}_archive"


@pytest.mark.parametrize("path", FROM_ELSEWHERE, ids=of_file)
def test_what_a_host_may_lack_is_imported_when_it_is_needed(path):
    tree = tree_of(path)
    early = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom, ast.Try))]
    names = {alias.name for top in early for node in ast.walk(top) for alias in names_in(node)}
    assert not {name for name in names if name.split(".")[0] in FROM_ELSEWHERE[path]}


def names_in(node: ast.AST) -> list[ast.alias]:
    return node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []


# The functions that import something when they are called. What a pool may need of it is imported in the main thread
# before the pool starts (`prepare`, `fetch`), or only that thread calls them: `zipimport` is not safe in threads.
# `test_imports.py` runs the modules, and sees whether it is so.
IMPORTING = {
    # Where it is installed, requests has imported it before.
    "module_utils/_oci/connect.py": {"require_library"},
    "module_utils/_oci/hostfiles.py": {"_toml"},
    "module_utils/_oci/registries.py": {"registries_of"},
    "module_utils/_oci/sources.py": {"_open"},
    "module_utils/_oci/transport.py": {"libraries"},
    "module_utils/_oci/yamlfile.py": {"_yaml_documents"},
    "module_utils/_operations/copying.py": {"fetch"},
    "module_utils/_operations/pull.py": {"plan_pull"},
    "modules/image_pull.py": {"lock_of"},
}


def test_F03_imports_inside_functions_are_where_no_thread_of_a_pool_comes_first():
    found = {}
    for path in [*UTIL_FILES, *MODULE_FILES]:
        functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
        late = {one.name for one in functions if any(names_in(node) for node in ast.walk(one))}
        if late:
            found[of_file(path)] = late
    assert found == IMPORTING


def test_no_package_file_pulls_in_the_rest():
    assert [path for path in PLUGINS.rglob("__init__.py") if path.read_bytes().strip()] == []


def test_check_mode_is_asked_once_in_the_runner():
    places = [
        of_file(path)
        for path in PLUGIN_FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "check_mode"
    ]
    assert places == ["module_utils/_ansible.py"]
    words = [path for path in UTIL_FILES if re.search(r"\bcheck_mode\b", path.read_text("utf-8"))]
    assert [of_file(path) for path in words] == places


@every_plugin
def test_nothing_dangerous_is_called(path):
    text = path.read_text(encoding="utf-8")
    bad = r"\bextractall\b|shell\s*=\s*True|os\.system|os\.popen|\beval\(|\bexec\(|pickle"
    assert re.findall(bad, text) == []


@every_plugin
def test_functions_are_at_most_60_lines_long(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree_of(path)) if isinstance(node, functions)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in nodes}
    assert {name: lines for name, lines in long.items() if lines > 60} == {}


@every_util
def test_files_are_of_a_size(path):
    """400 lines, but for the files that are large so that hosts are sent less: each has a compression of its own."""
    merged = {"auth", "content", "credentials", "files", "registry", "store", "transport"}
    limit = 650 if path.stem in merged else 400
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


@every_module
def test_modules_have_at_most_60_lines_of_code(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 60


@every_module
def test_documentation_stands_beside_the_module_and_does_not_travel(path):
    assert path.with_suffix(".yml").is_file()
    assert "DOCUMENTATION" not in path.read_text(encoding="utf-8")


@every_util
def test_public_functions_and_classes_have_a_docstring(path):
    tree = tree_of(path)
    public = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    bare = [node for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(tree)
    # The kind of an error says what it is.
    assert [node.name for node in bare if not node.name.endswith("Error")] == []


@every_util
def test_private_parts_stay_private(path):
    """Nobody imports a name with an underscore from a module, only the modules themselves."""
    taken = [
        alias.name
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and source_of(node, path).startswith(HOME)
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert taken == []
