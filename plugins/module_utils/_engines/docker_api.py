# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API of a Docker daemon: its version, its requests, its errors (Docker Engine API v1.41 to v1.51)."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from .._archive.archive import Archive
from .._image import errors as image_errors
from .._image.names import Reference
from . import errors
from .socket_http import Answer, SocketClient, SocketOutput

_OLDEST = (1, 41)  # Docker 20.10
_NEWEST = (1, 51)  # Docker 28.5. Answers are asked for in this form, also from a newer daemon.
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")
_NO_NAME = "<none>"
_UNPACKING = re.compile(r"Error unpacking(?: image (\S+))?: .*", re.DOTALL)
_LONGEST_MESSAGE = 300


class LoadAnswer(t.NamedTuple):
    """What a daemon says of an archive: its first error, None for none, and the complete names that it cannot unpack."""

    error: errors.EngineError | None
    broken: frozenset[str]


class DockerApi:
    """The daemon behind a socket. ``version`` is that of the API in use. Requests and bytes are counted in ``stats``.

    The methods raise the EngineError for the case.
    """

    def __init__(self, path: str, timeout: float, stats: dict[str, int]) -> None:
        self._client = SocketClient(path, timeout)
        self._path = path
        self._stats = stats
        self.version = self._negotiate()

    def get(self, target: str) -> t.Any:
        """Return the JSON value at a path of the API."""
        return self.request("GET", target).json()

    def inspect(self, image_id: str) -> dict[str, t.Any]:
        """Return what the daemon says of an image; {} if another process has removed it."""
        answer = self.request("GET", f"/images/{image_id}/json", allowed=404)
        return answer.json() if answer.status != 404 else {}

    def request(
        self, method: str, target: str, *body: t.Any, allowed: int = 0, **options: t.Any
    ) -> Answer:
        """Return the answer to a request, which takes what ``SocketClient.begin`` takes.

        An answer with the status ``allowed`` is returned too.
        """
        return self._begin(method, target, *body, allowed=allowed, **options)()

    def load(self, archive: Archive, timeout: float) -> t.Callable[[], LoadAnswer]:
        """Send an archive, and return what reads the answer to its end: a status of 200 says nothing of the images."""

        def note(size: int) -> None:
            self._stats["bytes_sent"] += size

        def send(output: SocketOutput) -> None:
            output.note = note
            archive.write_to(output)

        target = "/images/load?quiet=0"
        finish = self._begin("POST", target, send, archive.size, timeout=timeout)
        return lambda: _read_load(finish().body)

    def _begin(
        self, method: str, target: str, *body: t.Any, allowed: int = 0, **options: t.Any
    ) -> t.Callable[[], Answer]:
        version = ".".join(map(str, self.version))
        begun = self._ask(method, f"/v{version}{target}", *body, **options)

        def finish() -> Answer:
            answer = begun()
            if answer.status >= 400 and answer.status != allowed:
                text = f"{method} {target.partition('?')[0]}: {answer.message}"
                raise _error(text, answer.status)
            return answer

        return finish

    def _ask(self, *request: t.Any, **options: t.Any) -> t.Callable[[], Answer]:
        self._stats["requests"] += 1
        return self._client.begin(*request, **options)

    def _negotiate(self) -> tuple[int, ...]:
        """Return the version of the API to use; raise EngineNotFoundError for what is not Docker."""
        path = self._path
        try:
            answer = self._ask("GET", "/_ping")()
        except errors.EngineTimeoutError:
            raise
        except errors.EngineGoneError:
            raise _not_docker(path) from None
        if answer.headers.get("server", "").startswith("Libpod"):
            raise errors.EngineNotFoundError(
                f"{path} is the socket of podman, not of Docker", "Set engine to podman."
            )
        if answer.status in (401, 403):
            raise errors.EngineRefusedError(f"{path}: {answer.message or 'access is denied'}")
        version = answer.headers.get("api-version", "")
        if not _VERSION.fullmatch(version):
            raise _not_docker(path)
        found = tuple(map(int, version.split(".")))
        if found < _OLDEST:
            raise errors.EngineTooOldError(
                f"{path}: Docker has API {version}, 1.41 (Docker 20.10) is needed"
            )
        return min(found, _NEWEST)


def complete_name(text: str) -> str | None:
    """Return a name that Docker shows in its complete form, None for none."""
    if _NO_NAME in text:
        return None
    try:
        return Reference.parse(text).store_name
    except image_errors.ReferenceError:
        return text


def _not_docker(path: str) -> errors.EngineError:
    return errors.EngineNotFoundError(f"{path}: what listens there is not Docker")


def _error(text: str, status: int = 0) -> errors.EngineError:
    message = f"Docker: {text.strip()[:_LONGEST_MESSAGE]}"
    if errors.is_full_disk(text):
        return errors.EngineNoSpaceError(message)
    if status in (401, 403):
        return errors.EngineRefusedError(message)
    return errors.EngineError(message)


def _read_load(body: bytes) -> LoadAnswer:
    """Read the stream of JSON values that answers a load."""
    said: list[str] = []
    broken: set[str] = set()
    for line in body.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            value = json.loads(line)
            text = (value.get("errorDetail") or {}).get("message") or value.get("error")
            unpacking = _UNPACKING.match(str(value.get("stream") or ""))
            if unpacking:
                broken.add(complete_name(unpacking.group(1) or "") or "")
                text = text or unpacking.group()
            if text:
                said.append(str(text))
    return LoadAnswer(_error(said[0]) if said else None, frozenset(broken))
