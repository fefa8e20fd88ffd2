# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules import: no thread but the first one imports anything, and a run with nothing to do imports little.

`zipimport`, which loads what a host was sent, is not safe in other threads.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer, push
from ansible_collections.lockstep.images.tests.support.modules import PYTHONPATH, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import referrer, statement
from ansible_collections.lockstep.images.tests.support.sigstore import ISSUER, SUBJECT, Sigstore

COUNT = 4
PLATFORM = "linux/amd64"

# Notes what is imported by another thread than the first. Python imports this file when it starts.
WATCH = """
import os, sys, threading

class Watch:
    def find_spec(name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            with open(os.environ["LOCKSTEP_TEST_IMPORTED"], "a") as handle:
                handle.write(name + "\\n")

sys.meta_path.insert(0, Watch)
"""

# Writes the names of all imported modules in the end.
LIST = """
import atexit, os, sys

@atexit.register
def write():
    with open(os.environ["LOCKSTEP_TEST_IMPORTED"], "w") as handle:
        handle.write(" ".join(sys.modules))
"""
# Each of them costs every host of a run some milliseconds.
DEAR = {"concurrent.futures", "dataclasses", "inspect", "queue", "requests", "ssl", "urllib3"}


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry(auth="bearer", anonymous_pull=True, users={"user": "password"}) as registry:
        for number in range(COUNT):
            item = demo_image(f"app{number}", "1", platforms=[PLATFORM])
            push(registry, f"demo/app{number}", item, "1")
            note = layer({"note": f"{number}".encode()})
            signature = image([note], artifactType="application/x", subject=item.descriptor())
            push(registry, f"demo/app{number}", signature)
        yield registry


@pytest.fixture(name="watched")
def fixture_watched(tmp_path):
    """Runs a module that has to work, and holds that no thread of it has imported anything."""
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(WATCH)
    noted = tmp_path / "imported"
    path = os.pathsep.join([str(tmp_path / "start"), PYTHONPATH])

    def watched(module, **params):
        env = {"PYTHONPATH": path, "LOCKSTEP_TEST_IMPORTED": str(noted)}
        outcome = run(module, env=env, **params)
        assert not outcome.failed, outcome.result
        assert not noted.exists(), noted.read_text().split()
        return outcome.result

    return watched


@pytest.fixture(name="names")
def fixture_names(registry):
    return [f"{registry.address}/demo/app{number}:1" for number in range(COUNT)]


def options(tmp_path, **more):
    return {"store": str(tmp_path / "store"), "parallel": 4, "use_host_config": True, **more}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"pull": "missing"},
        {"referrers": True},
        {"foreign_layers": "fetch"},
        {"registries": [{"registry": "registry.example"}]},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_F03_no_thread_of_a_pull_imports_anything(watched, names, tmp_path, more):
    assert watched("image_pull", name=names, **options(tmp_path, **more))["changed"]
    if "registries" not in more:
        watched("image_pull", name=names, **options(tmp_path, **more))


def test_F03_no_thread_of_a_pull_by_digest_or_of_all_tags_imports_anything(
    watched, registry, names, tmp_path
):
    found = run("image_pull", name=names, **options(tmp_path)).result["images"]
    pinned = [f"{name}@{one['digest']}" for name, one in zip(names, found)]
    watched("image_pull", name=pinned, **options(tmp_path, store=str(tmp_path / "other")))
    bare = [name[:-2] for name in names]
    third = options(tmp_path, store=str(tmp_path / "third"), all_tags=True)
    watched("image_pull", name=bare, **third)


def test_F03_no_thread_of_lock_sync_and_verify_imports_anything(watched, names, tmp_path):
    path = tmp_path / "images.lock.yml"
    watched("image_lock", path=str(path), name=names, platform=[PLATFORM], parallel=4)
    lock = read_lock(str(path), path.name)
    watched("image_sync", lock=lock, **options(tmp_path))
    for blob in (tmp_path / "store" / "blobs" / "sha256").iterdir():
        blob.write_bytes(b"x" * blob.stat().st_size)
    store = str(tmp_path / "store")
    watched("store_verify", mode="full", repair=True, parallel=4, store=store)
    watched("image_sync", lock=lock, verify="full", **options(tmp_path))


def test_F03_no_thread_of_push_copy_and_removal_imports_anything(watched, names, tmp_path):
    login = {"username": "user", "password": "password"}
    run("image_pull", name=names, **options(tmp_path))
    with Registry(auth="bearer", users={"user": "password"}) as target:
        for name in names:
            to = name.replace(name.partition("/")[0], target.address)
            run("image_tag", name=name, repository=[to], store=str(tmp_path / "store"))
        pushed = [name.replace(name.partition("/")[0], target.address) for name in names]
        watched("image_push", name=pushed, **options(tmp_path, **login))
        bare = [name[:-2] for name in pushed]
        copied = {"parallel": 4, **login}
        more = f"{target.address}/more"
        watched("image_copy", name=bare, destination=more, newest=1, **copied)
        watched("registry_info", name=bare, **copied)
        watched("registry_remove", name=pushed, **copied)


def test_no_thread_of_a_verification_imports_anything(watched, registry, tmp_path):
    """The library cryptography imports parts of itself late."""
    sigstore, names = Sigstore(), []
    for number in range(COUNT):
        repository = f"signed/app{number}"
        item = demo_image(f"app{number}", "1", platforms=[PLATFORM])
        push(registry, repository, item, "1")
        names.append(f"{registry.address}/{repository}:1")
        made = sigstore.bundle(statement(item.digest), stamped=True)
        push(registry, repository, referrer(made, item.descriptor()))
    who = {"issuer": ISSUER, "subject": SUBJECT}
    root = {"text": sigstore.trusted_root()}
    trust = [{"match": "*", "identities": [who], "trusted_root": root}]
    more = {"retries": 0, "config_path": str(tmp_path / "auth.json")}
    found = watched("image_verify", name=names, verify=trust, parallel=4, **more)
    assert len(found["pinned"]) == COUNT


def test_run_with_nothing_to_do_imports_no_threads_and_no_registry_client(
    registry, names, tmp_path
):
    path = tmp_path / "images.lock.yml"
    run("image_lock", path=str(path), name=names, platform=[PLATFORM])
    lock = read_lock(str(path), path.name)
    assert run("image_sync", lock=lock, **options(tmp_path)).result["changed"]
    start, listed = tmp_path / "start", tmp_path / "listed"
    start.mkdir()
    (start / "sitecustomize.py").write_text(LIST)
    env = {
        "PYTHONPATH": os.pathsep.join([str(start), PYTHONPATH]),
        "LOCKSTEP_TEST_IMPORTED": str(listed),
    }

    def imported_by(module, **params):
        assert not run(module, env=env, **params).result["changed"]
        return set(listed.read_text().split())

    code = "import ansible.module_utils.basic"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, check=True)
    ansible = set(listed.read_text().split())
    for module, params in (
        ("image_sync", {"lock": lock}),
        ("image_pull", {"name": names, "lock": lock}),
    ):
        found = imported_by(module, **params, store=str(tmp_path / "store"))
        assert not (found - ansible) & DEAR
        assert not [one for one in found if one.endswith("module_utils._execution")]
