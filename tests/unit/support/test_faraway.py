# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy that puts a server far away: bytes arrive late and unchanged, and no faster than the link."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support.faraway import far_away
from ansible_collections.lockstep.images.tests.support.services_process import Service

RTT = 0.2
BODY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(name="server", scope="module")
def fixture_server():
    """Provide a server that sends back a byte for each byte, and BODY for a line."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while True:
                got = connection.recv(1)
                if not got:
                    return
                connection.sendall(BODY if got == b"\n" else got)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=accept, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        yield Service(address, f"http://{address}", Path("/dev/null"), 0)


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), 30)


def asked(connection: socket.socket, sent: bytes, size: int) -> bytes:
    """Send bytes and return the answer, which has this size."""
    connection.sendall(sent)
    got = bytearray()
    while len(got) < size:
        got += connection.recv(65536)
    return bytes(got)


def test_every_answer_comes_a_round_trip_later_and_the_first_one_two(server, tmp_path):
    with far_away(tmp_path, server, RTT) as far, connect(far) as connection:
        times = []
        for _number in range(3):
            started = time.monotonic()
            assert asked(connection, b"x", 1) == b"x"
            times.append(time.monotonic() - started)
    assert times[0] >= 2 * RTT and min(times[1:]) >= RTT


def test_bytes_are_the_same_and_no_faster_than_the_link_whatever_the_number_of_connections(
    server, tmp_path
):
    rate = 4 * len(BODY)
    with far_away(tmp_path, server, 0, rate) as far:
        started, answers = time.monotonic(), []

        def ask() -> None:
            with connect(far) as connection:
                answers.append(asked(connection, b"\n", len(BODY)))

        threads = [threading.Thread(target=ask) for _number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.monotonic() - started
    assert {hashlib.sha256(one).digest() for one in answers} == {hashlib.sha256(BODY).digest()}
    assert len(answers) == 2 and taken >= 2 * len(BODY) / rate - 0.01


def test_a_connection_that_either_side_ends_is_ended_on_the_other(server, tmp_path):
    with far_away(tmp_path, server, 0.01) as far, connect(far) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
