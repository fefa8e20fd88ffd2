# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal HTTP client for the tests of the embedded registry."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """An answer; header names are in lower case, repeated headers are joined by a comma."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The first error code of an error body."""
        return str(self.document["errors"][0]["code"])


def call(
    url: str,
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a new connection to ``url`` (``http://host:port``). Return the answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, target, body, dict(headers or {}), encode_chunked=chunked)
        return read_reply(connection)
    finally:
        connection.close()


def read_reply(connection: http.client.HTTPConnection) -> Reply:
    """Read the whole answer to the request that was sent on ``connection``."""
    answer = connection.getresponse()
    headers: dict[str, str] = {}
    for name, value in answer.getheaders():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Reply(answer.status, headers, answer.read())


def raw_call(address: str, data: bytes, limit: int = 1 << 20) -> bytes:
    """Send ``data``. Return at most ``limit`` received bytes, until the server closes."""
    host, _dummy, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as connection:
        connection.sendall(data)
        got = b""
        while len(got) < limit:
            piece = connection.recv(65536)
            if not piece:
                break
            got += piece
        return got


def basic(username: str, password: str) -> dict[str, str]:
    """Return the header of Basic authentication."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}
