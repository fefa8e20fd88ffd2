# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of an engine as the kubelet sees them: the image service of the CRI, over gRPC (cri-api, runtime/v1/api.proto).

The messages have few fields, so they are written and read here, without generated code.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

import grpc

_SERVICE = "/runtime.v1.ImageService"
_VARINT, _BYTES = 0, 2


class CriImage(t.NamedTuple):
    """An image of the kubelet: ``id`` is the digest of its configuration."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    pinned: bool


class ImageService:
    """The image service behind a Unix socket."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def images(self) -> list[CriImage]:
        """Return ListImages."""
        answer = self._call("ListImages", b"")
        return [_image(value) for number, value in _fields(answer) if number == 1]

    def status(self, name: str) -> CriImage | None:
        """Return ImageStatus of a name, None if the kubelet would pull it."""
        spec = _message(1, name.encode())  # ImageSpec.image
        answer = self._call("ImageStatus", _message(1, spec))
        found = [value for number, value in _fields(answer) if number == 1]
        return _image(found[0]) if found else None

    def remove(self, name: str) -> None:
        """Call RemoveImage, as the garbage collection of the kubelet does."""
        self._call("RemoveImage", _message(1, _message(1, name.encode())))

    def _call(self, method: str, request: bytes) -> bytes:
        call = self._channel.unary_unary(f"{_SERVICE}/{method}")
        return call(request, timeout=20)


def _image(data: bytes) -> CriImage:
    fields = list(_fields(data))
    texts = {
        number: [value.decode() for found, value in fields if found == number]
        for number in (1, 2, 3)
    }
    pinned = any(value == b"\1" for number, value in fields if number == 8)
    return CriImage(texts[1][0], texts[2], texts[3], pinned)


def _message(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the value of each field; a number of up to 127 is one byte."""
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        size, place = _read_varint(data, place)
        if key & 7 == _VARINT:
            yield key >> 3, bytes([min(size, 255)])
        else:
            assert key & 7 == _BYTES
            yield key >> 3, data[place : place + size]
            place += size


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
