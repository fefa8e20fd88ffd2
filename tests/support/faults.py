# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misbehaviour as data: what to do wrong, to which requests, and how often."""

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
    """One misbehaviour, applied to the requests it matches.

    Matching: ``method`` is a pattern for the whole method, ``path`` one to be found anywhere in
    the request target (path and query), ``having`` patterns for request headers (lower-case
    names). The first ``skip`` matches pass, the next ``times`` are hit (None: for ever). Requests
    that lack authorization are not matched unless ``before_auth`` is true.

    An answer of its own, so that the request is not carried out (unless ``process`` is true):

    - ``status``, ``headers``, ``body`` (bytes, text, JSON data, ``Path`` or ``Filler``)
    - ``redirect``: the Location (text, or a function of the request target); status 307
    - ``raw``: these bytes instead of an answer, then the connection is closed
    - ``close_before``: the connection is closed without an answer
    - ``cut_request_at``: it is closed after so many bytes of the request's body, or at its end;
      those that came are taken

    Changes to the true answer:

    - ``set_headers`` (a list as value: the header several times), ``drop_headers``
    - ``replace``: another body; ``corrupt``: the byte at this offset of the body is inverted
    - ``content_encoding``: declared, and carried out for ``gzip``, ``x-gzip`` and ``deflate``
    - ``ignore_range``
    - ``wrong_content_range`` (makes a 200 a 206, too; or a function of the true one, for a 206 only)
    - ``missing_as``: this status instead of 404, with no word on what is missing
    - ``negotiate``: the Accept header counts (an index becomes its first child, else 404)

    How it is sent:

    - ``delay``: seconds before anything happens; ``drip``: bytes of body per second
    - ``truncate_at``, ``reset_at``, ``stall_at``: after so many bytes of body the connection is
      closed, reset, or silent until the client goes or the server stops
    - ``extend``: bytes (or a number of bytes) after the end that was declared
    - ``content_length``: this value; None: no length at all, the end is the connection's end
    - ``chunked``; ``chunked_cut_at``: closed in mid-chunk after so many bytes of body
    - ``protocol``: for example ``HTTP/1.0``
    - ``close_after``: the connection is closed after the answer, unannounced
    - ``no_continue``: ``Expect: 100-continue`` is left without an interim answer
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
        """Whether this fault has an answer of its own."""
        return self.status is not None or self.redirect is not None or self.body is not UNSET

    @property
    def replaces_request(self) -> bool:
        """Whether the request is not carried out."""
        own = self.answers or self.raw is not None or self.close_before
        return own and not self.process

    @property
    def cut_at(self) -> int | None:
        """After how many bytes of body the answer breaks off, or None."""
        cuts = (self.truncate_at, self.reset_at, self.stall_at, self.chunked_cut_at)
        return min((cut for cut in cuts if cut is not None), default=None)

    def matches(self, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Whether a request with this target (path and query) is one of those meant."""
        return (
            re.fullmatch(self.method, method) is not None
            and re.search(self.path, target) is not None
            and all(
                name in headers and re.search(pattern, headers[name]) is not None
                for name, pattern in self.having.items()
            )
        )


def header_pairs(headers: Mapping[str, HeaderValue]) -> list[tuple[str, str]]:
    """One pair for every header line."""
    return [
        (name, line)
        for name, value in headers.items()
        for line in ([value] if isinstance(value, str) else value)
    ]


class FaultCounter:
    """The faults of one registry, and how often each was matched.

    Faults themselves are never changed, so one fault can be given to many registries.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults: list[Fault] = list(faults)
        self._seen: dict[int, tuple[Fault, int]] = {}
        self._lock = threading.Lock()

    def claim(
        self, method: str, target: str, headers: Mapping[str, str], authorized: bool
    ) -> Fault | None:
        """The first fault that hits this request, counted as used; None where none does."""
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
        """How many requests ``fault`` has hit."""
        with self._lock:
            return max(0, self._seen.get(id(fault), (fault, 0))[1] - fault.skip)

    def withholds_continue(self, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Whether a fault wants the interim answer 100 to be left out; nothing is counted."""
        return any(
            fault.no_continue and fault.matches(method, target, headers)
            for fault in list(self.faults)
        )
