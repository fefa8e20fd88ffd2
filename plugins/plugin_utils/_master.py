# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs commands through a connection of ssh that is open already, without a process on the controller.

It speaks to the master that ssh has started for ``ControlPersist``, by PROTOCOL.mux of OpenSSH, version 4.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import time
import typing as t

from ansible.utils.path import unfrackpath

_HELLO, _VERSION = 0x00000001, 4
_NEW_SESSION, _OPENED = 0x10000002, 0x80000006
_NO_ESCAPE = 0xFFFFFFFF
_MOST = 1 << 20  # bytes of a packet or an answer
_TIMEOUT = 30.0


def socket_of(connection: t.Any) -> str | None:
    """Return the path of the master's socket that a connection plugin uses, None if it is not known."""
    pattern, directory = (
        getattr(connection, name, None) for name in ("control_path", "control_path_dir")
    )
    if connection.transport != "ssh" or not pattern or not directory:
        return None
    path = str(pattern) % {"directory": unfrackpath(directory)}
    return None if "%" in path else os.path.expanduser(path)  # ssh replaces %h and others itself


def run(path: str, command: str, timeout: float = _TIMEOUT) -> bytes:
    """Return what a command prints; raise OSError if the master does not run it, or if it takes too long."""
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(socket.socket(socket.AF_UNIX))
        master.settimeout(timeout)
        master.connect(path)
        _send(master, struct.pack(">II", _HELLO, _VERSION))
        _expect(master, _HELLO)
        output, end = os.pipe()
        answer = stack.enter_context(open(output, "rb", buffering=0))
        with open(os.devnull, "r+b", buffering=0) as null, open(end, "wb", buffering=0) as pipe:
            # Request 0; no terminal, X11, agent or subsystem.
            head = struct.pack(">IIIIIIII", _NEW_SESSION, 0, 0, 0, 0, 0, 0, _NO_ESCAPE)
            _send(master, head + _text("") + _text(command))
            for file in (null, pipe, null):
                rights = array.array("i", [file.fileno()])
                master.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            _expect(master, _OPENED)
        return b"".join(_chunks(answer, deadline))


def _chunks(answer: t.BinaryIO, deadline: float) -> t.Iterator[bytes]:
    left = _MOST
    while select.select([answer], [], [], max(0.0, deadline - time.monotonic()))[0] and left > 0:
        chunk = os.read(answer.fileno(), 65536)
        if not chunk:
            return
        left -= len(chunk)
        yield chunk
    raise TimeoutError("the command has not ended, or prints too much")


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack(">I", len(data)) + data


def _send(master: socket.socket, packet: bytes) -> None:
    master.sendall(struct.pack(">I", len(packet)) + packet)


def _expect(master: socket.socket, kind: int) -> None:
    """Read a packet; raise ConnectionError if it is of another kind."""
    (size,) = struct.unpack(">I", _receive(master, 4))
    packet = _receive(master, min(size, _MOST))
    if packet[:4] != struct.pack(">I", kind):
        raise ConnectionError(f"the master of ssh answers {packet[:4].hex()}")


def _receive(master: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = master.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the master of ssh has closed its socket")
        data += chunk
    return data
