# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of a container engine: many images into Docker, and again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.services_process import (
    ServiceError,
    program,
    run,
)

from . import peers
from .by_ansible import PEER_LOAD, DockerLoop, Play, lock_file
from .content import BASES, RUNTIMES, Published, publish_related, publish_small
from .lab import Lab, anew, compare
from .measure import Usage, Watch
from .peers import Command, Tool
from .tables import Cell, Row, Table

IMAGES = 100
GOES = 3  # runs in each turn if all content is in place
REGISTRY, STORE = "registry", "store"


class LoadTask(Play):
    """One task of `image_load` for all images, into the daemon of `docker`."""

    def __init__(
        self, directory: Path, docker: Command, source: str, is_locked: bool = False
    ) -> None:
        super().__init__(directory, "image_load")
        how = "with a lock file" if is_locked else f"source: {source}"
        self.label = f"image_load, {how}"
        self.target = directory / "store"
        self.daemons = docker.daemons
        self.clear = docker.clear
        self._source, self._is_locked = source, is_locked
        self._socket = docker.environment["DOCKER_HOST"]

    def pull(self, images: Sequence[Published]) -> Usage:
        """Load all images in one task."""
        names = [image.name for image in images]
        what: dict[str, object] = {"name": names}
        if self._is_locked:
            path = lock_file(self.directory, images)
            what = {"lock": f"{{{{ lookup('lockstep.images.lock', '{path}') }}}}"}
        if self._source == STORE and not self.target.exists():
            done = modules.run("image_pull", name=names, store=os.fspath(self.target))
            if done.failed:
                raise ServiceError(f"image_pull: {done.result}")
        options = {"engine": "docker", "socket": self._socket, "source": self._source}
        return self.run(store=os.fspath(self.target), **options, **what)


def load(lab: Lab) -> Table:
    """Bring many small images to Docker, and again when they are in place."""
    images = publish_small(lab.registry, IMAGES)
    related = publish_related(lab.registry, IMAGES)
    with peers.docker(lab.directory / "docker") as docker:
        pulls = _loop(lab, docker, "pulls")
        fresh: list[Tool] = [LoadTask(lab.directory / "fresh", docker, REGISTRY), pulls]
        rows = _named(compare(fresh, lab.runs, anew(related)), "fresh, on common bases")
        rows += _named(compare(fresh, lab.runs, anew(images)), "fresh, no layer in common")
        archives = _saved(lab.directory / "archives", docker, images)
        converged: list[Tool] = [
            LoadTask(lab.directory / "registry", docker, REGISTRY),
            LoadTask(lab.directory / "locked", docker, REGISTRY, is_locked=True),
            LoadTask(lab.directory / "store", docker, STORE),
            pulls,
            _loop(
                lab,
                docker,
                "loads",
                label="docker_image_load, in a loop",
                module=PEER_LOAD,
                option="path",
                item=lambda image: archives[image.name],
            ),
        ]
        rows += _named(_converged(lab, converged, images), "in place")
    text = f"""\
{IMAGES} images with three layers of a few kilobytes, from a registry on the same machine into a private dockerd. "On common
bases" means that they have {BASES} different base layers, {RUNTIMES} different layers on these, and {IMAGES} of their own: {BASES + RUNTIMES + IMAGES} layers.
In the other states no two images have a layer in common: {3 * IMAGES} layers. `image_load` loads all images in one task, and
keeps no copy with `source: registry`. `docker_image_pull` and `docker_image_load` run in a loop. Processor seconds are
those of Ansible, the module and the daemon. Docker 20.10 starts a process for each layer that it unpacks, which takes
most of the time of `image_load`. Ratios refer to the first row of the same state."""
    return Table("load", "Bring many small images to Docker", text, rows, lab.runs)


def _loop(lab: Lab, docker: Command, name: str, **how: object) -> DockerLoop:
    place = lab.directory / name
    clear = docker.clear
    return DockerLoop(place, lab.cache, docker.environment, docker.daemons, clear, **how)  # type: ignore[arg-type]


def _saved(directory: Path, docker: Command, images: Sequence[Published]) -> dict[str, str]:
    """Pull all images into Docker, and return an archive of each, by its name."""
    directory.mkdir()
    docker.pull(images)
    archives = {image.name: f"{directory}/{number}.tar" for number, image in enumerate(images)}
    for name, path in archives.items():
        run([program("docker"), "image", "save", "-o", path, name], env=docker.environment)
    return archives


def _converged(lab: Lab, tools: Sequence[Tool], images: Sequence[Published]) -> list[Row]:
    """Return the rows of runs with images that Docker has, and the requests of each to the registry."""
    watch = Watch(lab.registry)
    for tool in tools:
        if isinstance(tool, LoadTask):
            tool.pull(images)  # it remembers what it has read, or fills its store

    def pull(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
        watch.begin()
        usage = tool.pull(images)
        traffic = watch.traffic()
        if isinstance(tool, LoadTask) and tool.result["changed"]:
            raise ServiceError(f"{tool.label}: changed content that was in place")
        return usage, {"head": traffic.count("HEAD"), "get": traffic.count("GET")}

    return compare(tools, lab.runs, pull, GOES)


def _named(rows: Sequence[Row], state: str) -> list[Row]:
    return [Row(f"{row.label}, {state}", row.cells) for row in rows]
