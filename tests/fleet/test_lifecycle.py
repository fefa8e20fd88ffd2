# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook lifecycle with the example of the documentation: releases that succeed, and one that goes back."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.tests.support import images
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.example import (
    PAGE,
    Example,
    base_image,
    unit_of_web,
)
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need_programs
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, PlayRunner
from ansible_collections.lockstep.images.tests.support.services_process import (
    free_port,
    unmount_below,
)

HERE = Path(os.path.abspath(__file__)).parents[1]
TOKEN = "5ec7e75ec7e7"  # in a header of a request, and in no output
SYSTEMCTL = HERE / "support" / "fakesystemctl.py"


class Project(Example):
    """A copy of the example, whose services listen on an address of their own."""

    def __init__(self, path: Path, play: PlayRunner, registry: str, base: str, page: str) -> None:
        super().__init__(path, registry, base, page, f"{page.rpartition(':')[0]}:{free_port()}")
        self.play, self.registry, self.url = play, registry, f"http://{page}/"
        self.environment: dict[str, str] = {}

    def release(self, check: bool = False, **variables: t.Any) -> PlayResult:
        """Run the playbook in the directory of the project."""
        return self.play(
            "lockstep.images.lifecycle",
            self.path / "inventory.yml",
            variables,
            check=check,
            environment=self.environment,
            cwd=self.path,
        )

    def page(self) -> str:
        """Return the page of the service web."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.url, timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def lock(self, name: str = "images.lock.yml") -> dict[str, set[str]]:
        """Return the digests of each image in a lock file, and of its configuration, by the name of its service."""
        found = {}
        for one in yaml.safe_load((self.path / name).read_text())["images"]:
            (only,) = one["platforms"].values()
            service = one["name"].rpartition("/")[2].partition(":")[0]
            found[service] = {one["digest"], only["config"]}
        return found


@pytest.fixture(name="project")
def fixture_project(directory: Path, play: PlayRunner, registry_plain: Registry) -> Project:
    """Copy the example. Its images, addresses and directories are of this test only."""
    need_programs("busybox")
    images.upload(registry_plain.service.url, "lifecycle/busybox", base_image(), "1.37")
    # Nothing else listens on this address, so the ports cannot be taken.
    number = os.getpid()
    page = f"127.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}:{free_port()}"
    names = (
        f"{registry_plain.address}/{directory.name}",
        f"{registry_plain.address}/lifecycle/busybox",
    )
    project = Project(directory / "shop", play, *names, page)
    project.set(
        ansible_python_interpreter=sys.executable,
        ansible_remote_tmp=os.fspath(directory / "remote"),
        release_store_path=os.fspath(directory / "builds"),
        release_compose_path=os.fspath(directory / "compose"),
        store_path=os.fspath(directory / "store"),
    )
    return project


def four_releases(project: Project, image_of: t.Callable[[str], str]) -> None:
    """Release version 1 twice, version 2 whose test fails, and version 3. ``image_of`` returns what runs, by name."""
    project.release().ok()
    first = project.lock()
    assert "version 1" in project.page()
    again = project.release().ok()
    assert again.changed == 0, again.output

    project.edit("web/public/index.html", ("The shop, version 1", "Under construction"))
    failed = project.release()
    assert failed.returncode == 2, failed.output
    assert "expected the content The shop" in failed.output and TOKEN not in failed.output
    assert "The host is back on the last release" in failed.output
    assert "version 1" in project.page()
    assert project.lock() == first == project.lock("images.lock.released.yml")
    assert project.lock("images.lock.failed.yml")["web"] != first["web"]
    assert image_of("web") in first["web"]

    project.edit("web/public/index.html", ("Under construction", "The shop, version 3"))
    project.release().ok()
    assert "version 3" in project.page()
    assert image_of("web") in project.lock()["web"] - first["web"]


@pytest.fixture(name="with_compose")
def fixture_with_compose() -> None:
    """Skip the test without the plugin compose and community.docker, which ./dev fleet unpacks."""
    if not os.environ.get("LOCKSTEP_TEST_COMPOSE") or not os.environ.get(
        "LOCKSTEP_TEST_COLLECTIONS"
    ):
        pytest.skip("LOCKSTEP_TEST_COMPOSE and LOCKSTEP_TEST_COLLECTIONS name no compose")


@pytest.fixture(name="compose")
def fixture_compose(
    with_compose: None, project: Project, docker_host: Docker, directory: Path
) -> Iterator[Project]:
    """The project on Docker, with the plugin and the collection that Debian 12 does not have."""
    plugin = os.environ["LOCKSTEP_TEST_COMPOSE"]
    collections = os.environ["LOCKSTEP_TEST_COLLECTIONS"]
    plugins = directory / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(plugin)
    path = os.pathsep.join([project.play.environment["ANSIBLE_COLLECTIONS_PATH"], collections])
    project.environment.update(
        ANSIBLE_COLLECTIONS_PATH=path, DOCKER_CONFIG=os.fspath(plugins.parent)
    )
    project.set(store_engine_socket=docker_host.address)
    yield project
    docker_host.clear()


def test_release_with_compose_goes_back(
    compose: Project, docker_host: Docker, directory: Path
) -> None:
    def image_of(service: str) -> str:
        name = docker_host("container", "inspect", f"shop-{service}-1", "--format", "{{.Image}}")
        return name.strip()

    four_releases(compose, image_of)
    assert (directory / "compose" / "compose.yml").stat().st_mode & 0o777 == 0o600


@pytest.fixture(name="units")
def fixture_units(project: Project, directory: Path) -> Iterator[Project]:
    """Run the service web on a host without an engine, by a systemctl that runs commands in their roots."""
    need_programs("chroot")
    for name in ("bin", "units"):
        (directory / name).mkdir()
    fake = directory / "bin" / "systemctl"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} {SYSTEMCTL} {directory / "units"} "$@"\n')
    fake.chmod(0o755)
    (directory / "units" / "chroot").touch()
    path = os.pathsep.join([os.fspath(fake.parent), project.play.environment["PATH"]])
    project.environment.update(PATH=path)
    smoke = {"url": project.url, "content": PAGE, "headers": {"X-Token": TOKEN}}
    project.set(
        release_up="unit",
        release_smoke=[smoke],
        store_engine="none",
        runtime_services=[unit_of_web(project.registry)],
        runtime_store_path=os.fspath(directory / "store"),
        runtime_trees_path=os.fspath(directory / "trees"),
        runtime_unit_path=os.fspath(directory / "units"),
        runtime_quadlet_path=os.fspath(directory / "units" / "quadlets"),
    )
    yield project
    subprocess.run([fake, "stop", "shop-web.service"], check=True, timeout=60)
    unmount_below(directory)


def test_release_without_an_engine_goes_back(units: Project, directory: Path) -> None:
    def image_of(service: str) -> str:
        unit = (directory / "units" / f"shop-{service}.service").read_text()
        return unit.partition("# Image: ")[2].split()[1]

    four_releases(units, image_of)
