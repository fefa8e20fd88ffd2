# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx in front of a registry, as a context manager that leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from .services_process import Service, free_port, program, running


@contextlib.contextmanager
def nginx(directory: Path, upstream: Service, *, limit_rate: int = 0) -> Iterator[Service]:
    """Serve `upstream` through nginx; `log` is the access log.

    `limit_rate` is bytes a second for each answer (0: as fast as it can). Many connections get many
    times as much, as they do from a server far away.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    access = directory / "access.log"
    access.write_bytes(b"")
    config = directory / "nginx.conf"
    config.write_text(_nginx_config(directory, port, upstream, limit_rate))
    command = [program("nginx"), "-e", os.fspath(directory / "error.log"), "-c", os.fspath(config)]
    with running(
        command, directory=directory, log=directory / "nginx.log", ready=lambda: _accepts(port)
    ) as process:
        yield Service(f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", access, process.pid)


def _nginx_config(directory: Path, port: int, upstream: Service, limit_rate: int) -> str:
    temporary = "\n".join(
        f"    {kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
daemon off;
user root;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
{temporary}
    access_log {directory}/access.log combined;
    server {{
        listen 127.0.0.1:{port};
        limit_rate {limit_rate};
        location / {{
            proxy_pass {upstream.url};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            # Take from the registry only what the client has taken, and never store it on the
            # disk. Small buffers: what is in them at the end of an answer is not slowed down.
            proxy_max_temp_file_size 0;
            proxy_buffers 8 32k;
        }}
    }}
}}
"""


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False
