# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files in pax archives, as GNU tar writes them (its manual, "Storing Sparse Files"): versions 0.0, 0.1 and 1.0.

Engines unpack these, and refuse the older form with a type of its own.
"""

from __future__ import annotations

import re
import typing as t

from .._archive.header import BLOCK
from .._image.escaped import shown
from .errors import TreeRefusedError, TreeUnsupportedError
from .stream import LayerStream

Segments = tuple[tuple[int, int], ...]  # offset and length of the data between the holes, in order
_NUMBER = re.compile(rb"[0-9]{1,20}")
_LARGEST = 2**63 - 1
_LONGEST_MAP = 1024 * 1024  # as in the readers of engines
_SPREAD = (b"offset", b"numbytes")  # in turns, version 0.0
_OLD = ((b"0", b"0"), (b"0", b"1"), (None, None))


def records_of(pairs: t.Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the records of a pax header by their names without GNU.sparse; a map of several records becomes one."""
    found: dict[bytes, bytes] = {}
    spread: list[bytes] = []
    for key, value in pairs:
        if key in _SPREAD:
            if key != _SPREAD[len(spread) % 2] or b"," in value:
                raise TreeRefusedError("its sparse map is not in order")
            spread.append(value)
        elif key in found:
            raise TreeRefusedError(f"its pax record {shown(b'GNU.sparse.' + key)} is there twice")
        else:
            found[key] = value
    if spread:
        found[b"map"] = b",".join(spread)
    return found


def read_map(
    records: t.Mapping[bytes, bytes], stored: int, stream: LayerStream
) -> tuple[int, Segments]:
    """Return the size of a sparse file, and the places of its ``stored`` bytes, which come next in ``stream``.

    ``records`` are those of ``records_of``. Raise TreeRefusedError if they contradict each other, TreeUnsupportedError for
    another version.
    """
    version = records.get(b"major"), records.get(b"minor")
    if version == (b"1", b"0"):
        numbers, length = _map_before_content(stored, stream)
        stored -= length
    elif version in _OLD and b"map" in records:
        text = records[b"map"]
        numbers = list(map(_number, text.split(b","))) if text else []
        if len(numbers) != 2 * _number(records.get(b"numblocks", b"")):
            raise TreeRefusedError("its sparse map has another length than it states")
    else:
        raise TreeUnsupportedError("is a sparse file of an unknown version")
    size = _number(records.get(b"size") or records.get(b"realsize") or b"")
    segments = tuple(zip(numbers[::2], numbers[1::2]))
    end = 0
    for offset, length in segments:
        if offset < end:
            raise TreeRefusedError("its sparse map is not in order")
        end = offset + length
    if end > size or sum(length for _offset, length in segments) != stored:
        raise TreeRefusedError("its sparse map does not fit its size")
    return size, segments


def _map_before_content(stored: int, stream: LayerStream) -> tuple[list[int], int]:
    """Return the numbers in the blocks before the content of version 1.0, and how many bytes these blocks have."""
    text = bytearray()
    needed = lines = 0
    while not needed or lines < needed:
        if len(text) + BLOCK > min(stored, _LONGEST_MAP):
            raise TreeRefusedError("its sparse map does not end")
        block = stream.read(BLOCK)
        text += block
        if len(block) < BLOCK:
            raise TreeRefusedError("the archive ends inside a sparse map")
        lines += block.count(b"\n")
        if lines and not needed:
            needed = 1 + 2 * _number(bytes(text.partition(b"\n")[0]))
    return list(map(_number, bytes(text).split(b"\n")[1:needed])), len(text)


def _number(text: bytes) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > _LARGEST:
        raise TreeRefusedError("its sparse map is malformed")
    return int(text)
