# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook lifecycle with the example of the documentation: releases that succeed, and one that goes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from ansible_collections.lockstep.images.tests.support import images
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need_programs
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, PlayRunner
from ansible_collections.lockstep.images.tests.support.services_process import (
    free_port,
    unmount_below,
)
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    directory,
    entry,
    hardlink,
)

HERE = Path(os.path.abspath(__file__)).parents[1]
EXAMPLE = HERE.parent / "docs" / "examples" / "lifecycle"
PAGE = "The shop, version [0-9]+"
TOKEN = "5ec7e75ec7e7"  # in a header of a request, and in no output
SYSTEMCTL = HERE / "support" / "fakesystemctl.py"


def base_image() -> images.Image:
    """Return an image of busybox with the programs that the example uses."""
    program = Path("/bin/busybox").read_bytes()
    tar = archive(
        directory("bin"),
        entry("bin/busybox", program, mode=0o755),
        *[hardlink(f"bin/{name}", "bin/busybox", mode=0o755) for name in ("sh", "httpd")],
    )
    found = images.Layer(tar, images.TYPES["tar"][0], *[images.digest_of(tar)] * 2, None)
    return images.image([found], config={"config": {"Env": ["PATH=/bin"]}}, history=False)


@dataclass
class Project:
    """A copy of the example, whose services listen on an address of their own."""

    path: Path
    play: PlayRunner
    address: str  # of the services, without a port
    port: int  # of the service web
    registry: str
    environment: dict[str, str] = field(default_factory=dict)

    def set(self, **variables: t.Any) -> None:
        """Add variables to the inventory."""
        with (self.path / "group_vars/all.yml").open("a") as file:
            file.writelines(f"{name}: {json.dumps(value)}\n" for name, value in variables.items())

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace text in a file of the project."""
        path = self.path / name
        text = path.read_text()
        for old, new in changes:
            assert old in text, f"{old} is not in {name}"
            text = text.replace(old, new)
        path.write_text(text)

    def release(self, check: bool = False, **variables: t.Any) -> PlayResult:
        """Run the playbook in the directory of the project."""
        return self.play(
            "lockstep.images.lifecycle",
            self.path / "inventory.yml",
            variables,
            check=check,
            environment=self.environment,
            launcher=["env", "-C", os.fspath(self.path)],
        )

    def page(self) -> str:
        """Return the page of the service web."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{self.address}:{self.port}/", timeout=60) as answer:
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
    need_programs("busybox", "env")
    project_path = directory / "shop"
    shutil.copytree(EXAMPLE, project_path)
    images.upload(registry_plain.service.url, "lifecycle/busybox", base_image(), "1.37")
    # Nothing else listens on this address, so the ports cannot be taken.
    number = os.getpid()
    address = f"127.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    registry = f"{registry_plain.address}/{directory.name}"
    project = Project(project_path, play, address, free_port(), registry)
    names = (
        ("docker.io/library/busybox", f"{registry_plain.address}/lifecycle/busybox"),
        ("localhost:5000", registry),
    )
    web, api = f"{address}:{project.port}", f"{address}:{free_port()}"
    project.edit("web/Dockerfile", names[0], ('"8080"', f'"{web}"'))
    project.edit("api/Dockerfile", names[0], ('"8081"', f'"{api}"'))
    ports = [(f'ports: ["{port}:{port}"]', "network_mode: host") for port in (8080, 8081)]
    project.edit("compose.yml", names[1], *ports)
    project.edit("group_vars/all.yml", names[1], ("localhost:8080", web), ("localhost:8081", api))
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
    """Skip the test without the plugin compose and community.docker; development.md describes how to get them."""
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


def test_release_with_compose_goes_back(compose: Project, docker_host: Docker) -> None:
    def image_of(service: str) -> str:
        name = docker_host("container", "inspect", f"shop-{service}-1", "--format", "{{.Image}}")
        return name.strip()

    four_releases(compose, image_of)


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
    web = {"name": "shop-web", "image": f"{project.registry}/shop/web:stable", "upper": "discard"}
    project.set(
        release_up="unit",
        release_smoke=[
            {
                "url": f"http://{project.address}:{project.port}/",
                "content": PAGE,
                "headers": {"X-Token": TOKEN},
            }
        ],
        store_engine="none",
        runtime_services=[{**web, "fstab": False}],
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
