# SPDX-License-Identifier: GPL-3.0-or-later
"""How a task names the engine of a host: the options that image_load and engine_info share, as a value."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from .._image.errors import InputError
from . import errors

AUTO, DOCKER, CONTAINERD, PODMAN, DIRECTORY = "auto", "docker", "containerd", "podman", "directory"
KINDS = (AUTO, DOCKER, CONTAINERD, PODMAN, DIRECTORY)
_UNIX = "unix://"
_DAY = 86400.0  # seconds
# containerd, pkg/identifiers
_NAMESPACE = re.compile(r"(?=.{1,76}$)[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")

ENGINE: dict[str, t.Any] = {
    "engine": {"type": "str", "choices": list(KINDS), "default": AUTO},
    "socket": {"type": "str"},
    "namespace": {"type": "str", "default": "default"},
    "executable": {"type": "str"},
    "path": {"type": "path"},
}


class EngineOptions(t.NamedTuple):
    """How to reach an engine: ``timeout`` in seconds for a question, ``load_timeout`` for images that are sent.

    ``socket`` is the path of a Unix socket, ``program`` a command with its first arguments.
    """

    kind: str
    socket: str | None = None
    namespace: str = "default"
    program: tuple[str, ...] = ()
    path: str | None = None
    timeout: float = 30.0
    load_timeout: float = 900.0

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> EngineOptions:
        """Read the options of ``ENGINE``; raise EngineNotFoundError for a socket of another host, InputError for others."""
        if not 0 < params["timeout"] <= _DAY:
            raise InputError("timeout must be more than 0 and at most a day")
        if not 0 <= params["timeout_total"] <= _DAY:
            raise InputError("timeout_total must not be less than 0, and at most a day")
        if not _NAMESPACE.fullmatch(params["namespace"]):
            raise InputError(f"namespace: {params['namespace']!r} is not a namespace of containerd")
        return cls(
            params["engine"],
            socket_path(params["socket"]) if params["socket"] else None,
            params["namespace"],
            _command(params["executable"]) if params["executable"] else (),
            params["path"],
            params["timeout"],
            params["timeout_total"] or _DAY,
        )

    def program_of(self, kind: str) -> tuple[str, ...]:
        """Return the program of an engine: the one that the task names, or ctr or podman.

        If the task names no engine, a program called podman is of podman, and any other one of containerd.
        """
        is_podman = bool(self.program) and os.path.basename(self.program[-1]) == PODMAN
        if self.program and (self.kind != AUTO or is_podman == (kind == PODMAN)):
            return self.program
        return (PODMAN,) if kind == PODMAN else ("ctr",)


def socket_path(text: str) -> str:
    """Return the path of a Unix socket, given as a path or as Docker writes it; raise EngineNotFoundError for others."""
    path = text[len(_UNIX) :] if text.startswith(_UNIX) else text
    if not path.startswith("/"):
        is_remote = "://" in text and not text.startswith(_UNIX)
        raise errors.EngineNotFoundError(
            f"{text}: is not the path of a Unix socket",
            "Run the task on the host of the engine: tcp:// and ssh:// are not supported."
            if is_remote
            else "Write the whole path, from the root directory.",
        )
    return path


def _command(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as exc:
        raise InputError(f"executable: {exc}") from None
    if not words:
        raise InputError("executable: names no program")
    return words
