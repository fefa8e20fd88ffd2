# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of all requests to the embedded registry."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Callable


@dataclass(frozen=True)
class Request:
    """One request and its answer.

    ``path`` has no query and is percent-encoded; ``headers`` have lower-case names; ``status`` is 0
    without an answer, or if it was not HTTP; ``bytes_sent`` is the number of bytes of the body
    that were written to the connection; ``started`` is in seconds of a monotonic clock;
    ``connection`` is the client's port; ``body_size`` is the size of the request's body in bytes.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    status: int
    bytes_sent: int
    started: float
    connection: int
    body_size: int

    def as_dict(self) -> dict[str, Any]:
        """Return the request as a mapping for JSON, without the values of secret headers."""
        answer = asdict(self)
        for name in ("authorization", "proxy-authorization", "cookie"):
            if name in answer["headers"]:
                answer["headers"][name] = answer["headers"][name].partition(" ")[0] + " ***"
        return answer


@dataclass
class Entry:
    """A request while it is being answered."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    started: float
    connection: int
    status: int = 0
    bytes_sent: int = 0
    body_size: int = 0
    told: bool = False

    def freeze(self) -> Request:
        """Return the current state of the request as a value."""
        known = dict(vars(self))
        del known["told"]
        return Request(**known)


@dataclass
class RequestLog:
    """Requests in the order in which their answers began.

    An entry is added before the first byte of its answer is sent, and bytes are counted before they
    are sent: a client that has read an answer finds it complete in the log.
    """

    on_request: Callable[[Request], None] | None = None
    _entries: list[Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, entry: Entry) -> None:
        """Add ``entry``, which may change until ``finish``."""
        with self._lock:
            self._entries.append(entry)

    def finish(self, entry: Entry) -> None:
        """Pass ``entry`` to the listener, on the first call for it."""
        with self._lock:
            if self.on_request is not None and not entry.told:
                entry.told = True
                self.on_request(entry.freeze())

    def requests(self) -> list[Request]:
        """Return all requests so far."""
        with self._lock:
            return [entry.freeze() for entry in self._entries]

    def by_method(self) -> Counter[str]:
        """Return the number of requests by method."""
        with self._lock:
            return Counter(entry.method for entry in self._entries)

    def clear(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._entries.clear()
