# SPDX-License-Identifier: GPL-3.0-or-later
"""Build with an engine: it gets a copy of the context and the base images, and its result goes into the store.

Its files are in a directory that is removed, so it changes nothing else on the host.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import typing as t
from dataclasses import dataclass, field

from .._build.errors import EngineMissingError
from .._engines.docker import docker_sockets
from .._engines.docker_build import version_at
from .._engines.errors import EngineError
from .._engines.process import find_program, run
from .._execution import Pool
from .._image import errors
from .._image.manifest import ImageConfig, Manifest
from .._plan import Action
from .._rootfs.mountinfo import mounts_below
from .._rootfs.mounting import unmount
from .._store.files import access
from .._store.reader import IndexEntry
from .._store.store import ImageStore
from .build_docker import DockerBuild
from .build_keep import Keeper
from .build_options import AUTO, DOCKER, PROGRAMS
from .build_program import ProgramBuild
from .build_work import PREFIX, BuildEngine, Work
from .naming import SetName

_QUICK = 60.0  # seconds
_PLACES = ("/var/tmp", "/tmp")  # the first is on a disk
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def choose_engine(wanted: str) -> BuildEngine:
    """Return the engine that a task means; raise EngineMissingError if the host does not have it."""
    kinds = (*PROGRAMS, DOCKER) if wanted == AUTO else (wanted,)
    reasons = []
    for kind in kinds:
        try:
            return _daemon() if kind == DOCKER else _program(kind)
        except EngineError as exc:
            reasons.append(f"{kind}: {exc}")
    raise EngineMissingError("; ".join(reasons))


def _program(kind: str) -> BuildEngine:
    (path,) = find_program([kind])
    text = run([path, "--version"], _QUICK).stdout.decode("utf-8", "replace")
    match = re.search(r"version (\S+)", text)
    return BuildEngine(kind, path, match.group(1) if match else "")


def _daemon() -> BuildEngine:
    """Return the Docker daemon of the host: at DOCKER_HOST, or else of root or of the user of the task."""
    paths = docker_sockets()
    path = next(filter(os.path.exists, paths), paths[0])
    return BuildEngine(DOCKER, path, version_at(path, _QUICK))


@dataclass(frozen=True)
class EngineBuild(Action):
    """Run an engine, store the image that it makes, and set its name."""

    name: str
    work: Work = field(repr=False)
    before: IndexEntry | None = field(repr=False)
    store: ImageStore = field(repr=False)
    report: t.Callable[[Manifest, ImageConfig], None] = field(repr=False)

    @property
    def subject(self) -> str:  # type: ignore[override]
        return self.name

    def summary(self) -> dict[str, t.Any]:
        return {
            "action": "build_image",
            "name": self.name,
            "engine": str(self.work.engine),
            "inputs": str(self.work.inputs),
        }

    def apply(self, pool: Pool) -> None:
        with _workshop() as (directory, lock):
            with access(directory):
                if self.work.engine.kind == DOCKER:
                    made = DockerBuild(directory, self.work, self.store).build()
                else:
                    made = ProgramBuild(directory, lock, self.work, self.store).build()
                target, manifest, config = Keeper(made, self.work, self.store).keep()
        SetName(self.name, IndexEntry(target), self.before, self.store).apply(pool)
        self.report(manifest, config)


@contextlib.contextmanager
def _workshop() -> t.Iterator[tuple[str, int]]:
    """Make a directory, and remove it in the end, also those of killed tasks. Yield it with the descriptor of its lock.

    The engine gets this descriptor too: it may outlive a task that is killed.
    """
    above = _PLACES[0] if os.path.isdir(_PLACES[0]) else _PLACES[-1]
    with access(above):
        for name in os.listdir(above):
            if name.startswith(PREFIX):
                _remove(os.path.join(above, name))
        directory, fd = _make(above)
    try:
        yield directory, fd
    finally:
        os.close(fd)
        _remove(directory)


def _make(above: str) -> tuple[str, int]:
    """Make a directory; return it with a descriptor that holds its lock."""
    while True:
        # Engines derive an image name from this path, which allows no capitals.
        directory = os.path.join(above, PREFIX + secrets.token_hex(8))
        os.mkdir(directory, 0o700)
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(directory, _OPEN)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.isdir(directory):
                return directory, fd
            os.close(fd)  # another task removed it as abandoned before it was locked


def _remove(directory: str) -> None:
    """Remove the directory of a build unless a task holds it or it belongs to another user; never fail."""
    with contextlib.suppress(OSError, errors.LockstepError):
        fd = os.open(directory, _OPEN)
        try:
            if os.fstat(fd).st_uid != os.geteuid():
                return
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The driver overlay mounts its directory onto itself.
            for path in reversed(mounts_below(os.path.realpath(directory))):
                unmount(path)
            program = next(filter(None, map(shutil.which, PROGRAMS)), None)
            if os.geteuid() and program:  # files of other users of the user namespace
                run([program, "unshare", "rm", "-rf", directory], _QUICK)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(fd)
