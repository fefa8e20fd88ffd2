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
_SENT_AT_ONCE = 8 * 1024 * 1024


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
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return str(json.loads(self.body)["message"])[:300]
        return self.body[:300].decode("utf-8", "replace").strip()


class SocketOutput:
    """The body of a request, as the output of an archive; ``note`` is called with the number of bytes of each write."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.note: t.Callable[[int], object] = bool

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._sock.sendall(data)
        self.note(len(data))

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        """Send ``size`` bytes of a file from its start, without copying them through this process where the system can."""
        try:
            os.fstat(file.fileno())
        except (AttributeError, OSError):  # not a file of the system
            return self._copy(file, size)
        done, sent = 0, size
        while sent and done < size:
            sent = self._sock.sendfile(file, done, min(size - done, _SENT_AT_ONCE))
            self.note(sent)
            done += sent
        return done

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

    def begin(
        self,
        method: str,
        target: str,
        send: t.Callable[[SocketOutput], None] | None = None,
        size: int = 0,
        timeout: float | None = None,
        read: t.Callable[[http.client.HTTPConnection], Answer] | None = None,
    ) -> t.Callable[[], Answer]:
        """Send a request, and return what waits for the answer; ``send`` writes its body of ``size`` bytes, a tar archive.

        ``timeout`` is in seconds without a byte. ``read`` reads the answer, by default as a whole. Both raise
        EngineNotFoundError, EngineRefusedError, EngineGoneError or EngineTimeoutError if there is no answer.
        """
        connection = _Connection(self.path, timeout or self.timeout)
        with self._closed_after_failure(connection):
            connection.putrequest(method, target)
            connection.putheader("Content-Length", str(size))
            if send:
                connection.putheader("Content-Type", "application/x-tar")
            connection.endheaders()
            if send:
                # An engine that rejects the body answers before it has read all of it.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    send(SocketOutput(connection.sock))

        def finish() -> Answer:
            with self._closed_after_failure(connection):
                answer = (read or _read)(connection)
            connection.close()
            return answer

        return finish

    @contextlib.contextmanager
    def _closed_after_failure(self, connection: _Connection) -> t.Iterator[None]:
        with contextlib.ExitStack() as undo:
            undo.callback(connection.close)
            try:
                yield
            except (OSError, http.client.HTTPException) as exc:
                raise socket_error(self.path, exc) from exc
            undo.pop_all()


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
    return read_whole(connection.getresponse())


def read_whole(answer: http.client.HTTPResponse) -> Answer:
    """Return an answer with all of its body."""
    # Python 3.9 clears as many bytes as it is asked for.
    chunks = iter(lambda: answer.read(_CHUNK), b"")
    body = b"".join(itertools.islice(chunks, _LONGEST_ANSWER // _CHUNK))
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, body)
