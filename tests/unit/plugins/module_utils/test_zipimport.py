# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are imported from the archive that Ansible sends."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils import _zipimport

COLLECTION = Path(_zipimport.__file__).parents[2]
PREFIX = "ansible_collections.lockstep.images."
HOME = f"{PREFIX}plugins.module_utils."

# Imports the given modules, and prints how often each file of the collection was compiled, and its final name.
TELL = """
import collections, importlib, json, sys, traceback
compiled = collections.Counter()
sys.addaudithook(lambda event, args: event == "compile" and compiled.update([str(args[1])]))
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
found = {}
for name, module in sys.modules.items():
    if name.startswith("ansible_collections.lockstep"):
        spec = module.__spec__
        found[name] = [compiled[module.__file__], module.__file__, spec.origin, spec.submodule_search_locations]
digest = sys.modules["ansible_collections.lockstep.images.plugins.module_utils._image.names"].Digest
try:
    digest.parse("wrong")
except Exception:
    print(json.dumps([found, traceback.format_exc()]))
"""


def packages_of(path: Path):
    """The empty files that Ansible puts into every directory above."""
    return [parent / "__init__.py" for parent in path.parents if parent != Path(".")]


@pytest.fixture(name="archive", scope="module")
def fixture_archive(tmp_path_factory):
    """An archive as Ansible makes it."""
    path = tmp_path_factory.mktemp("archive") / "payload.zip"
    with zipfile.ZipFile(path, "w") as archive:
        home = Path(*PREFIX.strip(".").split("."))
        files = [
            home / file.relative_to(COLLECTION)
            for file in COLLECTION.glob("plugins/module_utils/**/*.py")
            if file.name != "__init__.py"
        ]
        for file in files:
            archive.writestr(str(file), (COLLECTION / file.relative_to(home)).read_bytes())
        for package in dict.fromkeys(one for file in files for one in packages_of(file)):
            archive.writestr(str(package), b"")
    return path


def imported(archive, *names):
    """What was imported, and the text of an error that one of the files has raised."""
    done = subprocess.run(
        [sys.executable, "-c", TELL, archive, *(HOME + name for name in names)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(name="ours", scope="module")
def fixture_ours(archive):
    return imported(archive, "_zipimport", "_image.names", "_operations.pull")[0]


def test_every_file_after_the_importer_is_compiled_once(ours):
    assert {f"{HOME}{name}" for name in ("_plan", "_store.store", "_operations.fetching")} <= set(
        ours
    )
    first = f"{HOME}_zipimport"
    counts = {
        name: count
        for name, (count, file, *_rest) in ours.items()
        if name != first and not file.endswith("__init__.py")
    }
    assert set(counts.values()) == {1}


def test_modules_and_packages_have_the_same_names_as_without_the_importer(archive, ours):
    plain = imported(archive, "_image.names", "_operations.pull")[0]
    assert {name: ours[name][1:] for name in plain} == {name: plain[name][1:] for name in plain}


def test_a_traceback_shows_files_and_lines(archive):
    _found, told = imported(archive, "_zipimport", "_image.names")
    assert (
        "payload.zip/ansible_collections/lockstep/images/plugins/module_utils/_image/names.py"
        in told
    )
    assert "raise errors.DigestError(" in told


def test_nothing_changes_outside_an_archive():
    kinds = [
        hook for hook in sys.path_hooks if getattr(hook, "__module__", "") == _zipimport.__name__
    ]
    assert kinds == []
