# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archives that Ansible sends, run again and again by the oldest Python of a host.

Python 3.9 loads what is in an archive without a lock on the module, and `zipimport` of any version
fails for a thread that comes while another one imports `zlib`. So a run may fail at random unless
everything is imported before the first thread starts. Eight images, eight workers and caches that
are empty are what found it. LOCKSTEP_TEST_PAYLOAD_RUNS says how many runs of each module are made:
three by default, which take some ten seconds, as the search for imports in `test_layering.py` is
the test that always finds them; a hundred are for a change of what is imported where.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support import images, modules
from ansible_collections.lockstep.images.tests.support.fleet import PULL, PUSH, SYNC
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    collections_path,
    local_host,
    one_task,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

RUNS = int(os.environ.get("LOCKSTEP_TEST_PAYLOAD_RUNS", "3"))
WORKERS = 8
PLATFORM = "linux/amd64"
# Stand in the options of a payload for what each run has of its own.
OWN = "of-run-0"


@pytest.fixture(name="python", scope="module")
def fixture_python() -> Path:
    """Python 3.9 with the oldest requests, as `./dev unit` makes it."""
    found = (collections_path() or Path.cwd()) / "unit-oldest/bin/python"
    if not found.exists():
        pytest.skip("no Python 3.9 with the oldest requests here: run ./dev unit")
    return found


@pytest.fixture(name="registry", scope="module")
def fixture_registry() -> Iterator[Registry]:
    with Registry() as registry:
        for number in range(WORKERS):
            item = images.demo_image(f"app{number}", "1", layers=2)
            images.push(registry, f"demo/app{number}", item, "1")
        yield registry


def options_of(module: str, registry: Registry, directory: Path, port: int) -> dict[str, Any]:
    """Return what the eight images are brought by; pushed they are to a registry on `port`."""
    apps = [f"demo/app{number}:1" for number in range(WORKERS)]
    names = [f"{registry.address}/{app}" for app in apps]
    store = os.fspath(directory / f"store-{OWN}")
    if module == PULL:
        return {"name": names, "store": store, "parallel": WORKERS}
    if module == SYNC:
        path = directory / "images.lock.yml"
        modules.run("image_lock", path=os.fspath(path), name=names, platform=[PLATFORM])
        return {"lock": read_lock(os.fspath(path), path.name), "store": store, "parallel": WORKERS}
    store = os.fspath(directory / "store")
    modules.run("image_pull", name=names, store=store, platform=[PLATFORM])
    targets = [f"127.0.0.1:{port}/{app}" for app in apps]
    for name, target in zip(names, targets):
        modules.run("image_tag", name=name, repository=[target], store=store)
    return {"name": targets, "store": store, "platform": PLATFORM, "parallel": WORKERS}


def run_payload(python: Path, payload: Path, number: int) -> tuple[dict[str, Any], str]:
    """Run a payload as run `number`, with no cache of compiled files; its answer and all it wrote."""
    own = payload.with_name(f"run-{number}.py")
    own.write_text(payload.read_text().replace(OWN, f"of-run-{number}"))
    caches = payload.with_name(f"caches-{number}")
    done = subprocess.run(
        [python, own],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "PYTHONPYCACHEPREFIX": os.fspath(caches),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    shutil.rmtree(caches, ignore_errors=True)
    try:
        return json.loads(done.stdout), done.stderr
    except ValueError:
        return {"failed": True}, done.stdout + done.stderr


@pytest.mark.parametrize("module", [PULL, SYNC, PUSH])
def test_F03_the_payload_never_fails_on_the_oldest_python(
    play: PlayRunner, directory: Path, registry: Registry, python: Path, module: str
) -> None:
    with Registry() as target:
        text = one_task(module, **options_of(module, registry, directory, target.port))
        # In check mode, so that only the payload remains.
        keep = {"ANSIBLE_KEEP_REMOTE_FILES": "1"}
        inventory = play.inventory({"one": local_host(directory)})
        play(text, inventory, check=True, environment=keep).ok()
    (payload,) = directory.glob("remote/*/AnsiballZ_*.py")
    real, count = re.subn(r'("_ansible_check_mode\\?"): true', r"\1: false", payload.read_text())
    assert count == 1
    payload.write_text(real)
    failed = []
    for number in range(1, RUNS + 1):
        with Registry(port=target.port):  # empty again
            answer, written = run_payload(python, payload, number)
        if answer.get("failed") or not answer.get("changed"):
            failed.append((number, answer.get("msg") or answer, written[-2000:]))
        for path in directory.glob("store-of-run-*"):
            shutil.rmtree(path)
    assert failed == [], f"{len(failed)} of {RUNS} runs"
