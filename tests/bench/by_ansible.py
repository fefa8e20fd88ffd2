# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tools that run in Ansible: our modules, and loops of a module of `community.docker`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.playbook import (
    MeasuredPython,
    PlayResult,
    PlayRunner,
    collections_path,
    local_host,
    measured_python,
    one_task,
    private_environment,
)
from ansible_collections.lockstep.images.tests.support.services_process import ServiceError

from .content import Published
from .measure import Daemon, Usage, metered
from .peers import TIMEOUT

MODULE, SYNC = "image_pull", "image_sync"
PEER = "community.docker"
PEER_PULL = f"{PEER}.docker_image_pull"
PEER_LOAD = f"{PEER}.docker_image_load"
PEER_PARTS = ("community/docker/", "community/library_inventory_filtering_v1/")


class Play:
    """Run a module as the only task of `ansible-playbook` on this machine.

    Count the memory of the module's process, not that of `ansible-playbook`.
    """

    daemons: Sequence[Daemon] = ()

    def __init__(self, directory: Path, module: str) -> None:
        directory.mkdir(parents=True)
        self.directory, self.module = directory, module
        self.result: dict[str, Any] = {}
        self._play = PlayRunner(directory, private_environment(directory, collections()))
        self._python: MeasuredPython = measured_python(directory / "python")
        interpreter = os.fspath(self._python.interpreter)
        host = local_host(directory, ansible_python_interpreter=interpreter)
        self._inventory = self._play.inventory({"one": host})

    def run(self, **options: Any) -> Usage:
        """Run the module with these options and keep its result."""
        play = one_task(f"lockstep.images.{self.module}", **options)
        with metered(self.directory, self.daemons) as meter:
            done = self._play(play, self._inventory, timeout=TIMEOUT, launcher=meter.launcher)
        action = f"lockstep.images.{self.module}"
        self.result = done.ok().one(action)
        peak = self._python.peaks(self.module)[-1]
        return replace(meter.usage, peak=peak, task=done.seconds(action))


class Alone:
    """Run a module directly, without Ansible; `given` are options of every run."""

    def __init__(self, directory: Path, module: str, **given: Any) -> None:
        directory.mkdir(parents=True)
        self.directory, self.module, self.given = directory, module, given
        self.result: dict[str, Any] = {}

    def run(self, **options: Any) -> Usage:
        """Run the module with these options and keep its result."""
        with metered(self.directory) as meter:
            every = {**self.given, **options}
            started = modules.start(self.module, launcher=meter.launcher, **every)
            outcome = modules.finish(started, timeout=TIMEOUT)
        if outcome.failed:
            raise ServiceError(f"{self.module}: {outcome.result}")
        self.result = outcome.result
        return meter.usage


class Task(Play):
    """One task of `image_pull` for all images."""

    label = "image_pull, the task"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, MODULE)
        self.target = directory / "store"

    def pull(self, images: Sequence[Published]) -> Usage:
        """Pull all images in one task."""
        return self.run(name=[image.name for image in images], store=os.fspath(self.target))

    def clear(self) -> None:
        """Remove the store."""
        shutil.rmtree(self.target, ignore_errors=True)


class Module(Alone):
    """The module `image_pull`, without Ansible."""

    def __init__(
        self, directory: Path, label: str = "image_pull, the module alone", **given: Any
    ) -> None:
        super().__init__(directory, MODULE, **given)
        self.label = label
        self.target = directory / "store"

    def pull(self, images: Sequence[Published]) -> Usage:
        """Pull all images in one run of the module."""
        return self.run(name=[image.name for image in images], store=os.fspath(self.target))

    def start(self, images: Sequence[Published]) -> subprocess.Popen[str]:
        """Start the module."""
        names = [image.name for image in images]
        return modules.start(MODULE, name=names, store=os.fspath(self.target), **self.given)

    def clear(self) -> None:
        """Remove the store."""
        shutil.rmtree(self.target, ignore_errors=True)


class LockedTask(Play):
    """One task of `image_sync`, with a lock file of all images."""

    label = "image_sync, the task"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SYNC)
        self.target = directory / "store"

    def pull(self, images: Sequence[Published]) -> Usage:
        """Sync all images in one task."""
        path = lock_file(self.directory, images)
        lock = f"{{{{ lookup('lockstep.images.lock', '{path}') }}}}"
        return self.run(lock=lock, store=os.fspath(self.target))

    def clear(self) -> None:
        """Remove the store."""
        shutil.rmtree(self.target, ignore_errors=True)


class LockedModule(Alone):
    """The module `image_sync`, without Ansible."""

    label = "image_sync, the module alone"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SYNC)
        self.target = directory / "store"

    def pull(self, images: Sequence[Published]) -> Usage:
        """Sync all images in one run of the module."""
        lock = read_lock(lock_file(self.directory, images))
        return self.run(lock=lock, store=os.fspath(self.target))

    def clear(self) -> None:
        """Remove the store."""
        shutil.rmtree(self.target, ignore_errors=True)


def lock_file(directory: Path, images: Sequence[Published]) -> str:
    """Return the path of a lock file of these images; write it if it is missing."""
    path = directory / "images.lock.yml"
    if not path.exists():
        names = [image.name for image in images]
        done = modules.run("image_lock", path=os.fspath(path), name=names)
        if done.failed:
            raise ServiceError(f"image_lock: {done.result}")
    return os.fspath(path)


@dataclass
class DockerLoop:
    """A loop of `docker_image_pull`, or of another module that takes one image, with one item for each image.

    Count the memory of the Docker daemon. `forget` removes all images from it.
    """

    directory: Path
    cache: Path
    environment: Mapping[str, str]
    daemons: Sequence[Daemon]
    forget: Any
    label: str = "docker_image_pull, in a loop"
    module: str = PEER_PULL
    option: str = "name"
    item: Callable[[Published], str] = field(default=lambda image: image.name)
    result: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        environment = private_environment(self.directory, peer_collections(self.cache))
        self._play = PlayRunner(self.directory, {**environment, **self.environment})
        self._inventory = self._play.inventory({"one": local_host(self.directory)})

    def pull(self, images: Sequence[Published]) -> Usage:
        """Pull or load all images in one loop."""
        task = {
            "name": self.module,
            self.module: {self.option: "{{ item }}"},
            "loop": [self.item(image) for image in images],
        }
        play = [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": [task]}]
        with metered(self.directory, self.daemons, client_does_the_work=False) as meter:
            done: PlayResult = self._play(
                json.dumps(play, indent=2),
                self._inventory,
                timeout=TIMEOUT,
                launcher=meter.launcher,
            )
        self.result = done.ok().one(self.module)
        return replace(meter.usage, task=done.seconds(self.module))

    def clear(self) -> None:
        """Remove the images from the daemon."""
        self.forget()


def collections() -> Path:
    """Return the directory of the collections; raise ServiceError in a bare checkout."""
    found = collections_path()
    if found is None:
        raise ServiceError("the collection is not below ansible_collections; use ./dev bench")
    return found


def peer_collections(cache: Path) -> Path:
    """Return the directory with the peer's collection; extract it from the `ansible` package of PyPI if it is missing."""
    target = cache / "peer"
    if not (target / "ansible_collections" / PEER_PARTS[0]).is_dir():
        wheels = cache / "wheels"
        download = ["download", "--quiet", "--no-deps", "--only-binary=:all:"]
        download += ["--dest", os.fspath(wheels)]
        subprocess.run([sys.executable, "-m", "pip", *download, "ansible"], check=True)
        with zipfile.ZipFile(next(wheels.glob("ansible-*.whl"))) as wheel:
            wanted = tuple(f"ansible_collections/{part}" for part in PEER_PARTS)
            wheel.extractall(target, [one for one in wheel.namelist() if one.startswith(wanted)])
    return target


def peer_version(cache: Path) -> str | None:
    """Return the version of the peer's collection; None if it was not extracted yet."""
    manifest = cache / "peer/ansible_collections" / PEER_PARTS[0] / "MANIFEST.json"
    if not manifest.exists():
        return None
    return str(json.loads(manifest.read_text())["collection_info"]["version"])
