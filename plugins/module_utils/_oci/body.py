# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of an answer on its way: how much to read at once, when to give up, what went wrong."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
import time
import typing as t
import zlib

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import ProtocolError

FIRST_READ = 4 * 1024
_LARGEST_READ = 1024 * 1024
_LOWEST_SPEED = 16 * 1024
"""Bytes a second below which a body counts as stalled."""


class Watch:
    def __init__(self, sock: socket.socket | None, patience: float) -> None:
        self.sock, self._patience = sock, patience
        self.deadline, self.fired = float("inf"), False

    def start(self, size: int) -> float:
        """A read of up to ``size`` bytes begins; it has the time that the lowest speed needs."""
        now = time.monotonic()
        self.deadline = now + self._patience + size / _LOWEST_SPEED
        return now

    def stop(self) -> None:
        """The read is over: what its reader does with the bytes may take as long as it likes."""
        self.deadline = float("inf")


class Watchdog:
    """Ends bodies that come too slowly. A socket's own time-out starts anew with every byte."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, raw: t.Any) -> t.Iterator[Watch]:
        try:
            # A second handle on the connection: shutting it down ends a read that another thread waits in.
            sock = socket.socket(fileno=os.dup(raw.fileno()))
        except (OSError, ValueError):
            sock = None  # the body is already complete, nothing can stall
        watch = Watch(sock, self._patience)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)
                if sock:
                    sock.close()

    def _run(self) -> None:
        while True:
            time.sleep(min(1.0, self._patience / 4))
            with self._lock:
                for watch in self._watches:
                    if watch.sock and time.monotonic() > watch.deadline:
                        watch.fired = True
                        with contextlib.suppress(OSError):
                            watch.sock.shutdown(socket.SHUT_RDWR)


def next_size(size: int, seconds: float) -> int:
    """Read more at once while it goes fast: a slow body must not hide in one long read."""
    if seconds < 0.25:
        return min(size * 4, _LARGEST_READ)
    return max(size // 4, FIRST_READ) if seconds > 2 else size


def gunzipped(chunks: t.Iterator[bytes], subject: str) -> t.Iterator[bytes]:
    """Undo a Content-Encoding, a bounded piece at a time: a bomb stops where its reader stops."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield decoder.decompress(rest, _LARGEST_READ)
                rest = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error as exc:
        raise ProtocolError(
            f"{subject}: the body is not gzip as its Content-Encoding says"
        ) from exc


def reason(exc: BaseException) -> str:
    """The innermost cause in words. The text of requests' own exceptions repeats the URL with its query."""
    seen: list[BaseException] = []
    queue: list[t.Any] = [exc]
    while queue:
        current = queue.pop(0)
        if isinstance(current, BaseException) and current not in seen:
            seen.append(current)
            queue += [
                getattr(current, "reason", None),
                current.__cause__,
                current.__context__,
                *current.args,
            ]
    for error in reversed(seen):
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted: {error.verify_message}"
    for error in reversed(seen):
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {(error.reason or 'connection closed').replace('_', ' ').lower()}"
        if isinstance(error, (socket.timeout, TimeoutError)) or "Timeout" in type(error).__name__:
            return "no answer in time"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(seen[-1]).__name__).lower()


def tls_hint(exc: BaseException) -> str:
    text = str(exc)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "The host seems to speak plain http: set plain_http if that is meant."
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "Give the registry's CA as ca_path."
    return ""
