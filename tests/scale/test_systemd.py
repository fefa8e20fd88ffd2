# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook lifecycle on a Debian 13 with systemd: quadlets of podman, and units without an engine, also after a reboot."""

from __future__ import annotations

import os
import time
import typing as t
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import machines
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.lifecycle import (
    TOKEN,
    Project,
    four_releases,
    new_project,
)
from ansible_collections.lockstep.images.tests.support.machines import Machine
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner
from ansible_collections.lockstep.images.tests.support.registry import Registry


@pytest.fixture(name="root", scope="module")
def fixture_root(workspace: Path) -> Path:
    """Install a machine."""
    need_programs("debootstrap", "unshare", "nsenter", "busybox")
    root = workspace / "trixie"
    machines.install(root)
    return root


@pytest.fixture(name="project")
def fixture_project(root: Path, directory: Path, play: PlayRunner) -> Iterator[Project]:
    """A copy of the example, on a registry of its own."""
    with Registry() as registry:
        project = new_project(directory, play, registry.address)
        project.set(ansible_remote_tmp=os.fspath(root / "remote"), store_path="/srv/images")
        yield project


def use(project: Project, machine: Machine, **variables: t.Any) -> None:
    """Let the project release to a machine."""
    python = os.fspath(machine.python(machine.root.parent))
    project.set(ansible_python_interpreter=python, **variables)


def containers(project: Project) -> list[dict[str, t.Any]]:
    """Return the services of the example."""
    name, network = f"{project.registry}/shop", ["host"]
    return [
        {
            "name": "shop-web",
            "image": f"{name}/web:stable",
            "network": network,
            "env": {"A": TOKEN},
        },
        {"name": "shop-api", "image": f"{name}/api:stable", "network": network},
    ]


def test_release_with_quadlets_goes_back(root: Path, project: Project) -> None:
    collections = os.environ.get("LOCKSTEP_TEST_COLLECTIONS")
    if not collections:
        pytest.skip("LOCKSTEP_TEST_COLLECTIONS has no containers.podman")
    path = [project.play.environment["ANSIBLE_COLLECTIONS_PATH"], collections]
    project.environment.update(ANSIBLE_COLLECTIONS_PATH=os.pathsep.join(path))
    with machines.booted(root) as machine:
        quadlets = {"release_up": "quadlet", "release_containers": containers(project)}
        use(project, machine, store_engine="podman", **quadlets)

        def image_of(service: str) -> str:
            inspect = ["podman", "container", "inspect", f"shop-{service}"]
            return f"sha256:{machine(*inspect, '--format', '{{.Image}}').strip()}"

        four_releases(project, image_of)
        assert TOKEN not in machine("journalctl", "--no-pager")
        machine("systemctl", "stop", "shop-web", "shop-api")
        machine("rm", "-r", "/etc/containers/systemd")


def test_release_without_an_engine_goes_back_and_is_there_after_a_reboot(
    root: Path, project: Project
) -> None:
    services = [
        {"name": one["name"], "image": one["image"], "upper": "discard"}
        for one in containers(project)
    ]
    with machines.booted(root) as machine:
        units = {"release_up": "unit", "runtime_store_path": "/srv/images"}
        use(project, machine, store_engine="none", runtime_services=services, **units)

        def image_of(service: str) -> str:
            unit = machine("cat", f"/etc/systemd/system/shop-{service}.service")
            return unit.partition("# Image: ")[2].split()[1]

        four_releases(project, image_of)
    with machines.booted(root) as machine:
        use(project, machine)
        assert "version 3" in page_in_a_while(project)
        assert project.release().ok().changed == 0


def page_in_a_while(project: Project) -> str:
    """Return the page of the service web once it answers."""
    for _attempt in range(100):
        try:
            return project.page()
        except urllib.error.URLError:
            time.sleep(0.1)
    return project.page()
