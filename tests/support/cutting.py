# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to a server that breaks after a given number of bytes."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import struct
import threading
from types import TracebackType

# Reset the connection on close: bytes in flight are lost.
_RESET = struct.pack("ii", 1, 0)


class CuttingLink:
    """Listen on loopback, and forward connections to `target` (host and port).

    Each of the first `times` connections on which the client sends `after` bytes is broken there.
    `cuts` counts these connections, `passed` the bytes sent to the server on all connections.
    """

    def __init__(self, target: tuple[str, int], after: int, times: int = 1) -> None:
        self.target = target
        self.after = after
        self.times = times
        self.cuts = self.passed = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.daemon = True

    def __enter__(self) -> CuttingLink:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def is_cut(self, brought: int, count: int) -> bool:
        """Add `count` bytes to those `brought` so far. Return whether the connection breaks now."""
        with self.lock:
            self.passed += count
            if brought < self.after or self.cuts >= self.times:
                return False
            self.cuts += 1
            return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], link: CuttingLink) -> None:
        self.link = link
        super().__init__(address, _Handler)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """Forward bytes in both directions until one end closes or the connection breaks."""
        link, brought = self.server.link, 0
        with contextlib.suppress(OSError), socket.create_connection(link.target, 10) as there:
            while True:
                for one in select.select([self.request, there], [], [])[0]:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    if one is there:
                        self.request.sendall(data)
                        continue
                    there.sendall(data)
                    brought += len(data)
                    if link.is_cut(brought, len(data)):
                        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        return
