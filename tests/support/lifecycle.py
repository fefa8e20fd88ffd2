# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example of the life cycle as a project that is released four times."""

from __future__ import annotations

import os
import sys
import typing as t
import urllib.request
from pathlib import Path

import yaml

from . import images
from .example import Example, base_image
from .playbook import PlayResult, PlayRunner
from .services_process import free_port

TOKEN = "5ec7e75ec7e7"  # in a header of a request, and in no output


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


def new_project(directory: Path, play: PlayRunner, registry: str) -> Project:
    """Copy the example into a directory, and push its base image."""
    images.upload(f"http://{registry}", "lifecycle/busybox", base_image(), "1.37")
    # Nothing else listens on this address, so the ports cannot be taken.
    number = os.getpid()
    page = f"127.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}:{free_port()}"
    names = (
        f"{registry}/{directory.name}",
        f"{registry}/lifecycle/busybox",
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
