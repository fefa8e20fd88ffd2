# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over a Unix socket, as Docker's Engine API is served."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import typing as t

from . import errors

_LONGEST_ANSWER = 256 * 1024 * 1024
_CHUNK = 256 * 1024


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer(t.NamedTuple):
    """An answer, read whole. ``body`` is what the engine sent, ``headers`` have keys in lower case."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes

    def json(self) -> t.Any:
        """Return the JSON value of the body; raise EngineError for anything else."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise errors.EngineError("the engine answered with something other than JSON") from None

    @property
    def message(self) -> str:
        """What the engine says in an error."""
        with contextlib.suppress(ValueError, AttributeError):
            return str(json.loads(self.body)["message"])[:300]
        return self.body[:300].decode("utf-8", "replace").strip()


class SocketOutput:
    """The body of a request, as the output of an archive; ``count`` are the bytes so far."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.count = 0

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._sock.sendall(data)
        self.count += len(data)

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        """Send ``size`` bytes of a file from its start, without copying them through this process where the system can."""
        try:
            os.fstat(file.fileno())
        except (AttributeError, OSError):  # not a file of the system
            return self._copy(file, size)
        sent = self._sock.sendfile(file, 0, size) if size else 0
        self.count += sent
        return sent

    def _copy(self, file: t.BinaryIO, size: int) -> int:
        left = size
        while left:
            data = file.read(min(left, _CHUNK))
            if not data:
                break
            self.write(data)
            left -= len(data)
        return size - left


class SocketClient:
    """Requests over one Unix socket, each on a connection of its own."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout

    def request(
        self,
        method: str,
        target: str,
        send: t.Callable[[SocketOutput], None] | None = None,
        size: int = 0,
        timeout: float | None = None,
    ) -> Answer:
        """Return the answer to a request; ``send`` writes its body of ``size`` bytes, a tar archive.

        ``timeout`` is in seconds without a byte. Raise EngineNotFoundError, EngineRefusedError, EngineGoneError or
        EngineTimeoutError if there is no answer.
        """
        connection = _Connection(self.path, timeout or self.timeout)
        try:
            connection.putrequest(method, target)
            connection.putheader("Content-Length", str(size))
            if send:
                connection.putheader("Content-Type", "application/x-tar")
            connection.endheaders()
            if send:
                # An engine that rejects the body answers before it has read all of it.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    send(SocketOutput(connection.sock))
            return _read(connection)
        except (OSError, http.client.HTTPException) as exc:
            raise socket_error(self.path, exc) from exc
        finally:
            connection.close()


def socket_error(path: str, exc: Exception) -> errors.EngineError:
    """Return the error for what went wrong at the socket ``path``: an OSError, or an HTTPException."""
    if isinstance(exc, PermissionError):
        return errors.EngineRefusedError(f"{path}: this user cannot open the socket")
    if isinstance(exc, FileNotFoundError):
        return errors.EngineNotFoundError(f"{path} does not exist")
    if isinstance(exc, socket.timeout):
        return errors.EngineTimeoutError(f"{path}: the engine did not answer in time")
    if isinstance(exc, ConnectionRefusedError):
        return errors.EngineNotFoundError(f"{path}: nothing listens on this socket")
    if isinstance(exc, (ConnectionError, http.client.HTTPException)):
        return errors.EngineGoneError(
            f"{path}: the connection was closed before an HTTP answer came"
        )
    return errors.EngineNotFoundError(f"{path}: {exc.strerror or exc}")  # type: ignore[attr-defined]


def require_listener(path: str, timeout: float) -> None:
    """Raise EngineNotFoundError unless something listens on a socket, EngineRefusedError if this user cannot connect."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(path)
    except OSError as exc:
        raise socket_error(path, exc) from exc


def _read(connection: http.client.HTTPConnection) -> Answer:
    answer = connection.getresponse()
    # Python 3.9 clears as many bytes as it is asked for.
    chunks = iter(lambda: answer.read(_CHUNK), b"")
    body = b"".join(itertools.islice(chunks, _LONGEST_ANSWER // _CHUNK))
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, body)
