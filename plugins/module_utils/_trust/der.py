# SPDX-License-Identifier: GPL-3.0-or-later
"""DER (X.690): read strictly, and written again. Only what time stamps and certificates need of it."""

from __future__ import annotations

import typing as t

from .errors import SignatureInvalidError

INTEGER, OCTETS, OID, UTF8, SEQUENCE, SET, TIME = 0x02, 0x04, 0x06, 0x0C, 0x30, 0x31, 0x18  # fmt: skip
_LONG = 0x80


class Node(t.NamedTuple):
    """One value: its tag, its content, and all of its bytes."""

    tag: int
    body: bytes
    raw: bytes

    def children(self) -> list[Node]:
        """Return the values in a constructed value; raise SignatureInvalidError if they are malformed."""
        return read_all(self.body)

    def require(self, tag: int) -> Node:
        """Return this value; raise SignatureInvalidError if it has another tag."""
        if self.tag != tag:
            raise malformed()
        return self


def malformed() -> SignatureInvalidError:
    """Return the error for bytes that are not the expected DER."""
    return SignatureInvalidError("its DER is malformed")


def read_all(data: bytes) -> list[Node]:
    """Return all values in ``data``; raise SignatureInvalidError if they are malformed."""
    found, at = [], 0
    while at < len(data):
        node = _read(data, at)
        found.append(node)
        at += len(node.raw)
    return found


def read_one(data: bytes, tag: int) -> Node:
    """Return the only value in ``data``, which has this tag; raise SignatureInvalidError for anything else."""
    found = read_all(data)
    if len(found) != 1:
        raise malformed()
    return found[0].require(tag)


def _read(data: bytes, at: int) -> Node:
    header = data[at : at + 2]
    if len(header) < 2 or header[0] & 0x1F == 0x1F:
        raise malformed()
    size, start = header[1], at + 2
    if size >= _LONG:
        count = size & 0x7F
        digits = data[start : start + count]
        size, start = int.from_bytes(digits, "big"), start + count
        # Only the shortest form is DER.
        if not 0 < count <= 4 or len(digits) < count or not digits[0] or size < _LONG:
            raise malformed()
    end = start + size
    if end > len(data):
        raise malformed()
    return Node(header[0], data[start:end], data[at:end])


def encode(tag: int, body: bytes) -> bytes:
    """Return a value as DER."""
    size = len(body)
    if size < _LONG:
        return bytes((tag, size)) + body
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(digits))) + digits + body


def oid(text: str) -> bytes:
    """Return the content of an object identifier, given in dots."""
    first, second, *rest = map(int, text.split("."))
    parts = bytearray()
    for number in (first * 40 + second, *rest):
        digits, left = [number & 0x7F], number >> 7
        while left:
            digits.append(left & 0x7F | _LONG)
            left >>= 7
        parts += bytes(reversed(digits))
    return bytes(parts)
