# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_load with source=registry: 100 images into real engines, without a copy in the store."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import images, modules, services
from ansible_collections.lockstep.images.tests.support.accesslog import accesses
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need_programs
from ansible_collections.lockstep.images.tests.support.registry import Registry as FakeRegistry

COUNT, BASES = 100, 4
BASE_SIZE, OWN_SIZE = 1024 * 1024, 256 * 1024
WINDOW = 6  # the default of parallel


def noise(seed: int, size: int) -> bytes:
    """Return bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def fleet_image(number: int) -> images.Image:
    """Return an image of a layer that 25 images share, an empty one that all share, and one of its own."""
    base = images.layer({"base": noise(number % BASES, BASE_SIZE)})
    own = images.layer({f"own{number}": noise(1000 + number, OWN_SIZE)})
    return images.image([base, images.layer({}), own])


@dataclass
class Fleet:
    """The images of a fleet in a registry, by name."""

    registry: Registry
    items: dict[str, images.Image]
    _seen: int = field(default=0)

    @property
    def sizes(self) -> list[int]:
        """The sizes of all layers, each once, the largest first."""
        layers = {one.digest: len(one.blob) for item in self.items.values() for one in item.layers}
        return sorted(layers.values(), reverse=True)

    def lock(self) -> dict[str, Any]:
        """Return the content of a lock file."""
        return {
            "lockfile_version": 1,
            "images": [
                {
                    "name": name,
                    "digest": item.digest,
                    "media_type": item.media_type,
                    "platforms": {
                        "linux/amd64": {
                            "manifest": item.digest,
                            "config": item.config_digest,
                            "size": item.size,
                        }
                    },
                }
                for name, item in sorted(self.items.items())
            ],
        }

    def fetched(self) -> int:
        """Return the bytes of layers that the registry has sent since the last call."""
        log = accesses(self.registry.service.log_text())
        new, self._seen = log[self._seen :], len(log)
        return sum(one.size for one in new if one.method == "GET" and "/blobs/" in one.path)


@pytest.fixture(name="fleet", scope="module")
def fixture_fleet(workspace: Path) -> Iterator[Fleet]:
    need_programs("docker-registry")
    with services.docker_registry(workspace / "load-registry") as service:
        items = {}
        for number in range(COUNT):
            repository, item = f"fleet/app{number:02}", fleet_image(number)
            images.upload(service.url, repository, item, "1")
            items[f"{service.address}/{repository}:1"] = item
        fleet = Fleet(Registry(service), items)
        fleet.fetched()
        yield fleet


@pytest.fixture(name="runtime", scope="module")
def fixture_runtime(workspace: Path) -> Iterator[services.Service]:
    need_programs("containerd", "ctr")
    with services.containerd(workspace / "lc") as service:
        yield service


@pytest.fixture(name="docker", scope="module", params=["docker_host", "docker_containerd"])
def fixture_docker(request: pytest.FixtureRequest) -> Iterator[Docker]:
    """A daemon that starts without images."""
    docker: Docker = request.getfixturevalue(request.param)
    docker.clear()
    yield docker
    docker.clear()


def options_of(store: Path, docker: Docker) -> dict[str, Any]:
    where = {"store": os.fspath(store), "platform": "linux/amd64"}
    return {**docker.options, **where, "source": "registry"}


def id_of(item: images.Image, docker: Docker) -> str:
    """Return the id that an image has in Docker."""
    return item.digest if docker.store == "containerd" else item.config_digest


def staged(store: Path) -> dict[str, int]:
    """Return the bytes of every blob in the store, also of incomplete ones, by the digits of its digest."""
    found = {}
    for directory, _directories, names in os.walk(store):
        for name in names:
            digits = name.removeprefix("sha256-").removesuffix(".part")
            if len(digits) == 64:
                with contextlib.suppress(FileNotFoundError):
                    found[digits] = os.path.getsize(os.path.join(directory, name))
    return found


class Peak(threading.Thread):
    """Samples the bytes of blobs in a store until it is stopped; ``most`` is the most that was there at the same time."""

    def __init__(self, store: Path) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._over = threading.Event()
        self.most = 0
        self.samples = 0

    def run(self) -> None:
        last: dict[str, int] = {}
        while not self._over.wait(0.003):
            now = staged(self._store)
            # Files come and go while they are counted. What two samples in a row have was there between them.
            both = sum(min(last[digits], now[digits]) for digits in last.keys() & now.keys())
            self.most = max(self.most, both)
            last = now
            self.samples += 1

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()


def kill_when(is_due: Callable[[], bool], **options: Any) -> None:
    """Start image_load, and kill it without warning as soon as a condition holds."""
    process = modules.start("image_load", **options)
    deadline = time.monotonic() + 120
    while not is_due():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_100_images_reach_docker_although_the_task_is_killed_at_half(
    fleet: Fleet, docker: Docker, directory: Path
) -> None:
    store, total = directory / "store", sum(fleet.sizes)
    options = dict(options_of(store, docker), name=list(fleet.items))
    promised = modules.run("image_load", check=True, **options).result
    assert not store.exists()
    assert len(promised["actions"]) == COUNT
    fleet.fetched()
    log, start = fleet.registry.service.log_text, len(fleet.registry.service.log_text())

    def is_half() -> bool:
        return sum(one.size for one in accesses(log()[start:]) if "/blobs/" in one.path) > total / 2

    kill_when(is_half, **options)
    first = fleet.fetched()
    assert total * 0.4 < first < total * 0.75
    assert staged(store)
    with Peak(store) as peak:
        result = modules.run("image_load", **options).result
    second = fleet.fetched()
    assert second <= total * 0.55
    assert result["stats"]["registry"]["bytes_fetched"] == pytest.approx(second, rel=0.05)
    assert peak.samples > 20
    assert 0 < peak.most <= sum(fleet.sizes[:WINDOW])
    assert docker.names() == {name: id_of(item, docker) for name, item in fleet.items.items()}
    assert staged(store) == {}


@pytest.mark.parametrize("way", ["tags", "lock"])
def test_converged_run_costs_a_head_for_each_tag_and_nothing_with_a_lock(
    fleet: Fleet, docker: Docker, directory: Path, way: str
) -> None:
    what = {"lock": fleet.lock()} if way == "lock" else {"name": list(fleet.items)}
    options = dict(options_of(directory / "store", docker), **what)
    # The first run reads which configuration belongs to which digest.
    modules.run("image_load", **options)
    before = len(fleet.registry.requests())
    result = modules.run("image_load", **options).result
    requests = [line.split()[0] for line in fleet.registry.requests()[before:]]
    assert result["changed"] is False
    assert requests == (["HEAD"] * COUNT if way == "tags" else [])
    assert result["stats"]["requests"] <= 3
    assert result["stats"]["bytes_sent"] == 0
    assert {one["status"] for one in result["images"]} == {"present"}


def test_only_the_changed_layer_of_one_image_is_fetched(
    fleet: Fleet, docker: Docker, directory: Path
) -> None:
    name, item = next(iter(fleet.items.items()))
    own = images.layer({"own": noise(7, 5000)})
    newer = images.image([item.layers[0], own])
    repository, tag = name.split("/", 1)[1].rsplit(":", 1)
    options = dict(options_of(directory / "store", docker), name=list(fleet.items))
    modules.run("image_load", **options)
    images.upload(fleet.registry.service.url, repository, newer, tag)
    before = len(fleet.registry.requests())
    result = modules.run("image_load", **options).result
    try:
        got = [line for line in fleet.registry.requests()[before:] if "/blobs/" in line]
        assert sorted(line.rsplit("/")[-1] for line in got) == sorted(
            [newer.config_digest, own.digest]
        )
        assert [one["status"] for one in result["images"]] == ["moved"] + ["present"] * 99
        assert docker.names()[name] == id_of(newer, docker)
        assert staged(directory / "store") == {}
    finally:
        images.upload(fleet.registry.service.url, repository, item, tag)


@pytest.mark.parametrize("engine", ["containerd", "podman"])
def test_other_engines_take_images_from_registries(
    fleet: Fleet, runtime: services.Service, workspace: Path, directory: Path, engine: str
) -> None:
    lock = fleet.lock()
    lock["images"] = lock["images"][:5]
    store = directory / "store"
    options = {"store": os.fspath(store), "engine": engine, "source": "registry", "lock": lock}
    options.update(platform="linux/amd64")
    if engine == "containerd":
        options.update(socket=runtime.address)
        assert_converges(fleet, store, options, None)
    else:
        need_programs("podman")
        with services.podman_env(directory / "p") as env:
            assert_converges(fleet, store, options, env)


def assert_converges(
    fleet: Fleet, store: Path, options: dict[str, Any], env: dict[str, str] | None
) -> None:
    """Check that the first run loads, and that the second one asks no registry."""
    first = modules.run("image_load", env=env, **options)
    assert not first.failed, first.result
    assert {one["status"] for one in first.result["images"]} == {"loaded"}
    assert staged(store) == {}
    before = len(fleet.registry.requests())
    second = modules.run("image_load", env=env, **options).result
    assert second["changed"] is False
    assert len(fleet.registry.requests()) == before
    assert second["stats"]["processes"] <= 3


def one_image(registry: FakeRegistry, size: int) -> tuple[str, images.Image]:
    item = images.image([images.layer({"large": noise(size, size)})])
    images.upload(registry.url, "slow/app", item, "1")
    return f"{registry.address}/slow/app:1", item


def test_download_that_breaks_off_is_resumed_while_docker_waits(
    docker: Docker, directory: Path
) -> None:
    with FakeRegistry() as registry:
        name, item = one_image(registry, 3 * 1024 * 1024)
        digest, size = item.layers[0].digest, len(item.layers[0].blob)
        registry.faults.append(Fault(path=digest, reset_at=500_000, times=3))
        options = options_of(directory / "store", docker)
        result = modules.run("image_load", name=[name], **options).result
        asked = [one for one in registry.requests if one.method == "GET" and digest in one.path]
    assert [one["status"] for one in result["images"]] == ["loaded"]
    assert len(asked) == 4
    assert result["stats"]["registry"]["bytes_fetched"] < size * 1.1
    assert docker.names()[name] == id_of(item, docker)


def test_registry_that_lost_a_layer_is_the_error_and_docker_is_as_before(
    docker: Docker, directory: Path
) -> None:
    with FakeRegistry() as registry:
        name, item = one_image(registry, 200_000)
        registry.faults.append(Fault(path=item.layers[0].digest, status=404, times=None))
        before = docker.names()
        outcome = modules.run("image_load", name=[name], **options_of(directory / "store", docker))
        after = docker.names()
    assert outcome.kind == "not-found"
    assert item.layers[0].digest in outcome.result["msg"]
    assert before == after


@pytest.mark.parametrize("engine", ["containerd", "podman"])
def test_time_limit_of_an_engine_does_not_count_the_download(
    runtime: services.Service, directory: Path, engine: str
) -> None:
    with FakeRegistry() as registry, services.podman_env(directory / "p") as env:
        name, item = one_image(registry, 1024 * 1024)
        registry.faults.append(Fault(path=item.layers[0].digest, drip=200_000))  # 5 seconds
        options = {"engine": engine, "source": "registry", "platform": "linux/amd64"}
        if engine == "containerd":
            options.update(socket=runtime.address)
        outcome = modules.run(
            "image_load",
            env=env,
            name=[name],
            store=os.fspath(directory / "store"),
            timeout_total=3,
            **options,
        )
    assert not outcome.failed, outcome.result
