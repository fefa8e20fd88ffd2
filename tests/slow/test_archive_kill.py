# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``kill -9`` at every system call of an export, of an import and of a build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import killed_pull, modules
from ansible_collections.lockstep.images.tests.support.building import NAME
from ansible_collections.lockstep.images.tests.support.layout import names, tree
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store, leftovers


@pytest.fixture(name="directory", scope="module")
def fixture_directory():
    """In memory where there is such a place: hundreds of runs flush thousands of files."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


def killed(scenario, directory):
    """Return a directory for every call that was the last, and one of an undisturbed run."""
    command = [sys.executable, killed_pull.__file__, scenario, str(directory)]
    environment = {**os.environ, "PYTHONPATH": modules.PYTHONPATH}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=300, env=environment
    )
    undisturbed = directory / "undisturbed"
    killed_pull.prepare(scenario, undisturbed)
    killed_pull.WORK[scenario](undisturbed)
    calls = json.loads(done.stdout)
    return {f"{n} {call}": directory / str(n) for n, call in enumerate(calls, start=1)}, undisturbed


def archive_of(path):
    return {one.name: one.read_bytes() for one in sorted(path.glob("a.tar*"))}


@pytest.mark.parametrize("scenario", [killed_pull.EXPORTED, killed_pull.REPAIRED])
def test_killed_export_is_completed_with_the_same_bytes(directory, scenario):
    deaths, undisturbed = killed(scenario, directory / scenario)
    whole = archive_of(undisturbed)
    assert {"open", "write", "pwrite", "ftruncate", "fsync", "fchmod", "rename", "flock"} <= {
        name.split()[1] for name in deaths
    }
    total = sum(len(data) for name, data in whole.items() if name != "a.tar.sha256")
    seen = set()
    for death, path in deaths.items():
        before = archive_of(path)
        complete = [data for name, data in whole.items() if before.get(name) == data]
        seen.add(len(complete))
        # Only what is complete has its name.
        assert all(whole[name] == data for name, data in before.items() if name in whole), death
        result = killed_pull.export_all(path)
        assert archive_of(path) == whole, death
        twice = sum(map(len, complete)) + result["stats"]["bytes_written"] - total
        assert twice <= killed_pull.CHUNK + len(whole["a.tar.sha256"]), death
        assert not killed_pull.export_all(path)["changed"], death
    count = len(whole) - 1
    assert seen >= ({*range(count)} if scenario == killed_pull.EXPORTED else {count - 1, count})


def test_killed_import_is_completed_with_the_same_store(directory):
    deaths, undisturbed = killed(killed_pull.IMPORTED, directory / "import")
    store = undisturbed / "store"
    states = set()
    for death, path in deaths.items():
        assert_valid_store(path / "store")
        states.add(len(names(path / "store")))
        killed_pull.import_all(path)
        assert tree(path / "store") == tree(store), death
        assert leftovers(path / "store") == [], death
        assert not killed_pull.import_all(path)["changed"], death
    assert states >= {0, 1} or states >= {0, 2}


def test_killed_build_is_completed_with_the_same_image(directory):
    deaths, undisturbed = killed(killed_pull.BUILT, directory / "build")
    whole = killed_pull.build(undisturbed)
    assert (whole["changed"], list(names(undisturbed / "store"))) == (False, [NAME])
    states = set()
    for death, path in deaths.items():
        if (path / "store" / "oci-layout").exists():
            assert_valid_store(path / "store")
        states.add(len(names(path / "store")))
        assert killed_pull.build(path)["digest"] == whole["digest"], death
        assert tree(path / "store") == tree(undisturbed / "store"), death
        assert leftovers(path / "store") == [], death
    assert states == {0, 1}
