# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer of a server: its headers, and its body, whose reading is watched."""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import threading
import time
import typing as t
import zlib

from .._image import errors
from .connect import Proxy, reason
from .urls import retry_after, shown_url

_FIRST_READ = 4 * 1024
LARGEST_READ = 1024 * 1024
_LOWEST_SPEED = 16 * 1024  # bytes a second below which a body counts as stalled
DRAIN = 64 * 1024
_GLANCE = 0.25  # seconds between two checks of the bodies that are being read


class Response:
    """An answer whose body is unread. ``url`` is that of the request, ``proxy`` one that may have answered instead.

    ``failures`` are the exceptions of a read. ``patience`` is how long, in seconds, a body may be slower than the lowest
    speed. ``received`` is called with the size of each chunk; ``largest`` is the largest read in bytes.
    """

    def __init__(
        self,
        answer: t.Any,
        url: str,
        failures: tuple[type[Exception], ...],
        patience: float,
        received: t.Callable[[int], None],
        watch: Watch,
        largest: int = LARGEST_READ,
        proxy: Proxy | None = None,
    ) -> None:
        self.status: int = answer.status_code
        self.url = url
        self.proxy = proxy
        self._answer = answer
        self._failures = failures
        self._patience = patience
        self._received = received
        self._watch = watch
        self._largest = largest
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None
        self._budget = patience  # seconds that it may still be slower than the lowest speed
        self._deadline = math.inf
        self._is_late = False

    def header(self, name: str) -> str:
        """Return the value of a header, "" for none."""
        return self._answer.headers.get(name, "")

    def header_values(self, name: str) -> list[str]:
        """Return the value of each header of this name."""
        return list(self._answer.raw.headers.getlist(name))

    def retry_after(self, now: float) -> float | None:
        """Return the seconds that the server asks to wait at ``now`` (unix time), None if it does not."""
        value = self.header("Retry-After")
        return retry_after(value, now, self.header("Date")) if value else None

    @property
    def locations(self) -> list[str]:
        """Return the values of Location, in UTF-8 as servers write it; http.client reads Latin-1."""
        values = self.header_values("Location")
        return [value.encode("latin-1", "replace").decode("utf-8", "replace") for value in values]

    @property
    def content_length(self) -> int | None:
        """Return the Content-Length, None if it is missing or not a number."""
        value = self.header("Content-Length")
        return int(value) if re.fullmatch("[0-9]{1,18}", value) else None

    @property
    def encoding(self) -> str:
        """Return ``gzip`` or ""; raise ProtocolError for any other Content-Encoding."""
        value = self.header("Content-Encoding").strip().lower()
        if value in ("gzip", "x-gzip"):
            return "gzip"
        if value not in ("", "identity"):
            self.close()
            raise errors.ProtocolError(
                f"{shown_url(self.url)}: the Content-Encoding is not supported and was not requested"
            )
        return ""

    def read(self, limit: int, what: str = "answer") -> bytes:
        """Return the whole body; raise ProtocolError beyond ``limit`` bytes, TruncatedError if it breaks off."""
        subject = f"{shown_url(self.url)}: the {what}"
        parts, size, expected, encoding = [], 0, self.content_length, self.encoding
        if (expected or 0) <= limit:
            for chunk in self.chunks(bool(encoding)):
                size += len(chunk)
                parts.append(chunk)
                if size > limit:
                    break
        if max(size, expected or 0) > limit:
            self.close()
            raise errors.ProtocolError(f"{subject} is larger than {errors.readable_size(limit)}")
        if expected is not None and not encoding and size < expected:
            raise errors.TruncatedError(f"{subject} ended after {size} of {expected} bytes")
        return b"".join(parts)

    def chunks(self, decode: bool = False) -> t.Generator[bytes, None, None]:
        """Yield the body in pieces of up to 1 MiB, decompressed with ``decode``; raise TruncatedError if it breaks off."""
        pieces = self._chunks()
        return _gunzipped(pieces, shown_url(self.url)) if decode else pieces

    def _chunks(self) -> t.Generator[bytes, None, None]:
        size, subject = _FIRST_READ, shown_url(self.url)
        try:
            while True:
                started = time.monotonic()
                chunk = self._read(size)
                if not chunk:
                    break
                taken = time.monotonic() - started
                self._received(len(chunk))
                yield chunk
                # Larger reads of a fast body only: a slow one must not hide in one long read.
                size = min(size * 4, self._largest) if taken < 0.25 else size
                size = max(size // 4, _FIRST_READ) if taken > 2 else size
        except self._failures as exc:
            raise errors.TruncatedError(f"{subject}: the answer broke off: {reason(exc)}") from exc
        finally:
            self.close()

    def _read(self, size: int) -> bytes:
        """Read up to ``size`` bytes, in the time that the lowest speed needs, plus what is left of the patience."""
        raw = self._answer.raw
        if self._socket is None:
            # A second handle on the connection, to end a read that another thread waits in. A complete body has no
            # connection, and cannot stall.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                self._socket = socket.socket(fileno=os.dup(raw.fileno()))
                self._watch.add(self)
        started = time.monotonic()
        self._deadline = started + self._budget + size / _LOWEST_SPEED
        try:
            chunk: bytes = raw.read(size, decode_content=False)
        finally:
            self._deadline = math.inf
        # The time of the reads counts, not that of the caller between them.
        left = self._budget + len(chunk) / _LOWEST_SPEED - (time.monotonic() - started)
        self._budget = max(0.0, min(left, self._patience))
        if self._is_late:
            raise errors.TruncatedError(f"{shown_url(self.url)}: the answer comes too slowly")
        return chunk

    def end_if_late(self, now: float) -> None:
        """End a read whose time is over at ``now`` (monotonic seconds); the thread of a ``Watch`` calls it."""
        with self._guard:
            if self._socket and now > self._deadline:
                self._is_late = True
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Return the connection to its pool, or end it if much of the body is unread."""
        raw, length = self._answer.raw, self.content_length
        with contextlib.suppress(*self._failures, errors.TruncatedError):
            if self._answer.request.method == "HEAD":
                raw.read(1)
            elif length is not None and length <= DRAIN and not raw.closed:
                self._read(max(length, 1))
        with self._guard:
            if self._socket:
                self._watch.discard(self)
                self._socket.close()
                self._socket = None
        self._answer.close()


class Watch:
    """Checks all bodies that are being read, in one thread."""

    def __init__(self) -> None:
        self._bodies: set[Response] = set()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, body: Response) -> None:
        """Check a body from now on."""
        with self._lock:
            self._bodies.add(body)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, daemon=True).start()

    def discard(self, body: Response) -> None:
        """Check a body no longer."""
        with self._lock:
            self._bodies.discard(body)

    def _run(self) -> None:
        while True:
            time.sleep(_GLANCE)
            with self._lock:
                bodies = list(self._bodies)
                self._is_running = bool(bodies)
            if not bodies:
                return
            for body in bodies:
                body.end_if_late(time.monotonic())


def _gunzipped(
    chunks: t.Generator[bytes, None, None], subject: str
) -> t.Generator[bytes, None, None]:
    """Yield decompressed bytes, in pieces of up to 1 MiB, so that a bomb stops with its reader.

    Raise EncodingError for a body that is not gzip, or much larger than its content (empty members).
    """
    decoder, packed, unpacked = zlib.decompressobj(wbits=31), 0, 0
    try:
        for chunk in chunks:
            rest, packed = chunk, packed + len(chunk)
            while rest:
                if decoder.eof:  # members may follow one another (RFC 1952 2.2)
                    decoder = zlib.decompressobj(wbits=31)
                piece = decoder.decompress(rest, LARGEST_READ)
                unpacked += len(piece)
                yield piece
                rest = decoder.unconsumed_tail or decoder.unused_data
            if packed > 2 * unpacked + DRAIN:
                raise errors.EncodingError(f"{subject}: the gzip body is larger than its content")
        yield decoder.flush()
    except zlib.error as exc:
        raise errors.EncodingError(
            f"{subject}: the body is not gzip, unlike its Content-Encoding"
        ) from exc
    if packed and not decoder.eof:
        raise errors.TruncatedError(f"{subject}: the gzip body ended too early")
