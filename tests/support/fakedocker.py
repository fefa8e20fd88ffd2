# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Unix socket that answers like Docker's Engine API, as far as reading goes, from data."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class FakeDocker:
    """What the daemon is and holds. ``requests`` are method and target of each request so far.

    ``images`` are entries of ``/images/json``. ``layers`` are diff ids by image id.
    """

    path: Path
    api: str = "1.41"
    server: str = "Docker/20.10.24 (linux)"
    info: dict[str, t.Any] = field(default_factory=lambda: {"ServerVersion": "20.10.24"})
    images: list[dict[str, t.Any]] = field(default_factory=list)
    layers: dict[str, list[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def add(self, image_id: str, *names: str, digests: tuple[str, ...] = (), size: int = 1) -> None:
        """Add an image without layers."""
        entry = {"Id": image_id, "RepoTags": list(names), "RepoDigests": list(digests)}
        self.images.append({**entry, "Size": size})

    def answer(self, target: str) -> t.Any:
        """Return the JSON value for a target, None for one that is not found."""
        path = target.partition("?")[0]
        if path == "/info":
            return self.info
        if path == "/images/json":
            return self.images
        for one in self.images:
            if path == f"/images/{one['Id']}/json":
                root = {"Type": "layers", "Layers": self.layers.get(one["Id"], [])}
                return {"Id": one["Id"], "Os": "linux", "Architecture": "amd64", "RootFS": root}
        return None


@contextlib.contextmanager
def fake_docker(path: Path, **fields: t.Any) -> Iterator[FakeDocker]:
    """Serve a FakeDocker at a path, which is limited to 107 bytes."""
    docker = FakeDocker(path, **fields)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            docker.requests.append(f"GET {self.path}")
            value = docker.answer(self.path)
            body = json.dumps({"message": "not found"} if value is None else value).encode()
            self.send_response_only(404 if value is None else 200)
            self.send_header("Server", docker.server)
            self.send_header("Api-Version", docker.api)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: t.Any) -> None:
            """Write nothing to the terminal."""

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield docker
        server.shutdown()
        thread.join()
