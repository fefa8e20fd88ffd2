# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request and its answer, without sockets. The rules of the registry are written in these terms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from .bodies import Body, MemoryBody, as_body

JSON = "application/json"
OCTETS = "application/octet-stream"


@dataclass
class Call:
    """One request. ``headers`` have lower-case names; ``pieces`` yields the body once."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))

    @property
    def target(self) -> str:
        """Path and query, as sent."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def route(self) -> str:
        """The path, percent-decoded."""
        return unquote(self.path)

    def values(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return parse_qs(self.query, keep_blank_values=True).get(name, [])

    def value(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        return next(iter(self.values(name)), None)

    def read(self) -> bytes:
        """Read the whole body."""
        return b"".join(self.pieces)


@dataclass
class Answer:
    """One answer: the bytes of ``body`` from ``start`` to ``stop`` are sent."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Body = field(default_factory=MemoryBody)
    start: int = 0
    stop: int | None = None

    @property
    def length(self) -> int:
        """The number of bytes of the body to send."""
        return (self.body.size if self.stop is None else self.stop) - self.start

    def set(self, name: str, *values: str) -> None:
        """Replace all lines of a header."""
        self.drop(name)
        self.headers.extend((name, value) for value in values)

    def drop(self, name: str) -> None:
        """Remove all lines of a header."""
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()]

    def get(self, name: str) -> str | None:
        """Return the first line of a header, or None."""
        found = (value for key, value in self.headers if key.lower() == name.lower())
        return next(found, None)


class Refusal(Exception):
    """A request that is answered with an error of the distribution spec."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def answer(self) -> Answer:
        """Return the answer with the error as JSON."""
        error = {"code": self.code, "message": str(self), "detail": None}
        return json_answer(self.status, {"errors": [error]}, *self.headers)


def json_answer(status: int, document: object, *headers: tuple[str, str]) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, [("Content-Type", JSON), *headers], as_body(document))


def content_answer(call: Call, body: Body, *headers: tuple[str, str]) -> Answer:
    """Return an answer with ``body``, or with the range of it that the request asks for.

    Several ranges, other units and invalid ranges are ignored (RFC 9110, section 14.2).
    """
    answer = Answer(200, [*headers, ("Accept-Ranges", "bytes")], body)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", "").strip())
    if asked is None or asked.group(0) == "bytes=-" or call.method != "GET":
        return answer
    first, last = asked.groups()
    size = body.size
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return answer
    if start >= size:
        raise Refusal(416, "RANGE_INVALID", "no such range", Content_Range=f"bytes */{size}")
    answer.status, answer.start, answer.stop = 206, start, stop
    answer.set("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    return answer
