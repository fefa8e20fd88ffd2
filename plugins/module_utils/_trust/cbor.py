# SPDX-License-Identifier: GPL-3.0-or-later
"""CBOR (RFC 8949): read strictly, in its one deterministic form. Only what signatures of notation need of it."""

from __future__ import annotations

import typing as t

from .errors import SignatureInvalidError

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_DEEPEST = 8


class Tagged(t.NamedTuple):
    """A value with a tag."""

    tag: int
    value: t.Any


def decode(raw: bytes, where: str) -> t.Any:
    """Return the only value in ``raw``: an int, bytes, str, list, dict or Tagged.

    Raise SignatureInvalidError, which names ``where``, for duplicate keys, numbers in a longer form than needed, data of
    indefinite length, and types that are not needed.
    """
    try:
        value, end = _decode(raw, 0, _DEEPEST)
    except (IndexError, UnicodeDecodeError, TypeError) as exc:
        raise SignatureInvalidError(f"{where}: its CBOR is malformed") from exc
    if end != len(raw):
        raise SignatureInvalidError(f"{where}: its CBOR is malformed")
    return value


def _decode(raw: bytes, at: int, depth: int) -> tuple[t.Any, int]:
    """Return the value at an offset, and where it ends; raise IndexError if it is malformed."""
    kind, (number, at) = raw[at] >> 5, _number(raw, at)
    if kind in (_UNSIGNED, _NEGATIVE):
        return number if kind == _UNSIGNED else -1 - number, at
    if kind in (_BYTES, _TEXT):
        data = raw[at : at + number]
        if len(data) < number:
            raise IndexError
        return data if kind == _BYTES else data.decode("utf-8"), at + number
    if kind > _TAG or not depth or (kind != _TAG and number > len(raw)):
        raise IndexError
    if kind == _TAG:
        value, at = _decode(raw, at, depth - 1)
        return Tagged(number, value), at
    values = []
    for _index in range(number * 2 if kind == _MAP else number):
        value, at = _decode(raw, at, depth - 1)
        values.append(value)
    return values if kind == _ARRAY else _table(values), at


def _table(values: t.Sequence[t.Any]) -> dict[t.Any, t.Any]:
    found = dict(zip(values[::2], values[1::2]))
    if len(found) * 2 != len(values) or not all(isinstance(key, (int, str)) for key in found):
        raise IndexError
    return found


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number in a head, and where the head ends."""
    low = raw[at] & 0x1F
    if low < 24:
        return low, at + 1
    width = _WIDTHS.get(low, 0)
    data = raw[at + 1 : at + 1 + width]
    number = int.from_bytes(data, "big")
    if not width or len(data) < width or number < (24 if width == 1 else 1 << (width * 4)):
        raise IndexError
    return number, at + 1 + width


def encode(value: str | bytes | t.Sequence[t.Any]) -> bytes:
    """Return text, bytes or a list of them."""
    if isinstance(value, str):
        data = value.encode("utf-8")
        return _head(_TEXT, len(data)) + data
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    return _head(_ARRAY, len(value)) + b"".join(map(encode, value))


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    low = next(low for low, width in _WIDTHS.items() if number < 1 << (8 * width))
    return bytes([kind << 5 | low]) + number.to_bytes(_WIDTHS[low], "big")
