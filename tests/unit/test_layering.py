# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rooms and files may import each other, and the limits of sizes: read from the source, not at run time."""

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

# Room -> the rooms it may import beside itself and the standard library. Features come as rooms: `_archive` reads and
# writes archives, `_engines` speaks to container engines, `_trust` verifies signatures, `_rootfs` unpacks, `_build` builds.
LIBRARY = {
    "_image",
    "_store",
    "_registry",
    "_lockfile",
    "_archive",
    "_engines",
    "_trust",
    "_rootfs",
    "_build",
}
ABOVE = {"_ansible", "_execution", "_operations", "_plan", "_progress", *LIBRARY, "ansible"}
MAY_IMPORT = {
    "_image": set(),
    "_store": {"_image"},
    "_registry": {"_image"},
    "_lockfile": {"_image"},
    "_archive": {"_image"},
    "_engines": {"_archive", "_image"},
    "_trust": {"_image"},
    "_rootfs": {"_archive", "_image"},
    # A build writes headers as archives have them, and reads the layers of base images as strictly as an unpack does.
    "_build": {"_archive", "_image", "_rootfs"},
    "_execution": {"_image"},
    "_plan": {"_execution", "_image"},
    "_operations": {"_execution", "_plan", "_progress", *LIBRARY},
    "_progress": set(),
    "_zipimport": set(),
    "_ansible": {"_zipimport", "_operations", "_execution", "_plan", "_image", "ansible"},
    "modules": {"_ansible", "_operations", "_progress", *LIBRARY},
    "doc_fragments": set(),
    "action": {"plugin_utils", *ABOVE},
    "lookup": {"plugin_utils", *ABOVE},
    "filter": {"plugin_utils", *ABOVE},
    "test": {"plugin_utils", *ABOVE},
    "plugin_utils": ABOVE,
}
# The rooms that read files of a host, lock files and lists read them as the store does; they write none of a store.
MAY_READ_FILES = {"_registry", "_lockfile"}
FILES = f"{HOME}_store.files"
# Login files are written as the files of a store are.
MAY_WRITE_FILES = {UTILS / "_registry" / "loginwriter.py"}
WRITING = f"{HOME}_store.writing"

# What image_pull and image_sync may send to a host beside the base: a feature never makes them grow.
BASE = {"_zipimport", "_ansible", "_execution", "_plan", "_progress", "_operations", "modules"}
SENT_ROOMS = {"_image", "_store", "_registry"}

# The files of a room from the ground up: a file imports only from tiers below its own.
TIERS = {
    "_image": [
        {"dates", "errors", "escaped", "instructions"},
        {"names"},
        {"artifacts", "chain", "manifest"},
        {"sources", "walk"},
        {"graph"},
        {"copy_blob", "lock"},
    ],
    "_store": [
        {"errors", "files"},
        {"writing"},
        {"partial", "reader"},
        {"source", "store"},
        {"disk", "inventory", "receive", "repair"},
        {"foreign"},
    ],
    "_registry": [
        {"credentials", "errors", "options", "urls"},
        {"connect", "loginfiles"},
        {"loginwriter", "response"},
        {"mirrors", "pacing"},
        {"client"},
        {"challenge", "hostfiles"},
        {"registry"},
        {"repository"},
        {"catalog", "target"},
        {"registries", "upload"},
        {"lazy", "sink"},
    ],
    "_archive": [
        {"errors", "tar"},
        {"archive", "by_digest", "header", "sums"},
        {"media", "zstd"},
        {"image_archive", "members"},
        {"archive_file", "verified_stream"},
        {"bundle_files", "contents", "image_bundle"},
    ],
    "_engines": [
        {"containers_storage", "errors"},
        {"engine", "loopback", "options", "process", "socket_http"},
        {"batches", "ctr", "docker_api", "plain_layers"},
        {"containerd_store", "docker_store", "lanes"},
        {"session"},
        {"containerd", "directory", "docker", "podman"},
        {"choice", "docker_build"},
    ],
    "_rootfs": [
        {"errors", "mountinfo", "options", "removal"},
        {"compare", "fstab", "marks", "paths", "stream"},
        {"compression", "directories", "sparse"},
        {"reader"},
        {"applier"},
        {"lower", "merge", "state"},
        {"bundle", "layers", "mounting"},
        {"builders", "roots"},
    ],
    "_build": [
        {"errors", "owners", "patterns", "tree", "words"},
        {"base", "compress", "context", "dockerfile", "layers", "settings"},
        {"copies", "outline", "recipe", "renamed"},
        {"copying"},
        {"builder"},
    ],
    "_trust": [
        {"errors", "keys", "naming", "openpgp", "secretbox"},
        {"cbor", "der", "gpgv", "lookaside", "signed_identity", "strict"},
        {"claims", "private_key", "trusted_root"},
        {"attestation", "certificates", "evidence"},
        {"notation_rule"},
        {"notation", "requirements"},
        {"bundle", "containers_policy", "cosign", "rekor", "simple_signing", "timestamps"},
        {"envelope", "keyless", "making", "policy"},
        {"verdict"},
    ],
    "_lockfile": [
        {"yamlfile"},
        {"lockfile", "mentions"},
        {"dockerfile", "objects"},
        {"composefile", "kustomize", "quadlet"},
        {"imagelists"},
    ],
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
    """Return the part of the house a module belongs to, or its top-level package."""
    path = file_of(module)
    return part_of(path) if path else module.split(".", maxsplit=1)[0]


def is_standard(module: str) -> bool:
    known = getattr(sys, "stdlib_module_names", None)
    if known is None:  # Python 3.9 has no list; newer Pythons have
        return not module.startswith(("ansible", "requests", "urllib3", "yaml", "tomli", "."))
    return module in known


# The files that import anything from elsewhere, which a host may lack.
FROM_ELSEWHERE = {
    PLUGINS / "plugin_utils" / "_preload.py": {"filter", "lookup"},
    UTILS / "_registry" / "client.py": {"requests", "urllib3"},
    UTILS / "_registry" / "connect.py": {"socks"},
    UTILS / "_registry" / "hostfiles.py": {"tomllib", "tomli"},
    UTILS / "_lockfile" / "yamlfile.py": {"yaml"},
    UTILS / "_archive" / "zstd.py": {"backports", "compression", "zstandard"},
    UTILS / "_build" / "compress.py": {"backports", "compression", "zstandard"},
    UTILS / "_rootfs" / "stream.py": {"isal"},
    UTILS / "_trust" / "keys.py": {"cryptography"},
}


@every_plugin
def test_file_imports_only_the_rooms_that_its_room_may_use(path):
    room = part_of(path)
    allowed = {room} | MAY_IMPORT[room] | FROM_ELSEWHERE.get(path, set())
    wrong = {
        module
        for module in imports_of(path)
        if target_of(module) not in allowed
        and not is_standard(target_of(module))
        and not (module == FILES and room in MAY_READ_FILES)
        and not (module == WRITING and path in MAY_WRITE_FILES)
    }
    assert wrong == set()


@pytest.mark.parametrize("name", ["image_pull", "image_sync"])
def test_every_host_receives_three_rooms(name):
    rooms = {part_of(path) for path in closure_of(PLUGINS / "modules" / f"{name}.py")}
    assert rooms - BASE == SENT_ROOMS


def test_imports_between_files_have_no_cycle():
    imported = {
        path: {target for target in map(file_of, imports_of(path)) if target} - {path}
        for path in PLUGIN_FILES
    }
    while imported:
        free = {path for path, needs in imported.items() if not needs & imported.keys()}
        circle = sorted(map(of_file, imported))
        assert free, f"these files import one another, or import those that do: {circle}"
        imported = {path: needs for path, needs in imported.items() if path not in free}


@pytest.mark.parametrize("room", TIERS)
def test_file_imports_only_from_lower_tiers_of_its_room(room):
    tier_of = {name: number for number, names in enumerate(TIERS[room]) for name in names}
    files = {path.stem: path for path in (UTILS / room).glob("*.py")}
    assert tier_of.keys() == files.keys()
    wrong = [
        f"{name} imports {target.stem}"
        for name, path in files.items()
        for target in filter(None, map(file_of, imports_of(path)))
        if target.parent == path.parent and tier_of[target.stem] >= tier_of[name]
    ]
    assert wrong == []


@every_plugin
def test_imports_are_absolute_so_that_ansible_sends_them(path):
    assert [module for module in imports_of(path) if module.startswith(".")] == []


@every_plugin
def test_imports_of_the_collection_resolve_to_files(path):
    own = {module for module in imports_of(path) if module.startswith(PREFIX)}
    assert {module for module in own if file_of(module) is None} == set()


def test_closure_of_imports_is_complete():
    assert UTILS / "_registry" / "client.py" in closure_of(PLUGINS / "modules" / "image_pull.py")


def test_image_info_sends_no_registry_code():
    shipped = {of_file(path) for path in closure_of(PLUGINS / "modules" / "image_info.py")}
    assert [path for path in shipped if path.startswith("module_utils/_registry/")] == []


def test_image_build_imports_what_runs_an_engine_late():
    path = PLUGINS / "modules" / "image_build.py"
    late = {one.stem for one in closure_of(path) - closure_of(path, early=True)}
    assert late >= {"build_engine", "build_run", "build_docker", "docker", "media", "process"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("image_pull", {"_execution", "copy_blob", "lock", "referrers"}),
        ("image_sync", {"_execution", "copy_blob"}),
        ("store_verify", set()),
    ],
)
def test_code_that_a_converged_run_does_not_need_is_imported_late(name, more):
    """What is imported is compiled, on every host and in every run."""
    path = PLUGINS / "modules" / f"{name}.py"
    late = {one.stem for one in closure_of(path) - closure_of(path, early=True)}
    asking = {"challenge", "hostfiles", "mirrors", "registries", "registry", "client"}
    assert late >= asking | more


def first_import_of(path: Path) -> str:
    """Return what a file imports first of the collection."""
    nodes = (node for node in tree_of(path).body if isinstance(node, ast.ImportFrom))
    own = (node for node in nodes if source_of(node, path).startswith(PREFIX))
    return next(f"{source_of(node, path)}.{node.names[0].name}" for node in own)


@every_module
def test_importer_is_imported_first(path):
    assert first_import_of(path).startswith(f"{HOME}_ansible.")
    assert first_import_of(UTILS / "_ansible.py") == f"{HOME}_zipimport"


@pytest.mark.parametrize("path", FROM_ELSEWHERE, ids=of_file)
def test_optional_libraries_are_imported_when_needed(path):
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
    "module_utils/_ansible.py": {"run_plan"},
    "module_utils/_plan.py": {"attempts"},
    "module_utils/_engines/podman.py": {"send"},
    # Where it is installed, requests has imported it before.
    "module_utils/_registry/connect.py": {"require_library"},
    "module_utils/_registry/hostfiles.py": {"_toml"},
    "module_utils/_registry/registries.py": {"registries_of"},
    "module_utils/_registry/lazy.py": {"_open"},
    "module_utils/_registry/client.py": {"libraries"},
    "module_utils/_lockfile/yamlfile.py": {"_yaml_documents"},
    "module_utils/_archive/zstd.py": {"_library"},
    "module_utils/_build/compress.py": {"zstd_library"},
    "module_utils/_rootfs/stream.py": {"inflaters"},
    "module_utils/_trust/keys.py": {"library"},
    "module_utils/_operations/actions.py": {"fetch"},
    "module_utils/_operations/build.py": {"_engines"},
    "module_utils/_operations/pull.py": {"plan_pull"},
    "module_utils/_operations/sync.py": {"_doubts", "_garbage", "_needed"},
    # The main thread calls "prepare" before any thread writes.
    "module_utils/_store/store.py": {"open_partial", "prepare", "staged", "stale"},
    "modules/image_pull.py": {"build"},
}


def test_F03_imports_inside_functions_never_run_first_in_a_thread_of_a_pool():
    found = {}
    for path in [*UTIL_FILES, *MODULE_FILES]:
        functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
        late = {one.name for one in functions if any(names_in(node) for node in ast.walk(one))}
        if late:
            found[of_file(path)] = late
    assert found == IMPORTING


LIKE_A_PACKAGE = {"http", "email", "json", "logging", "urllib", "xml"}


@every_util
def test_no_file_has_the_name_of_a_package_of_the_standard_library(path):
    """Without packages around it, pylint of ansible-core 2.16 takes the one for the other, and reports its faults."""
    assert path.stem not in LIKE_A_PACKAGE


def test_package_files_are_empty():
    assert [path for path in PLUGINS.rglob("__init__.py") if path.read_bytes().strip()] == []


def test_check_mode_is_read_once_in_the_runner():
    places = [
        of_file(path)
        for path in PLUGIN_FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "check_mode"
    ]
    # On the controller, one place decides whether the progress of a task is shown, and one asks a host what it lacks.
    controller = ["plugin_utils/_action.py", "plugin_utils/_delivery.py"]
    assert list(dict.fromkeys(places)) == ["module_utils/_ansible.py", *controller]
    words = [path for path in UTIL_FILES if re.search(r"\bcheck_mode\b", path.read_text("utf-8"))]
    assert [of_file(path) for path in words] == places[:1]


@every_plugin
def test_no_dangerous_function_is_called(path):
    text = path.read_text(encoding="utf-8")
    bad = r"\bextractall\b|shell\s*=\s*True|os\.system|os\.popen|\beval\(|\bexec\(|pickle"
    # A host runs the program of this file, which the controller sends to it.
    allowed = ["exec("] if path == PLUGINS / "plugin_utils" / "_program.py" else []
    assert re.findall(bad, text) == allowed


@every_plugin
def test_functions_are_at_most_60_lines_long(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree_of(path)) if isinstance(node, functions)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in nodes}
    assert {name: lines for name, lines in long.items() if lines > 60} == {}


@every_util
def test_files_are_within_their_size_limit(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@every_module
def test_modules_have_at_most_60_lines_of_code(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 60


@every_module
def test_documentation_is_next_to_the_module_and_is_not_sent(path):
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
def test_private_names_are_not_imported_from_modules(path):
    """Nobody imports a name with an underscore from a module, only the modules themselves."""
    taken = [
        alias.name
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and source_of(node, path).startswith(HOME)
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert taken == []


TESTS = PLUGINS.parent / "tests" / "unit" / "plugins" / "module_utils"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.name)
def test_a_test_file_stands_where_its_source_stands_and_has_its_name(path):
    """It is called test_SOURCE.py, or test_SOURCE_TOPIC.py where a source has several."""
    room = UTILS / path.parent.relative_to(TESTS)
    sources = {source.stem.lstrip("_") for source in room.glob("*.py")}
    words = path.stem.split("_")[1:]
    names = {"_".join(words[:end]) for end in range(1, len(words) + 1)}
    assert names & sources


# Files without a test file of their own: an action that is tested with its verbs, what the engines share, and what an
# unpack or a build consists of.
TESTED_WITH_OTHERS = {
    "_build/copying.py",
    "_build/errors.py",
    "_build/recipe.py",
    "_operations/build_engine.py",
    "_operations/build_image.py",
    "_operations/build_keep.py",
    "_operations/build_options.py",
    "_operations/build_program.py",
    "_operations/build_source.py",
    "_operations/build_work.py",
    "_operations/garbage.py",
    "_operations/layer_archive.py",
    "_engines/containerd_store.py",
    "_engines/docker_store.py",
    "_engines/engine.py",
    "_engines/errors.py",
    "_engines/socket_http.py",
    "_operations/trees.py",
    "_operations/unpack_report.py",
    "_operations/unpack_source.py",
    "_rootfs/builders.py",
    "_rootfs/compression.py",
    "_rootfs/directories.py",
    "_rootfs/errors.py",
    "_rootfs/layers.py",
    "_rootfs/marks.py",
    "_registry/errors.py",
    "_store/errors.py",
    "_trust/evidence.py",
    "_trust/requirements.py",
}


def test_every_source_has_a_test_file():
    missing = {
        str(source.relative_to(UTILS))
        for source in UTIL_FILES
        for tests in [(TESTS / source.relative_to(UTILS)).parent]
        for name in [f"test_{source.stem.lstrip('_')}"]
        if not any(tests.glob(f"{name}.py")) and not any(tests.glob(f"{name}_*.py"))
    }
    assert missing - TESTED_WITH_OTHERS == set()
