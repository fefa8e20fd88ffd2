# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``kill -9`` at every system call of a pull, and many pulls at once: S005, S007, S039."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support import killed_pull, modules
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer, push
from ansible_collections.lockstep.images.tests.support.layout import names, tree
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    carry_out,
    leftovers,
    statuses,
)

PULLED = [killed_pull.APP, killed_pull.TOOL]


@pytest.fixture(name="directory", scope="module")
def fixture_directory():
    """In memory where there is such a place: hundreds of pulls flush thousands of files."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


@pytest.fixture(name="deaths", params=killed_pull.SCENARIOS, scope="module")
def fixture_deaths(request, directory):
    """Return the stores that killed pulls left behind, each with the call that was the last."""
    stores = killed(request.param, directory)
    undisturbed = directory / request.param / "undisturbed"
    killed_pull.prepare(request.param, undisturbed)
    killed_pull.run(undisturbed)
    return request.param, stores, undisturbed


def killed(scenario, directory):
    """Return a store for every call that was the last."""
    directory = directory / scenario
    directory.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, killed_pull.__file__, scenario, str(directory)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": modules.PYTHONPATH},
    )
    calls = json.loads(done.stdout)
    return {f"{n} {call}": directory / str(n) for n, call in enumerate(calls, start=1)}


def test_a_pull_was_killed_at_every_kind_of_call(deaths):
    scenario, stores, _undisturbed = deaths
    wanted = {"open", "write", "fsync", "fchmod", "rename", "flock", "close", "pwrite", "ftruncate"}
    wanted |= {"mkdir", "chmod", "unlink"} if scenario == "first" else {"unlink"}
    assert {name.split()[1] for name in stores} == wanted
    assert len(stores) > 60


def test_killed_pull_leaves_a_valid_store(deaths):
    """No name without content, no other bytes, few partial files; the next run does the rest."""
    scenario, stores, undisturbed = deaths
    old = names(stores["1 open"] if scenario == "moved" else undisturbed / "none")
    for death, path in stores.items():
        assert_valid_store(path)
        new = names(undisturbed)
        assert all(entry in (old.get(name), new[name]) for name, entry in names(path).items()), (
            death
        )
        assert old.keys() <= names(path).keys(), death
        random = [name for name in leftovers(path) if name.startswith("part-")]
        assert len([name for name in random if name != "part-of-the-dead"]) <= 2, death
        done = killed_pull.run(path)
        assert tree(path) == tree(undisturbed), death
        if done["changed"]:
            assert leftovers(path) == [], death
        assert statuses(killed_pull.run(path)) == ["up_to_date"] * len(done["images"]), death


def test_killed_removal_leaves_a_valid_store_that_prune_completes(directory):
    """S005: a name without its content is never there, content without a name is garbage."""
    stores = killed(killed_pull.REMOVED, directory)
    assert {"rename", "unlink", "flock", "fsync"} <= {name.split()[1] for name in stores}
    undisturbed = directory / killed_pull.REMOVED / "undisturbed"
    killed_pull.prepare(killed_pull.REMOVED, undisturbed)
    before = names(undisturbed)
    killed_pull.remove(undisturbed)
    assert list(names(undisturbed)) == [killed_pull.TOOL]
    for death, path in stores.items():
        assert_valid_store(path)
        assert names(path) in (before, names(undisturbed)), death
        killed_pull.remove(path)
        store = ImageStore(str(path))
        carry_out(store, lambda held: plan_prune(held, older_than=0, staging=True), exclusive=True)
        assert tree(path) == tree(undisturbed), death
        assert leftovers(path) == [], death


def test_killed_sync_leaves_a_valid_store_that_the_next_one_completes(directory):
    """S005: names go to what is whole, and go away before their content does."""
    stores = killed(killed_pull.SYNCED, directory)
    undisturbed = directory / killed_pull.SYNCED / "undisturbed"
    killed_pull.prepare(killed_pull.SYNCED, undisturbed)
    before = names(undisturbed)
    killed_pull.synced(undisturbed)
    after = names(undisturbed)
    assert (list(before), list(after)) == ([killed_pull.APP, killed_pull.TOOL], [killed_pull.APP])
    moved = {**before, **after}
    states = [names(path) for path in stores.values()]
    assert [one for one in states if one not in (before, moved, after)] == []
    assert all(one in states for one in (before, moved, after))
    for death, path in stores.items():
        assert_valid_store(path)
        killed_pull.synced(path)
        assert tree(path) == tree(undisturbed), death
        assert not killed_pull.synced(path)["changed"], death


# -- logins and lock files


def files_of(path):
    """Return the mode and the bytes of every file below a directory, by its path there."""
    return {
        str(file.relative_to(path)): (file.stat().st_mode & 0o777, file.read_bytes())
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def without_numbers(files):
    """Return the files of a lock or a login, without what is left of the dead."""
    return {name: file for name, file in files.items() if "/.lockstep-" not in f"/{name}"}


@pytest.mark.parametrize("scenario", [killed_pull.LOGGED_IN, killed_pull.LOGGED_OUT])
def test_F34_killed_login_leaves_private_files_that_the_next_task_removes(scenario, directory):
    stores = killed(scenario, directory)
    assert {"open", "flock", "write", "fchmod", "fsync", "rename"} <= {
        name.split()[1] for name in stores
    }
    undisturbed = directory / scenario / "undisturbed"
    killed_pull.prepare(scenario, undisturbed)
    killed_pull.WORK[scenario](undisturbed)
    left = 0
    for death, path in stores.items():
        files = files_of(path)
        assert {mode for mode, _data in files.values()} <= {0o600}, death
        left += len(files) - len(without_numbers(files))
        if scenario == killed_pull.LOGGED_IN:
            killed_pull.log_in(path)
        else:
            killed_pull.log_out(path)
        assert files_of(path) == files_of(undisturbed), death
        assert not killed_pull.WORK[scenario](path), death
    assert left > 3


def test_F34_a_logout_that_finds_no_login_removes_what_a_killed_login_left(directory):
    stores = killed(killed_pull.LOGGED_IN, directory / "out")
    for death, path in stores.items():
        killed_pull.log_out(path)
        files = files_of(path)
        assert b'auth"' not in b"".join(data for _mode, data in files.values()), death
        assert files == without_numbers(files), death
        assert not killed_pull.log_out(path), death


def test_F34_killed_image_lock_leaves_files_that_the_next_one_removes(directory):
    stores = killed(killed_pull.LOCKED, directory)
    undisturbed = directory / killed_pull.LOCKED / "undisturbed"
    killed_pull.prepare(killed_pull.LOCKED, undisturbed)
    killed_pull.lock(undisturbed)
    places = set()
    for death, path in stores.items():
        files = files_of(path)
        places |= {Path(name).parent.name for name in files.keys() - without_numbers(files).keys()}
        killed_pull.lock(path)
        assert files_of(path) == files_of(undisturbed), death
        assert not killed_pull.lock(path), death
    assert places == {"", "images.lock.d"}


# -- many at once, each a process of its own


@pytest.fixture(name="registry")
def fixture_registry():
    """Provide images that share layers, and one that has none of these."""
    with Registry() as registry:
        base = layer({"base": b"b" * 20_000})
        for name in ("a", "b", "c"):
            push(registry, name, image([base, layer({name: name.encode() * 20_000})]), "1")
        push(registry, "family", demo_image("family", "1", size=20_000), "1")
        yield registry


def full(registry, *images):
    return [f"{registry.address}/{name}:1" for name in images]


def test_four_pulls_at_once_lose_nothing(registry, tmp_path):
    """S007: the same images, overlapping ones and others, into a store that is not there yet."""
    store = tmp_path / "store"
    wanted = [("a", "b", "family"), ("b", "c"), ("a", "b", "family"), ("c", "family", "a")]
    common = {"store": str(store), "platform": ["linux/amd64"]}
    started = [modules.start("image_pull", name=full(registry, *one), **common) for one in wanted]
    outcomes = [modules.finish(process) for process in started]
    assert [outcome.result.get("msg") for outcome in outcomes] == [None] * 4
    everything = full(registry, "a", "b", "c", "family")
    assert list(names(store)) == sorted(everything)
    assert_valid_store(store)
    assert leftovers(store) == []
    alone = tmp_path / "alone"
    modules.run("image_pull", name=everything, **{**common, "store": str(alone)})
    assert tree(store) == tree(alone)


@pytest.mark.parametrize("number", [1, 3, 6], ids="S039 at answer {}".format)
def test_a_module_that_is_killed_while_it_downloads_is_completed_by_the_next(tmp_path, number):
    """With threads, and the real way to a registry."""
    store, answers, processes = tmp_path / "store", [], []

    def kill(request):
        answers.append(request)
        if len(answers) == number and processes:
            processes[0].kill()

    with Registry(on_request=kill) as registry:
        push(registry, "app", demo_image("app", "1", size=200_000), "1")
        params = {"name": full(registry, "app"), "store": str(store), "platform": ["linux/arm64"]}
        processes.append(modules.start("image_pull", **params))
        assert processes[0].wait(60) == -9
        processes[0].communicate()
        assert_valid_store(store)
        assert names(store) == {}
        processes.clear()
        assert modules.run("image_pull", **params).result["changed"]
    assert_valid_store(store)
    assert leftovers(store) == []
    assert list(ImageStore(str(store)).names()) == full(registry, "app")
    assert Path(store, "index.json").is_file()
