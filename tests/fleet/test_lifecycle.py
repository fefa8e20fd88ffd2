# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook lifecycle with the example of the documentation: releases that succeed, and one that goes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support.docker import Docker
from ansible_collections.lockstep.images.tests.support.example import (
    PAGE,
    unit_of_web,
)
from ansible_collections.lockstep.images.tests.support.fleet import Registry, need, need_programs
from ansible_collections.lockstep.images.tests.support.lifecycle import (
    TOKEN,
    Project,
    four_releases,
    new_project,
)
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner
from ansible_collections.lockstep.images.tests.support.services_process import (
    unmount_below,
)

HERE = Path(os.path.abspath(__file__)).parents[1]
SYSTEMCTL = HERE / "support" / "fakesystemctl.py"


@pytest.fixture(name="project")
def fixture_project(directory: Path, play: PlayRunner, registry_plain: Registry) -> Project:
    """Copy the example. Its images, addresses and directories are of this test only."""
    need_programs("busybox")
    return new_project(directory, play, registry_plain.address)


@pytest.fixture(name="with_compose")
def fixture_with_compose() -> None:
    """Require the plugin compose and community.docker, which ./dev fleet unpacks."""
    if not os.environ.get("LOCKSTEP_TEST_COMPOSE") or not os.environ.get(
        "LOCKSTEP_TEST_COLLECTIONS"
    ):
        need("LOCKSTEP_TEST_COMPOSE and LOCKSTEP_TEST_COLLECTIONS name no compose")


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


def test_container_of_another_image_fails_the_release(
    compose: Project, docker_host: Docker
) -> None:
    """A variable of compose can name an image that the lock file does not have."""
    compose.release().ok()
    name = f"{compose.registry}/shop/web:stable"
    docker_host("image", "tag", name, "example.com/other:1")
    compose.edit("compose.yml", (f"image: {name}", "image: ${WEB_IMAGE:-example.com/other:1}"))
    failed = compose.release()
    assert failed.returncode == 2, failed.output
    assert "example.com/other:1 runs sha256:" in failed.output
    assert "which is not what images.lock.yml locks under that name" in failed.output


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
