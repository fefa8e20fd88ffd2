# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put a server far away: a TCP proxy on the loopback device, like a long and narrow link to the server.

Every byte arrives half a round trip after it was sent, however many bytes are on their way. All connections share the
speed of the link, in each direction. A new connection takes one round trip before it carries anything, as that is what
a TCP handshake takes. No packet is lost, and there is no slow start.

The proxy is a process of its own, which is this file, so that it takes no time from the program that it serves.
It copies bytes and does not look into them, so TLS is between client and server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .services_process import Service

_READ = 16 * 1024
# Seconds of bytes that wait for the link. With none at all, the link would be idle whenever a timer is late.
_QUEUE = 0.005
_LISTENING = re.compile(r"listening on ([0-9.]+:[0-9]+)")


class _Link:
    """One direction of the link. ``rate`` is in bytes per second, 0 for no limit."""

    def __init__(self, rate: float, delay: float) -> None:
        self._rate, self._delay = rate, delay
        self._free = 0.0  # when the last byte will have been sent

    async def send(self, size: int, earliest: float) -> float:
        """Wait until bytes may be queued for the link; return when they arrive at the other end."""
        now = time.monotonic()
        self._free = max(self._free, now) + (size / self._rate if self._rate else 0)
        arrival = max(self._free, earliest) + self._delay
        # The sender waits when the queue is full.
        await asyncio.sleep(max(0.0, self._free - now - _QUEUE))
        return arrival


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, earliest: float
) -> None:
    """Copy one direction of a connection; its end arrives late, too."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            arrival, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, arrival - time.monotonic()))
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        chunk = b"-"
        while chunk:
            chunk = await reader.read(_READ)
            under_way.put_nowait((await link.send(len(chunk), earliest), chunk))
        await delivery
    delivery.cancel()


async def _serve(host: str, port: int, rtt: float, rate: float) -> None:
    there, back = (_Link(rate, rtt / 2) for _direction in range(2))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        usable = time.monotonic() + rtt
        up_reader, up_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(
            _carry(reader, up_writer, there, usable), _carry(up_reader, writer, back, 0.0)
        )
        for one in (writer, up_writer):
            one.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
    print("listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def far_away(directory: Path, service: Service, rtt: float, rate: float = 0) -> Iterator[Service]:
    """Yield ``service`` at another address, from which it is ``rtt`` seconds away, over ``rate`` bytes per second.

    The log stays that of the service itself.
    """
    from .services_process import running

    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "faraway.log"
    log.write_bytes(b"")

    def address() -> str:
        found = _LISTENING.search(log.read_text(errors="replace"))
        return found.group(1) if found else ""

    command = [sys.executable, "-ESs", os.path.abspath(__file__), service.address]
    command += ["--rtt", str(rtt), "--rate", str(rate)]
    with running(command, directory=directory, log=log, ready=lambda: bool(address())):
        scheme = service.url.partition("://")[0]
        yield replace(service, address=address(), url=f"{scheme}://{address()}")


def main() -> None:
    """Run the proxy until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="HOST:PORT")
    parser.add_argument("--rtt", type=float, help="the round trip in seconds")
    parser.add_argument("--rate", type=float, help="bytes per second in each direction")
    options = parser.parse_args()
    host, _colon, port = options.server.rpartition(":")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(host, int(port), options.rtt, options.rate))


if __name__ == "__main__":
    main()
