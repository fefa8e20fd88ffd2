# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults as data: what to do wrong, to which requests, and how often."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from .bodies import Filler

__all__ = ["UNSET", "Fault", "FaultCounter", "Filler"]

HeaderValue = Union[str, Sequence[str]]
UNSET: Any = type("Unset", (), {"__repr__": lambda self: "UNSET"})()


@dataclass(frozen=True)
class Fault:
    """One fault, applied to the requests that it matches.

    Matching: ``method`` is a pattern for the whole method, ``path`` one that is searched in the
    request target (path and query), ``having`` are patterns for request headers (lower-case
    names). The first ``skip`` matches pass, the fault applies to the next ``times`` (None: all).
    A request without authorization does not match unless ``before_auth`` is true.

    Answers that replace the request; it is not processed, unless ``process`` is true:

    - ``status``, ``headers``, ``body`` (bytes, text, JSON data, ``Path`` or ``Filler``)
    - ``redirect``: the Location (text, or a function of the request target); status 307
    - ``raw``: send these bytes instead of an answer, then close the connection
    - ``close_before``: close the connection without an answer
    - ``cut_request_at``: close it after this many bytes of the request's body, or at its end;
      the received bytes are stored

    Changes to the true answer:

    - ``set_headers`` (a list repeats the header), ``drop_headers``
    - ``replace``: send another body; ``corrupt``: invert the byte at this offset of the body
    - ``content_encoding``: declare it, and apply it for ``gzip``, ``x-gzip`` and ``deflate``
    - ``ignore_range``
    - ``wrong_content_range``: a text (turns a 200 into a 206), or a function of the true value (for
      a 206 only)
    - ``missing_as``: send this status instead of 404, without naming the missing content
    - ``negotiate``: honour the Accept header (an index is answered by its first child, or by 404)

    Changes to the transfer:

    - ``delay``: seconds to wait first; ``drip``: bytes of body per second
    - ``truncate_at``, ``reset_at``, ``stall_at``: after this many bytes of body, close or reset the
      connection, or send nothing until the client closes it or the server stops
    - ``extend``: bytes (or a number of bytes) to send after the declared end
    - ``content_length``: the value to send; None: no length, the body ends with the connection
    - ``chunked``; ``chunked_cut_at``: close in mid-chunk after this many bytes of body
    - ``protocol``: for example ``HTTP/1.0``
    - ``close_after``: close the connection after the answer, without ``Connection: close``
    - ``no_continue``: send no interim answer to ``Expect: 100-continue``
    """

    method: str = "GET"
    path: str = ""
    times: int | None = 1
    skip: int = 0
    having: Mapping[str, str] = field(default_factory=dict)
    before_auth: bool = False
    process: bool = False

    status: int | None = None
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    body: Any = UNSET
    redirect: str | Callable[[str], str] | None = None
    raw: bytes | None = None
    close_before: bool = False
    cut_request_at: int | None = None

    set_headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    drop_headers: Sequence[str] = ()
    replace: Any = UNSET
    corrupt: int | None = None
    content_encoding: str | None = None
    ignore_range: bool = False
    wrong_content_range: str | Callable[[str], str] | None = None
    missing_as: int | None = None
    negotiate: bool = False

    delay: float = 0.0
    drip: float | None = None
    truncate_at: int | None = None
    reset_at: int | None = None
    stall_at: int | None = None
    extend: bytes | int = b""
    content_length: int | None = UNSET
    chunked: bool = False
    chunked_cut_at: int | None = None
    protocol: str | None = None
    close_after: bool = False
    no_continue: bool = False

    @property
    def answers(self) -> bool:
        """Whether this fault replaces the answer."""
        return self.status is not None or self.redirect is not None or self.body is not UNSET

    @property
    def replaces_request(self) -> bool:
        """Whether the request is not processed."""
        own = self.answers or self.raw is not None or self.close_before
        return own and not self.process

    @property
    def cut_at(self) -> int | None:
        """The number of bytes of body after which the answer breaks off, or None."""
        cuts = (self.truncate_at, self.reset_at, self.stall_at, self.chunked_cut_at)
        return min((cut for cut in cuts if cut is not None), default=None)

    def matches(self, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Return whether this fault applies to such a request; ``target`` is path and query."""
        return (
            re.fullmatch(self.method, method) is not None
            and re.search(self.path, target) is not None
            and all(
                name in headers and re.search(pattern, headers[name]) is not None
                for name, pattern in self.having.items()
            )
        )


def header_pairs(headers: Mapping[str, HeaderValue]) -> list[tuple[str, str]]:
    """Return a pair of name and value for each header line."""
    return [
        (name, line)
        for name, value in headers.items()
        for line in ([value] if isinstance(value, str) else value)
    ]


class FaultCounter:
    """The faults of one registry, and how often each has matched.

    A ``Fault`` is never changed, so that several registries can share it.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults: list[Fault] = list(faults)
        self._seen: dict[int, tuple[Fault, int]] = {}
        self._lock = threading.Lock()

    def claim(
        self, method: str, target: str, headers: Mapping[str, str], authorized: bool
    ) -> Fault | None:
        """Return the first fault that applies to this request and count it; None without one."""
        with self._lock:
            for fault in list(self.faults):
                if not (authorized or fault.before_auth):
                    continue
                if not fault.matches(method, target, headers):
                    continue
                seen = self._seen.get(id(fault), (fault, 0))[1]
                if fault.times is not None and seen >= fault.skip + fault.times:
                    continue
                self._seen[id(fault)] = (fault, seen + 1)
                if seen >= fault.skip:
                    return fault
        return None

    def applied(self, fault: Fault) -> int:
        """Return the number of requests to which ``fault`` was applied."""
        with self._lock:
            return max(0, self._seen.get(id(fault), (fault, 0))[1] - fault.skip)

    def withholds_continue(self, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Return whether a fault suppresses the interim answer 100. Count nothing."""
        return any(
            fault.no_continue and fault.matches(method, target, headers)
            for fault in list(self.faults)
        )
