# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The origin sends each image once, however many hosts there are: with a seed, and with the controller."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.devtools.environment import CORES
from ansible_collections.lockstep.images.tests.support import images, layout, modules, services
from ansible_collections.lockstep.images.tests.support.accesslog import accesses
from ansible_collections.lockstep.images.tests.support.fleet import (
    PULL,
    PUSH,
    SYNC,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.playbook import local_host
from ansible_collections.lockstep.images.tests.support.services_process import Service

REPOSITORY = "shop/web"
IMAGE = images.demo_image("seeded", "1", size=200_000)


@pytest.fixture(name="origin")
def fixture_origin(directory: Path) -> Iterator[Service]:
    """A registry with one image for two platforms, which has sent nothing yet."""
    need_programs("docker-registry")
    with services.docker_registry(directory / "origin") as service:
        images.upload(service.url, REPOSITORY, IMAGE, "1")
        yield service


def sent(origin: Service) -> int:
    """Return the bytes of the content that a registry has sent."""
    return sum(one.size for one in accesses(origin.log_text()) if one.method == "GET")


def size_of(store: Path) -> int:
    """Return the bytes of all content of a store."""
    return sum(path.stat().st_size for path in (store / "blobs").rglob("*") if path.is_file())


def play_of(hosts: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    return {"name": "Test", "hosts": hosts, "gather_facts": False, "tasks": tasks}


def lock_of(origin: Service, directory: Path) -> dict[str, Any]:
    """Return a lock of the image for one platform."""
    locked = modules.run(
        "image_lock",
        name=[f"{origin.address}/{REPOSITORY}:1"],
        path=os.fspath(directory / "images.lock.yml"),
        platform=["linux/amd64"],
        plain_http=True,
    )
    return {"lockfile_version": 1, "images": locked.result["images"]}


@pytest.mark.parametrize("core", CORES)
def test_seed_takes_every_image_from_the_origin_once(origin, directory, runner, core):
    """The recipe of docs/airgap.md, with five hosts at once."""
    play = runner(core)
    lock = lock_of(origin, directory)
    before = sent(origin)
    with services.docker_registry(directory / "registry") as seed:
        pinned = "{{ item.name }}@{{ item.digest }}"
        repository = "{{ seed_registry }}/{{ (item.name | lockstep.images.reference).repository }}"
        entry = {
            "registry": origin.address,
            "mirrors": [{"url": seed.url, "pull_from_mirror": "digest-only"}],
        }
        store, loop = {"store": "{{ store_of_host }}"}, {"loop": lock["images"]}
        plain = {"plain_http": True}
        pull = {"name": pinned, "platform": "all", **store, **plain}
        push = {"name": "{{ item.name }}", "repository": repository, **store, **plain}
        text = json.dumps(
            [
                play_of(
                    "seed",
                    {"name": "Pull", PULL: pull, **loop},
                    {"name": "Push", PUSH: push, **loop},
                ),
                play_of(
                    "web-*", {"name": "Sync", SYNC: {"lock": lock, "registries": [entry], **store}}
                ),
            ],
            indent=1,
        )
        hosts = {
            name: {**local_host(directory), "store_of_host": os.fspath(directory / name)}
            for name in ("seed", *(f"web-{number}" for number in range(5)))
        }
        inventory = play.inventory(hosts, seed_registry=seed.address)
        done = play(text, inventory, environment={"ANSIBLE_FORKS": "5"}).ok()
    whole = size_of(directory / "seed")
    assert whole > 1_000_000
    assert sent(origin) - before <= 1.02 * whole
    for name, result in done.of("Sync").items():
        assert set(result["stats"]["mirrors"]) == {seed.address} and result["changed"]
        assert layout.tree(directory / name) == layout.tree(directory / "web-0")
        assert layout.bad_blobs(directory / name) == []


@pytest.mark.parametrize("core", CORES)
def test_controller_takes_every_image_from_the_origin_once(origin, directory, runner, core):
    play = runner(core)
    lock = lock_of(origin, directory)
    before = sent(origin)
    fill = {"lock": lock, "store": os.fspath(directory / "own"), "plain_http": True}
    send = {
        "lock": lock,
        "store": "{{ store_of_host }}",
        "source": "controller",
        "source_store": os.fspath(directory / "own"),
    }
    hosts = {
        f"web-{number}": {
            **local_host(directory),
            "store_of_host": os.fspath(directory / f"web-{number}"),
        }
        for number in range(10)
    }
    tasks = [{"name": "Fill", SYNC: fill, "run_once": True}, {"name": "Send", SYNC: send}]
    done = play(json.dumps([play_of("all", *tasks)], indent=1), play.inventory(hosts)).ok()
    assert len(done.of("Send")) == 10
    assert 0 < sent(origin) - before <= 1.02 * size_of(directory / "own")
    for name in hosts:
        assert layout.tree(directory / name) == layout.tree(directory / "own")
