# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Unix socket before another one, which counts what clients send."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


class CountingSocket(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Connects clients with the socket ``target``. ``connections`` and ``sent`` are theirs so far, the latter in bytes."""

    daemon_threads = True

    def __init__(self, path: Path, target: str) -> None:
        super().__init__(str(path), _Handler)
        self.path, self.target = str(path), target
        self.connections = self.sent = 0


class _Handler(socketserver.BaseRequestHandler):
    server: CountingSocket

    def handle(self) -> None:
        self.server.connections += 1
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(self.server.target)
            back = threading.Thread(target=_copy, args=(upstream, self.request), daemon=True)
            back.start()
            _copy(self.request, upstream, self._count)
            back.join()

    def _count(self, size: int) -> None:
        self.server.sent += size


def _copy(source: t.Any, target: t.Any, count: t.Callable[[int], object] = bool) -> None:
    with contextlib.suppress(OSError):
        for data in iter(lambda: source.recv(_CHUNK), b""):
            count(len(data))
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def counted(path: Path, target: str) -> Iterator[CountingSocket]:
    """Listen at a path, which is limited to 107 bytes."""
    with CountingSocket(path, target) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
