# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real nginx in front of a registry: it slows, refuses or changes what goes through it, and keeps
count of every byte.
"""

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

# One worker: it writes the line of an answer before it looks at the next connection.
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
      # What is not sent yet stays where it is, not in a file.
      proxy_max_temp_file_size 0;
      {location}
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Passed:
    """One request that nginx answered; `sent` counts the bytes of the body that left it.

    `first` and `last` are seconds of nginx's clock; `range` is the request's header, "" for none.
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
        """The first and the last byte that were asked for; None unless it is a closed range."""
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.range)
        return (int(found.group(1)), int(found.group(2))) if found else None


@dataclass(frozen=True)
class Front:
    """A running nginx, and what went through it."""

    service: Service
    access_log: Path

    @property
    def address(self) -> str:
        """Return `host:port`, as in a reference."""
        return self.service.address

    def last_connection(self) -> int:
        """The number of a connection that is opened now: those of later ones are greater."""
        with urllib.request.urlopen(f"{self.service.url}/last", timeout=30) as answer:
            return int(answer.read())

    def passed(self, after: int = 0) -> list[Passed]:
        """Every request that was answered on connections after this one, as the answers ended."""
        self.last_connection()  # its turn comes after those that are over
        found = []
        for line in self.access_log.read_text().splitlines():
            entry = json.loads(line)
            entry["first"] = entry["last"] - entry.pop("seconds")
            found.append(Passed(**entry))
        return [one for one in found if one.connection > after]

    def blobs(self, digest: str = "", after: int = 0) -> list[Passed]:
        """The reads of blobs among them, or those of one."""
        reads = [one for one in self.passed(after) if one.method == "GET"]
        return [one for one in reads if f"/blobs/{digest}" in one.path]


@contextlib.contextmanager
def nginx(directory: Path, upstream: str, location: str = "", http: str = "") -> Iterator[Front]:
    """Run an nginx that passes everything to the URL `upstream`.

    `location` and `http` are more directives for the one location and for all.
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
