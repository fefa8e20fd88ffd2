# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine a task means: the one that it names, or the only one that answers."""

from __future__ import annotations

import os
import typing as t

from . import errors
from .docker import DEFAULT_SOCKET, DockerEngine
from .engine import Engine, ReadManifest

AUTO, DOCKER, CONTAINERD, PODMAN, DIRECTORY = "auto", "docker", "containerd", "podman", "directory"
KINDS = (AUTO, DOCKER, CONTAINERD, PODMAN, DIRECTORY)
_UNIX = "unix://"

# The options that image_load and engine_info share.
ENGINE: dict[str, t.Any] = {
    "engine": {"type": "str", "choices": list(KINDS), "default": AUTO},
    "socket": {"type": "str"},
    "namespace": {"type": "str", "default": "default"},
    "executable": {"type": "str"},
    "path": {"type": "path"},
}


class EngineOptions(t.NamedTuple):
    """How to reach an engine: ``timeout`` in seconds for a question, ``load_timeout`` for images that are sent."""

    kind: str
    socket: str | None = None
    namespace: str = "default"
    executable: str | None = None
    path: str | None = None
    timeout: float = 30.0
    load_timeout: float = 900.0

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> EngineOptions:
        """Read the options of ``ENGINE``."""
        return cls(
            params["engine"],
            params["socket"],
            params["namespace"],
            params["executable"],
            params["path"],
            params["timeout"],
            params["timeout_total"],
        )


def open_engine(options: EngineOptions, read_manifest: ReadManifest) -> Engine:
    """Return the engine that ``options`` mean; raise EngineAmbiguousError if several answer, EngineNotFoundError for none."""
    if options.kind in (AUTO, DOCKER):
        path = _socket_path(options.socket or os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET)
        return DockerEngine(path, options.timeout, options.load_timeout, read_manifest)
    raise errors.EngineNotFoundError(f"{options.kind}: this engine is not supported yet")


def _socket_path(text: str) -> str:
    """Return the path of a Unix socket, given as a path or as Docker writes it; raise EngineNotFoundError for others."""
    if text.startswith(_UNIX):
        text = text[len(_UNIX) :]
    if not text.startswith("/"):
        raise errors.EngineNotFoundError(
            f"{text}: is not the path of a Unix socket",
            "Run the task on the host of the engine: tcp:// and ssh:// are not supported.",
        )
    return text
