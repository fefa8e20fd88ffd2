# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine a task means: the one that it names, or the only one that answers."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from . import errors
from .containerd import ContainerdEngine
from .ctr import Ctr
from .directory import DirectoryEngine
from .docker import DockerEngine, docker_sockets
from .engine import Engine, ReadManifest
from .options import AUTO, CONTAINERD, DOCKER, PODMAN, EngineOptions, socket_path
from .podman import PodmanEngine
from .process import find_program
from .socket_http import require_listener

CONTAINERD_SOCKETS = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
# The namespaces of the containerd that Docker runs on: of its containers, its plugins and its builder.
_OF_DOCKER = {"moby", "plugins.moby", "buildkit"}
_KNOCK = 5.0


def open_engine(options: EngineOptions, read_manifest: ReadManifest) -> Engine:
    """Return the engine that ``options`` mean; raise EngineAmbiguousError if several answer, EngineNotFoundError for none."""
    if options.kind == AUTO:
        return _Search(options, read_manifest).engine()
    return _open(options, read_manifest)


def containerd_sockets() -> list[str]:
    """Return where containerd may listen: at the address that ctr uses, or else by itself or as part of k3s and RKE2."""
    address = os.environ.get("CONTAINERD_ADDRESS")
    return [socket_path(address)] if address else list(CONTAINERD_SOCKETS)


def _open(options: EngineOptions, read_manifest: ReadManifest) -> Engine:
    if options.kind == DOCKER:
        path = options.socket or _first_existing(docker_sockets())
        return DockerEngine(path, options.timeout, options.load_timeout, read_manifest)
    if options.kind == CONTAINERD:
        return ContainerdEngine(_ctr(options))
    if options.kind == PODMAN:
        return PodmanEngine(options.program_of(PODMAN), options.timeout, options.load_timeout)
    return DirectoryEngine(str(options.path))


def _ctr(options: EngineOptions) -> Ctr:
    program = options.program_of(CONTAINERD)
    path = options.socket or _first_existing(containerd_sockets())
    return Ctr(program, path, options.namespace, options.timeout, options.load_timeout)


def _first_existing(paths: t.Sequence[str]) -> str:
    return next(filter(os.path.exists, paths), paths[0])


class _Found(t.NamedTuple):
    """An engine that answers, or that refuses this user. ``place`` is its socket or its program."""

    kind: str
    place: str
    open: t.Callable[[], Engine]


class _Search:
    """Searches for the only engine of a host. Only Docker is asked what it is, by the requests that open it."""

    def __init__(self, options: EngineOptions, read_manifest: ReadManifest) -> None:
        self._options, self._read_manifest = options, read_manifest
        self._found: list[_Found] = []
        self._tried: list[str] = []

    def engine(self) -> Engine:
        """Return the only engine; raise an EngineError if there is none, if there are several, or if it refuses this user."""
        self._search()
        if len(self._found) == 1:
            return self._found[0].open()
        if self._found:
            listed = ", ".join(f"{one.kind} ({one.place})" for one in self._found)
            raise errors.EngineAmbiguousError(f"several container engines answer: {listed}")
        tried = ", ".join(dict.fromkeys(self._tried))
        raise errors.EngineNotFoundError(f"no container engine answers: {tried}")

    def _search(self) -> None:
        path = self._options.socket
        if path:
            if not self._try(DOCKER, path, self._docker):
                self._try(CONTAINERD, path, self._containerd)
            return
        for path in _distinct(docker_sockets()):
            self._try(DOCKER, path, self._docker)
        for path in _distinct(containerd_sockets()):
            self._try(CONTAINERD, path, self._containerd)
        self._try(PODMAN, self._options.program_of(PODMAN)[0], self._podman)

    def _try(
        self, kind: str, place: str, search: t.Callable[[str], t.Callable[[], Engine] | None]
    ) -> bool:
        """Return whether ``search`` finds an engine at a place, which counts."""
        try:
            found = search(place)
        except errors.EngineRefusedError as exc:
            # It is an engine of this host, so that the choice does not depend on who asks.
            found = functools.partial(_raise, exc)
        except errors.EngineNotFoundError as exc:
            self._tried.append(str(exc))
            return False
        if found:
            self._found.append(_Found(kind, place, found))
        return bool(found)

    def _docker(self, path: str) -> t.Callable[[], Engine]:
        engine = _open(self._options._replace(kind=DOCKER, socket=path), self._read_manifest)
        return lambda: engine

    def _containerd(self, path: str) -> t.Callable[[], Engine] | None:
        is_beside_docker = any(one.kind == DOCKER for one in self._found)
        try:
            require_listener(path, _KNOCK)
        except errors.EngineRefusedError:
            if is_beside_docker:
                return None
            raise
        program = find_program(self._options.program_of(CONTAINERD))
        if is_beside_docker and not self._has_images(program, path):
            return None
        return self._opener(kind=CONTAINERD, socket=path, program=program)

    def _podman(self, _program: str) -> t.Callable[[], Engine]:
        program = find_program(self._options.program_of(PODMAN))
        return self._opener(kind=PODMAN, program=program)

    def _opener(self, **changed: t.Any) -> t.Callable[[], Engine]:
        options = self._options._replace(**changed)
        return lambda: _open(options, self._read_manifest)

    def _has_images(self, program: tuple[str, ...], path: str) -> bool:
        """Return whether the containerd at a socket has images in a namespace that is not of Docker."""
        options = self._options._replace(kind=CONTAINERD, socket=path, program=program)
        with contextlib.suppress(errors.EngineError):
            others = set(_ctr(options).namespaces()) - _OF_DOCKER
            return any(_ctr(options._replace(namespace=one)).names() for one in sorted(others))
        return False


def _distinct(paths: t.Sequence[str]) -> t.Sequence[str]:
    """Return the paths, each file once."""
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]


def _raise(error: errors.EngineError) -> t.NoReturn:
    raise error
