# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy that only supports CONNECT (RFC 9110 9.3.6), and connects some hosts to an embedded registry.

With a certificate for their names, the registry can be Docker Hub and any other, for clients that use
``HTTPS_PROXY`` and trust the authority. No name is resolved, and no request leaves this machine.
"""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType

_HEAD_LIMIT = 1 << 16


class ConnectProxy:
    """Listen on loopback from construction until ``close`` or the end of ``with``.

    CONNECT to one of ``hosts``, on any port, is connected to ``target`` (host and port). CONNECT to
    another host is refused with 403. ``asked`` lists every requested ``host:port``.
    """

    def __init__(self, target: tuple[str, int], hosts: Collection[str]) -> None:
        self.target = target
        self.hosts = frozenset(hosts)
        self.asked: list[str] = []
        self._server = _Server(("127.0.0.1", 0), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.daemon = True
        self._thread.start()

    def __enter__(self) -> ConnectProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], proxy: ConnectProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """Answer one CONNECT, then forward bytes until one end closes."""
        with suppress(OSError):
            method, _dummy, rest = self._head().partition(" ")
            destination = rest.partition(" ")[0]
            if method != "CONNECT":
                self._refuse("405 Method Not Allowed")
                return
            self.server.proxy.asked.append(destination)
            if destination.rpartition(":")[0] not in self.server.proxy.hosts:
                self._refuse("403 Forbidden")
                return
            with socket.create_connection(self.server.proxy.target, 10) as upstream:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._forward(upstream)

    def _head(self) -> str:
        """Read the head of the request. Return its first line.

        A client sends nothing more before it has an answer.
        """
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < _HEAD_LIMIT:
            more = self.request.recv(4096)
            if not more:
                break
            head += more
        return head.partition(b"\r\n")[0].decode("latin-1")

    def _refuse(self, status: str) -> None:
        self.request.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    def _forward(self, upstream: socket.socket) -> None:
        other = {self.request: upstream, upstream: self.request}
        while True:
            for one in select.select(list(other), [], [])[0]:
                data = one.recv(1 << 16)
                if not data:
                    return
                other[one].sendall(data)
