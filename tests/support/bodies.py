# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content of an answer or a blob: bytes in memory, a file on disk, or filler of any size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PIECE = 1 << 16


class Body(Protocol):
    """Content of a known size that can be read from any offset, in pieces."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``stop`` (default: the end)."""


@dataclass(frozen=True)
class MemoryBody:
    """Bytes in memory."""

    data: bytes = b""

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``stop`` (default: the end)."""
        stop = len(self.data) if stop is None else min(stop, len(self.data))
        for offset in range(start, stop, PIECE):
            yield self.data[offset : min(offset + PIECE, stop)]


@dataclass(frozen=True)
class FileBody:
    """A file on disk, read while it is sent, so that memory use does not depend on its size."""

    path: Path

    @property
    def size(self) -> int:
        """The current size of the file in bytes."""
        return self.path.stat().st_size

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``stop`` (default: the end)."""
        left = (self.size if stop is None else stop) - start
        with self.path.open("rb") as source:
            source.seek(start)
            while left > 0:
                piece = source.read(min(PIECE * 4, left))
                if not piece:
                    return
                left -= len(piece)
                yield piece


@dataclass(frozen=True)
class Filler:
    """``prefix``, then ``pattern`` repeated up to ``size`` bytes in all, without using memory.

    For example an answer of a GiB: ``Filler(1 << 30, prefix=b'{"token":"')``.
    """

    size: int
    pattern: bytes = b" "
    prefix: bytes = b""

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``stop`` (default: the end)."""
        stop = self.size if stop is None else min(stop, self.size)
        head = self.prefix[start:stop]
        if head:
            yield head
        offset = max(start, len(self.prefix))
        unit = self.pattern * (PIECE // len(self.pattern) + 2)
        while offset < stop:
            shift = (offset - len(self.prefix)) % len(self.pattern)
            piece = unit[shift : shift + min(PIECE, stop - offset)]
            offset += len(piece)
            yield piece


def as_body(content: Any) -> Body:
    """Convert bytes, text, a ``Path`` or JSON data into a ``Body``.

    A ``Body`` is returned unchanged.
    """
    if isinstance(content, (bytes, bytearray, memoryview)):
        return MemoryBody(bytes(content))
    if isinstance(content, str):
        return MemoryBody(content.encode("utf-8"))
    if isinstance(content, Path):
        return FileBody(content)
    if hasattr(content, "chunks"):
        return content  # type: ignore[no-any-return]
    return MemoryBody(json.dumps(content).encode("utf-8"))


def digest_of(content: Any, algorithm: str = "sha256") -> str:
    """Return the digest of ``content``, which is anything that ``as_body`` accepts."""
    state = hashlib.new(algorithm)
    for piece in as_body(content).chunks():
        state.update(piece)
    return f"{algorithm}:{state.hexdigest()}"
