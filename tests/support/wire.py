# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write answers to a connection, correctly or with a fault."""

from __future__ import annotations

import fcntl
import gzip
import http
import select
import socket
import struct
import termios
import threading
import time
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from typing import Callable

from .bodies import MemoryBody, as_body
from .exchange import Answer
from .faults import UNSET, Fault, header_pairs
from .record import Entry

NO_FAULT = Fault()


def synthetic_answer(fault: Fault, target: str) -> Answer:
    """Return the answer of a fault that replaces the answer."""
    default = 307 if fault.redirect is not None else 200
    answer = Answer(default if fault.status is None else fault.status)
    if fault.redirect is not None:
        where = fault.redirect(target) if callable(fault.redirect) else fault.redirect
        answer.headers.append(("Location", where))
    answer.headers.extend(header_pairs(fault.headers))
    if fault.body is not UNSET:
        answer.body = as_body(fault.body)
    return answer


def reshape(answer: Answer, fault: Fault) -> Answer:
    """Return ``answer`` with the changes of ``fault`` to headers and body."""
    if fault.missing_as is not None and answer.status == 404:
        answer = Answer(fault.missing_as)
    if fault.replace is not UNSET:
        answer.body, answer.start, answer.stop = as_body(fault.replace), 0, None
    true_range = answer.get("Content-Range")
    if callable(fault.wrong_content_range):
        if true_range is not None:
            answer.set("Content-Range", fault.wrong_content_range(true_range))
    elif fault.wrong_content_range is not None:
        answer.status = 206 if answer.status == 200 else answer.status
        answer.set("Content-Range", fault.wrong_content_range)
    if fault.content_encoding is not None:
        data = b"".join(answer.body.chunks(answer.start, answer.stop))
        for name in fault.content_encoding.replace(" ", "").split(","):
            data = _encode(data, name)
        answer.body, answer.start, answer.stop = MemoryBody(data), 0, None
        answer.set("Content-Encoding", fault.content_encoding)
    for name in fault.drop_headers:
        answer.drop(name)
    for name in fault.set_headers:
        answer.drop(name)
    answer.headers.extend(header_pairs(fault.set_headers))
    return answer


def _encode(data: bytes, name: str) -> bytes:
    if name in ("gzip", "x-gzip"):
        return gzip.compress(data, 6)
    return zlib.compress(data, 6) if name == "deflate" else data


class Wire:
    """Send one answer over a connection, and count the sent bytes in ``entry``.

    ``finished`` is called before the last bytes of a complete answer, so that a client that has
    read all of it finds it in the log. ``close`` says afterwards whether to close the connection.
    """

    def __init__(
        self,
        connection: socket.socket,
        entry: Entry,
        fault: Fault | None,
        stopping: threading.Event,
        finished: Callable[[], None],
    ) -> None:
        self.connection = connection
        self.entry = entry
        self.fault = fault or NO_FAULT
        self.stopping = stopping
        self.finished = finished
        self.close = False
        self.reset = False

    def raw(self, data: bytes) -> None:
        """Send ``data`` unchanged and close the connection."""
        self.close = True
        self._count(data)

    def answer(self, answer: Answer, head_only: bool) -> None:
        """Send ``answer``, without its body if ``head_only``."""
        fault = self.fault
        bodiless = head_only or answer.status in (204, 304) or answer.status < 200
        chunked = (fault.chunked or fault.chunked_cut_at is not None) and not bodiless
        self.entry.status = answer.status
        head = self._head(answer, chunked)
        self.close = self.close or fault.close_after
        if bodiless:
            self.finished()
            self.connection.sendall(head)
            return
        if fault.drip:
            self.connection.sendall(head)
            head = b""
        for piece, last in self._marked(self._paced(self._cut(self._body(answer)))):
            if chunked:
                self._count(piece, head + b"%x\r\n" % len(piece), b"\r\n", last)
            else:
                self._count(piece, head, b"", last)
            head = b""
        if head:
            self._count(b"", head, b"", fault.cut_at is None)
        self._end(chunked)

    def _head(self, answer: Answer, chunked: bool) -> bytes:
        declared = self.fault.content_length
        if chunked:
            answer.set("Transfer-Encoding", "chunked")
        elif declared is None:
            self.close = True
        elif answer.get("Content-Length") is None and answer.status not in (204, 304):
            length = answer.length if declared is UNSET else declared
            answer.set("Content-Length", str(length))
        for name, value in (("Date", formatdate(usegmt=True)), ("Server", "embedded")):
            if answer.get(name) is None:
                answer.headers.append((name, value))
        if self.close:
            answer.set("Connection", "close")
        try:
            phrase = http.HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"{self.fault.protocol or 'HTTP/1.1'} {answer.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        if self.fault.protocol == "HTTP/1.0":
            self.close = True
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    def _body(self, answer: Answer) -> Iterator[bytes]:
        """Yield the bytes of the body, with the byte inverted that a fault corrupts."""
        target = self.fault.corrupt
        if target is not None and target < 0:
            target += answer.length
        offset = 0
        for piece in answer.body.chunks(answer.start, answer.stop):
            at = -1 if target is None else target - offset
            offset += len(piece)
            if 0 <= at < len(piece):
                yield piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
            else:
                yield piece

    def _cut(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield only the bytes before the position at which the answer breaks off."""
        left = self.fault.cut_at
        for piece in pieces:
            if left is None:
                yield piece
                continue
            if left > 0:
                yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    def _paced(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the bytes at the speed of ``drip``."""
        speed = self.fault.drip
        if not speed:
            yield from pieces
            return
        step = max(1, int(speed // 10))
        for piece in pieces:
            for start in range(0, len(piece), step):
                yield piece[start : start + step]
                if self.stopping.wait(step / speed):
                    return

    def _marked(self, pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
        """Yield each piece, and whether it is the last one of a complete answer."""
        fault = self.fault
        if fault.drip or fault.extend or fault.cut_at is not None:
            yield from ((piece, False) for piece in pieces)
            return
        current = next(pieces, None)
        while current is not None:
            following = next(pieces, None)
            yield current, following is None
            current = following

    def _count(
        self, piece: bytes, before: bytes = b"", after: bytes = b"", last: bool = False
    ) -> None:
        """Count ``piece`` in the log, then send it in its frame."""
        self.entry.bytes_sent += len(piece)
        if last:
            self.finished()
        try:
            self.connection.sendall(before + piece + after if before or after else piece)
        except OSError:
            self.entry.bytes_sent -= len(piece)
            raise

    def _end(self, chunked: bool) -> None:
        """Send what the fault adds after the last byte of the body."""
        fault = self.fault
        if fault.cut_at is None:
            if chunked:
                self.connection.sendall(b"0\r\n\r\n")
            extra = bytes(fault.extend) if isinstance(fault.extend, int) else fault.extend
            if extra:
                self.close = True
                self._count(extra)
            return
        self.close = True
        if fault.cut_at == fault.stall_at:
            self._stall()
        elif fault.cut_at == fault.reset_at:
            self._flush()
            self.reset = True
        elif fault.cut_at == fault.chunked_cut_at:
            self.connection.sendall(b"400\r\n" + bytes(16))

    def _stall(self) -> None:
        """Wait until the client closes the connection or the server stops."""
        while not self.stopping.is_set():
            readable = select.select([self.connection], [], [], 0.05)[0]
            if readable:
                return

    def _flush(self) -> None:
        """Wait until the client's kernel has all bytes: a reset discards bytes in flight."""
        deadline = time.monotonic() + 2
        waiting = bytes(4)
        while time.monotonic() < deadline:
            try:
                waiting = fcntl.ioctl(self.connection.fileno(), termios.TIOCOUTQ, bytes(4))
            except OSError:
                time.sleep(0.05)
                return
            if not any(waiting):
                return
            time.sleep(0.002)


def reset_on_close(connection: socket.socket) -> None:
    """Make closing ``connection`` send a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
