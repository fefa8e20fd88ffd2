# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP/1.1 server under the embedded registry: connections, requests, and their framing."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from .exchange import Answer, Call, Refusal
from .faults import Fault
from .record import Entry
from .wire import Wire, reset_on_close, reshape, synthetic_answer

if TYPE_CHECKING:
    from .registry import Registry

HANDSHAKE_SECONDS = 10.0
LINE_LIMIT = 1 << 16


class Server(ThreadingHTTPServer):
    """One thread per connection; TLS is negotiated in that thread, not in the listening one."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], registry: Registry) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        self.context: ssl.SSLContext | None = None
        self.stopping = threading.Event()
        self.accepted = 0
        self.handshake_errors: list[str] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without the lookup of the own host name that the base class does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end."""
        with self._lock:
            self.accepted += 1
        connection = self._secured(request)
        if connection is None:
            return
        with self._lock:
            self._open.add(connection)
        try:
            Handler(connection, client_address, self)
        finally:
            with self._lock:
                self._open.discard(connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            connection.close()

    def _secured(self, request: socket.socket) -> socket.socket | None:
        if self.context is None:
            return request
        request.settimeout(HANDSHAKE_SECONDS)
        try:
            connection = self.context.wrap_socket(request, server_side=True)
        except OSError as exc:
            self.handshake_errors.append(str(exc))
            return None
        connection.settimeout(None)
        return connection

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error to the registry, which ignores those of broken connections."""
        if not self.stopping.is_set():
            self.registry.note_error()

    def stop_listening(self) -> None:
        """Refuse new connections."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def end_connections(self) -> None:
        """Shut down all connections, which wakes the threads that serve them."""
        self.stopping.set()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """Serve the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        """Start a connection."""
        super().setup()
        self.served = 0

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def handle_expect_100(self) -> bool:
        """Send the interim answer, unless a fault withholds it."""
        headers = self._lower_headers()
        faults = self.server.registry.fault_counter
        if faults.withholds_continue(self.command, self.path, headers):
            return True
        return bool(super().handle_expect_100())

    def serve(self) -> None:
        """Answer one request after its head was read."""
        registry = self.server.registry
        target = self.path
        if "://" in target.partition("?")[0]:
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _dummy, query = target.partition("?")
        entry = Entry(
            self.command,
            path,
            query,
            self._lower_headers(),
            time.monotonic(),
            self.client_address[1],
        )
        pieces = self._pieces(entry)
        call = Call(self.command, path, query, entry.headers, pieces)
        wire = Wire(
            self.connection,
            entry,
            None,
            self.server.stopping,
            finished=lambda: registry.log.finish(entry),
        )
        self.served += 1
        limit = registry.requests_per_connection
        try:
            self._exchange(registry, call, wire, entry)
        except OSError:
            self.close_connection = True
        finally:
            registry.log.finish(entry)
        if wire.close or (limit is not None and self.served >= limit):
            self.close_connection = True
        if wire.reset:
            reset_on_close(self.connection)
            self.rfile.close()
            self.connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_CONNECT = do_OPTIONS = serve

    def _exchange(self, registry: Registry, call: Call, wire: Wire, entry: Entry) -> None:
        denied = registry.access.refuse(call)
        fault = registry.fault_counter.claim(call.method, call.target, call.headers, denied is None)
        answer: Answer | None = None
        if fault is not None:
            wire.fault = fault
            self.server.stopping.wait(fault.delay)
            if fault.ignore_range:
                call.headers = {k: v for k, v in call.headers.items() if k != "range"}
            if fault.cut_request_at is not None:
                registry.log.begin(entry)
                call.pieces = _cut(call.pieces, fault.cut_request_at)
        if fault is None or not fault.replaces_request:
            answer = denied or self._process(registry, call, fault)
        for _dummy in call.pieces:
            pass
        registry.log.begin(entry)
        if fault is not None and fault.close_before:
            wire.close = True
            return
        if fault is not None and fault.raw is not None:
            wire.raw(fault.raw)
            return
        if fault is not None and fault.answers:
            answer = synthetic_answer(fault, call.target)
        assert answer is not None
        if fault is not None:
            answer = reshape(answer, fault)
        wire.answer(answer, head_only=call.method == "HEAD")

    @staticmethod
    def _process(registry: Registry, call: Call, fault: Fault | None) -> Answer:
        try:
            return registry.answer(call, negotiate=fault is not None and fault.negotiate)
        except Refusal as exc:
            return exc.answer()

    def _lower_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return headers

    def _pieces(self, entry: Entry) -> Iterator[bytes]:
        """Yield the body of the request, and count its bytes in ``entry``.

        Raise ``ConnectionError`` if the body breaks off.
        """
        if "chunked" in entry.headers.get("transfer-encoding", "").lower():
            lengths = self._chunk_lengths()
        else:
            lengths = iter([_length(entry.headers.get("content-length") or "0", 10)])
        for length in lengths:
            left = length
            while left:
                piece = self.rfile.read(min(left, 1 << 16))
                if not piece:
                    raise ConnectionError("the request broke off")
                left -= len(piece)
                entry.body_size += len(piece)
                yield piece

    def _chunk_lengths(self) -> Iterator[int]:
        while True:
            line = self.rfile.readline(LINE_LIMIT)
            if not line.endswith(b"\n"):
                raise ConnectionError("the request broke off")
            length = _length(line.partition(b";")[0].decode("latin-1"), 16)
            if not length:
                break
            yield length
            self.rfile.readline(LINE_LIMIT)
        while self.rfile.readline(LINE_LIMIT) not in (b"\r\n", b"\n", b""):
            pass


def _cut(pieces: Iterator[bytes], left: int) -> Iterator[bytes]:
    """Yield the first ``left`` bytes of a body, then raise ``ConnectionError``."""
    for piece in pieces:
        if left:
            yield piece[:left]
        left -= len(piece)
        if left <= 0:
            break
    raise ConnectionError("the fault ends the connection")


def _length(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise ConnectionError("the request has no valid length") from None
