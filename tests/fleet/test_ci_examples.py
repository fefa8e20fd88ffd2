# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of docs/examples/ci, as their files have them, with a real Docker and a registry that limits each connection.

A runner is simulated: a workspace with the files of the repository, a Docker daemon without images, and a cache, which
is a tar archive compressed with zstd, as GitHub keeps it. LOCKSTEP_TEST_CI_MB sets the size of all images together, for
the numbers in docs/ci.md.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import images
from ansible_collections.lockstep.images.tests.support.ciexamples import EXAMPLES, JOBS, Job
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need_programs
from ansible_collections.lockstep.images.tests.support.nginx import Front, nginx

SIZE = int(float(os.environ.get("LOCKSTEP_TEST_CI_MB", "8")) * 1e6)
COUNT = 5
RATE = "20m"
PAGE = EXAMPLES.parents[1] / "ci.md"


@dataclass
class Runner:
    """A machine for jobs: each run begins with a new workspace."""

    directory: Path
    docker: Docker
    front: Front
    environment: dict[str, str]
    lock: Path
    image: str
    seconds: float = 0.0

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    def job(self, name: str) -> Job:
        return JOBS[name](self.workspace)

    def check_out(self) -> None:
        """Provide the files of the repository, and nothing of an earlier job."""
        shutil.rmtree(self.workspace, ignore_errors=True)
        shutil.copytree(EXAMPLES, self.workspace)
        shutil.copy(self.lock, self.workspace / "images.lock.yml")
        shutil.copytree(self.lock.with_suffix(".d"), self.workspace / "images.lock.d")

    def run(self, job: Job, *commands: str) -> list[Any]:
        """Run the commands of a job, or others in its place. Return the requests that reached the registry."""
        after = self.front.last_connection()
        started = time.monotonic()
        env = {**self.environment, **job.variables, "IMAGE": self.image}
        env["DOCKER_HOST"] = f"unix://{self.docker.address}"
        for command in commands or job.commands:
            done = subprocess.run(
                ["bash", "-e", "-c", command],
                cwd=self.workspace,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        self.seconds = round(time.monotonic() - started, 1)
        # Clients try TLS first, which nginx logs without a method.
        return [one for one in self.front.passed(after) if one.method]


@pytest.fixture(name="content", scope="module")
def fixture_content() -> list[images.Image]:
    """Return images that share a base and compress to about half, as real images do. The first one can be run."""
    noise = random.Random(1)

    def made(name: str, size: int, **more: bytes) -> images.Layer:
        return images.layer({"srv/": b"", f"srv/{name}": noise.randbytes(size).hex().encode()})

    config = {"config": {"Cmd": ["/bin/busybox", "echo", "served"]}}
    busybox = images.layer({"bin/": b"", "bin/busybox": Path("/bin/busybox").read_bytes()})
    base = made("base", SIZE * 4 // 10)
    own = SIZE * 6 // 10 // (2 * COUNT)
    return [
        images.image([busybox, base, made(f"a{n}", own), made(f"b{n}", own)], config=config)
        for n in range(COUNT + 1)
    ]


@pytest.fixture(name="runner", scope="module")
def fixture_runner(
    workspace: Path,
    collection_env: dict[str, str],
    registry_plain: Registry,
    docker_host: Docker,
    content: list[images.Image],
) -> Iterator[Runner]:
    """Provide a runner whose registry gives each connection 20 MB/s, and the lock file of all images."""
    need_programs("nginx", "zstd")
    directory = workspace / "ci"
    programs = directory / "bin"
    programs.mkdir(parents=True)
    # What these install is here already.
    for name in ("pip", "ansible-galaxy"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} $* >> {directory}/installed\n")
        (programs / name).chmod(0o755)
    with nginx(
        directory / "nginx", registry_plain.service.url, f"limit_rate {RATE}; proxy_buffers 8 32k;"
    ) as front:
        for number, one in enumerate(content[:COUNT]):
            images.upload(registry_plain.service.url, f"ci/app{number}", one, "1")
        names = [f"{front.address}/ci/app{number}:1" for number in range(COUNT)]
        path = os.pathsep.join([os.fspath(programs), collection_env["PATH"]])
        environment = {**collection_env, "PATH": path}
        del environment["ANSIBLE_CALLBACKS_ENABLED"]  # it needs a file for each run
        lock = directory / "images.lock.yml"
        runner = Runner(directory, docker_host, front, environment, lock, names[0])
        _lock(runner, names)
        yield runner
    docker_host.clear()


def _lock(runner: Runner, names: list[str]) -> None:
    """Write the lock file with the command of the page."""
    (command,) = re.findall(
        r"^```shell\n(ansible-playbook -i localhost, .*?)^```$",
        PAGE.read_text(encoding="utf-8"),
        re.M | re.S,
    )
    listed = ", ".join(f'"{name}"' for name in names)
    command = command.replace('"docker.io/library/hello-world:linux"', listed)
    assert names[0] in command
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=runner.directory,
        env=runner.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _bytes(requests: list[Any]) -> int:
    return sum(one.sent for one in requests if "/blobs/" in one.path)


def test_job_with_a_restored_store_asks_no_registry(
    runner: Runner, content: list[images.Image], record_property: Any
) -> None:
    job = runner.job("github-actions.yml")
    archive = runner.directory / "cache.tar.zst"
    runner.docker.clear()
    runner.check_out()
    taken = {}
    cold = runner.run(job)
    taken["without a cache"] = runner.seconds
    blobs = {one.digest: len(one.blob) for item in content[:COUNT] for one in item.layers}
    assert sum(blobs.values()) <= _bytes(cold) <= 1.01 * sum(blobs.values()) + 20_000

    # The service of the cache, then another machine.
    runner.run(job, f"tar --create {job.cache} | zstd -q -T0 --force -o {archive}")
    taken["save"] = runner.seconds
    runner.docker.clear()
    runner.check_out()
    runner.run(job, f"zstd -q -d --stdout {archive} | tar --extract")
    taken["restore"] = runner.seconds
    assert runner.run(job) == []
    taken["with a cache"] = runner.seconds
    assert set(runner.docker.names()) == {
        f"{runner.front.address}/ci/app{number}:1" for number in range(COUNT)
    }
    record_property("seconds", taken)
    print("seconds:", taken, "bytes:", sum(blobs.values()), "archive:", archive.stat().st_size)

    # Somebody changed a layer in the cache.
    digest = content[1].layers[-1].digest
    blob = runner.workspace / ".images" / "blobs" / digest.replace(":", "/")
    blob.chmod(0o644)
    blob.write_bytes(bytes(blob.stat().st_size))
    runner.docker.clear()
    assert {one.path.rpartition("/")[2] for one in runner.run(job)} == {digest}


def test_new_lock_file_fetches_only_what_changed(
    runner: Runner, content: list[images.Image], registry_plain: Registry
) -> None:
    job = runner.job("gitlab-ci.yml")
    runner.docker.clear()
    runner.check_out()
    runner.run(job)
    images.upload(registry_plain.service.url, f"ci/app{COUNT - 1}", content[COUNT], "2")
    names = [f"{runner.front.address}/ci/app{number}:1" for number in range(COUNT - 1)]
    _lock(runner, [*names, f"{runner.front.address}/ci/app{COUNT - 1}:2"])
    shutil.copy(runner.lock, runner.workspace / "images.lock.yml")
    shutil.rmtree(runner.workspace / "images.lock.d")
    shutil.copytree(runner.lock.with_suffix(".d"), runner.workspace / "images.lock.d")
    asked = runner.run(job)
    new = {one.digest for one in content[COUNT].layers[2:]} | {content[COUNT].config_digest}
    assert {one.path.rpartition("/")[2] for one in asked} == new
    store = runner.workspace / ".images" / "blobs" / "sha256"
    gone = content[COUNT - 1].layers[-1].digest.partition(":")[2]
    assert not (store / gone).exists(), "the cache would grow with every lock file"


def test_second_build_on_an_agent_changes_nothing(runner: Runner) -> None:
    job = runner.job("Jenkinsfile")
    runner.docker.clear()
    shutil.rmtree(runner.directory / "home", ignore_errors=True)
    runner.check_out()
    assert _bytes(runner.run(job)) > 0
    runner.check_out()
    assert runner.run(job) == []
    print("seconds of the second build:", runner.seconds)


def test_docker_pull_in_the_job_asks_for_every_image_each_time(
    runner: Runner, record_property: Any
) -> None:
    """The numbers beside those of the other tests: what a job costs that pulls its images itself."""
    job = runner.job("github-actions.yml")
    runner.docker.clear()
    runner.check_out()
    pulls = [
        f"docker pull --quiet {name}"
        for name in re.findall(r"name: (\S+)", runner.lock.read_text())
    ]
    taken = {}
    for turn in ("first", "again"):
        asked = runner.run(job, *pulls)
        assert sum("/manifests/" in one.path for one in asked) >= COUNT
        taken[turn] = runner.seconds
    record_property("seconds", taken)
    print("seconds of docker pull:", taken)
