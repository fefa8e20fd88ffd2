# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tools that copy the tags of a repository between registries: this collection, and skopeo."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Protocol, Union

from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.images import demo_image, upload
from ansible_collections.lockstep.images.tests.support.services_process import (
    Service,
    ServiceError,
    missing_programs,
    program,
    run,
)

from .by_ansible import Alone, Play
from .lab import Lab
from .measure import Traffic, Usage, Watch, metered
from .peers import TIMEOUT
from .tables import Cell, Row, usage_cells, with_ratios

MODULE = "image_copy"
TAGS = 100
AGAIN = ", again"
REPOSITORY = "bench/many"
LAYER_SIZE = 100_000


@dataclass(frozen=True)
class Tagged:
    """A repository with many tags in a registry, and the digest of each tag."""

    registry: Service
    digests: dict[str, str]
    cafile: str | None = None  # of the registries, if they use TLS

    @property
    def name(self) -> str:
        """The repository, as a client requests it."""
        return f"{self.registry.address}/{REPOSITORY}"

    def check(self, target: Service, repository: str) -> None:
        """Raise ServiceError unless the target has every tag with its digest."""
        for tag, digest in self.digests.items():
            found = layout.read_served_manifest(
                target.url, repository, tag, cafile=self.cafile
            ).digest
            if found != digest:
                raise ServiceError(f"{target.address}/{repository}:{tag} is {found}, not {digest}")


def publish_tags(registry: Service, count: int) -> Tagged:
    """Push `count` versions of an image. They share two of the three layers of each platform."""
    digests = {}
    for number in range(count):
        image = demo_image("many", str(number), size=LAYER_SIZE)
        upload(registry.url, REPOSITORY, image, f"1.{number}")
        digests[f"1.{number}"] = image.digest
    return Tagged(registry, digests)


class Copier(Protocol):
    """A tool that copies all tags of a repository."""

    label: str
    repository: str  # in the destination

    def copy(self, source: Tagged, target: Service) -> Usage:
        """Copy all tags; raise an exception if one fails."""


class Ours:
    """One run of `image_copy`."""

    repository = REPOSITORY

    def __init__(self, label: str, runner: Union[Play, Alone]) -> None:
        self.label, self._runner = label, runner

    def copy(self, source: Tagged, target: Service) -> Usage:
        """Copy all tags in one task."""
        return self._runner.run(name=[source.name], all_tags=True, destination=target.address)


class Skopeo:
    """One or many processes of skopeo."""

    def __init__(
        self,
        label: str,
        directory: Path,
        repository: str,
        commands: Callable[[Tagged, Service], list[list[str]]],
    ) -> None:
        self.label, self.repository = label, repository
        self._directory, self._commands = directory, commands

    def copy(self, source: Tagged, target: Service) -> Usage:
        """Copy all tags, with the processes in turn."""
        commands = self._commands(source, target)
        script = "\n".join(shlex.join(command) for command in commands)
        with metered(self._directory) as meter:
            run([*meter.launcher, "sh", "-ec", script], timeout=TIMEOUT)
        return meter.usage


def copiers(directory: Path) -> list[Copier]:
    """Return our tools and their peers."""
    task = Ours("image_copy, the task", Play(directory / "task", MODULE))
    return [task, module_alone(directory), *peers_of_copy(directory)]


def module_alone(directory: Path, **given: str) -> Copier:
    """Return the module without Ansible; `given` are options of every run."""
    return Ours("image_copy, the module alone", Alone(directory / "module", MODULE, **given))


def peers_of_copy(directory: Path) -> list[Copier]:
    """Return skopeo in two ways, if it is installed."""
    if missing_programs("skopeo"):
        return []
    return [
        Skopeo("skopeo sync --all", directory, REPOSITORY.rpartition("/")[2], _sync),
        Skopeo("skopeo copy --all, in a shell loop", directory, REPOSITORY, _copies),
    ]


_PLAIN = ["--src-tls-verify=false", "--dest-tls-verify=false"]


def _sync(source: Tagged, target: Service) -> list[list[str]]:
    sync = [program("skopeo"), "sync", "--all", *_PLAIN, "--src", "docker", "--dest", "docker"]
    return [[*sync, source.name, target.address]]


def _copies(source: Tagged, target: Service) -> list[list[str]]:
    copy = [program("skopeo"), "copy", "--quiet", "--all", *_PLAIN]
    place = f"docker://{target.address}/{REPOSITORY}"
    return [[*copy, f"docker://{source.name}:{tag}", f"{place}:{tag}"] for tag in source.digests]


def asked(traffic: Sequence[Traffic]) -> dict[str, Cell]:
    """Count the requests to all registries together."""
    every = [one for part in traffic for one in part.requests]
    manifests = [one for one in every if one.method == "GET" and "/manifests/" in one.path]
    blobs = [one for one in every if "/blobs/" in one.path]
    return {
        "requests": len(every),
        "manifest_gets": len(manifests),
        "blob_requests": len(blobs),
    }


def compare_copies(
    lab: Lab,
    tools: Sequence[Copier],
    source: Tagged,
    open_target: Callable[[Path], AbstractContextManager[Service]],
    patience: float = math.inf,
) -> list[Row]:
    """Return the medians of copying all tags to a new registry, and again. `patience` is as in `compare`."""
    usages: dict[tuple[str, str], list[Usage]] = {}
    counted: dict[tuple[str, str], Mapping[str, Cell]] = {}
    for number in range(lab.runs):
        for place, tool in enumerate(tools):
            if any(one.seconds > patience for one in usages.get((tool.label, ""), ())):
                continue
            # A new registry for each run: it is empty, and no tool has cached anything of it.
            with open_target(lab.directory / f"target-{number}-{place}") as target:
                watches = [Watch(source.registry), Watch(target)]
                for when in ("", AGAIN):
                    for watch in watches:
                        watch.begin()
                    usages.setdefault((tool.label, when), []).append(tool.copy(source, target))
                    counted[tool.label, when] = asked([watch.traffic() for watch in watches])
                source.check(target, tool.repository)
    rows = []
    for when in ("", AGAIN):
        part = [
            Row(tool.label + when, {**usage_cells(usages[key]), **counted[key]})
            for tool in tools
            for key in [(tool.label, when)]
        ]
        rows += with_ratios(part)
    return rows
