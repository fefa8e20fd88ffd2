# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a real nginx in front of a registry. It can slow, refuse or change traffic, and counts bytes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .services_process import Service, free_port, program, running

# A single worker writes the log line of an answer before it accepts the next connection.
_CONFIG = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/nginx.log;
events {{ worker_connections 256; }}
http {{
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  log_format record escape=json '{{"connection": $connection, "method": "$request_method",'
    ' "path": "$uri", "range": "$http_range", "status": $status, "sent": $body_bytes_sent,'
    ' "last": $msec, "seconds": $request_time}}';
  {http}
  server {{
    listen 127.0.0.1:{port};
    access_log {directory}/access.log record;
    location = /last {{ access_log off; return 200 $connection; }}
    location / {{
      proxy_pass {upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      # Do not buffer answers in files: read from the registry only what can be sent.
      proxy_max_temp_file_size 0;
      {location}
    }}
  }}
}}
"""


@dataclass(frozen=True)
class ProxiedRequest:
    """One request that nginx answered. `sent` is the number of bytes of the body that it sent.

    `first` and `last` are seconds of nginx's clock; `range` is the request's header, "" without one.
    """

    connection: int
    method: str
    path: str
    range: str
    status: int
    sent: int
    first: float
    last: float

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last byte of the requested range; None unless the range is closed."""
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.range)
        return (int(found.group(1)), int(found.group(2))) if found else None


@dataclass(frozen=True)
class Front:
    """A running nginx, and the requests that it answered."""

    service: Service
    access_log: Path

    @property
    def address(self) -> str:
        """`host:port`, as in a reference."""
        return self.service.address

    def last_connection(self) -> int:
        """Open a connection and return its number. Later connections have higher numbers."""
        with urllib.request.urlopen(f"{self.service.url}/last", timeout=30) as answer:
            return int(answer.read())

    def passed(self, after: int = 0) -> list[ProxiedRequest]:
        """Return all requests on connections after number `after`, in the order of their answers' end."""
        self.last_connection()  # nginx answers it after it has logged all requests that have ended
        found = []
        for line in self.access_log.read_text().splitlines():
            entry = json.loads(line)
            entry["first"] = entry["last"] - entry.pop("seconds")
            found.append(ProxiedRequest(**entry))
        return [one for one in found if one.connection > after]

    def blobs(self, digest: str = "", after: int = 0) -> list[ProxiedRequest]:
        """Return the reads of blobs among them, or only of the blob `digest`."""
        reads = [one for one in self.passed(after) if one.method == "GET"]
        return [one for one in reads if f"/blobs/{digest}" in one.path]


@contextlib.contextmanager
def nginx(directory: Path, upstream: str, location: str = "", http: str = "") -> Iterator[Front]:
    """Run an nginx that forwards everything to the URL `upstream`.

    `location` and `http` are further directives of these blocks.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config, log, access_log = (
        directory / name for name in ("nginx.conf", "nginx.log", "access.log")
    )
    config.write_text(
        _CONFIG.format(
            directory=directory, port=port, upstream=upstream, location=location, http=http
        )
    )
    log.write_bytes(b"")
    access_log.write_bytes(b"")
    command = [program("nginx"), "-p", os.fspath(directory), "-c", os.fspath(config)]
    command += ["-e", os.fspath(log)]
    with running(command, directory=directory, log=log, ready=lambda: _answers(port)) as process:
        address = f"127.0.0.1:{port}"
        yield Front(Service(address, f"http://{address}", log, process.pid), access_log)


def _answers(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
