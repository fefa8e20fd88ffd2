# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive in a layer: decompressed in small pieces, counted and hashed before anything reads it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import typing as t
import zlib

from .._image.names import Digest
from .errors import DiffIdMismatchError, LayerTooLargeError, TreeRefusedError

PIECE = 64 * 1024  # of compressed bytes
OUTPUT = 256 * 1024  # of decompressed bytes; both fit into the cache of a processor
_WITH_HEADER = 31  # zlib's window bits for a gzip stream

Pieces = t.Iterator[bytes]


class LayerStream:
    """The bytes of an archive, read once from the first to the last. ``position`` counts those that were read."""

    def __init__(self, pieces: Pieces) -> None:
        self.position = 0
        self._pieces = pieces
        self._view = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer at the end of the archive."""
        if size <= len(self._view):
            data = bytes(self._view[:size])
            self._view = self._view[size:]
            self.position += size
            return data
        return b"".join(bytes(chunk) for chunk in self.chunks(size))

    def chunks(self, size: int) -> t.Iterator[memoryview]:
        """Yield the next ``size`` bytes in pieces that are not copied; fewer at the end of the archive."""
        while size > 0:
            if not self._view:
                self._view = memoryview(next(self._pieces, b""))
                if not self._view:
                    return
            chunk = self._view[:size]
            self._view = self._view[len(chunk) :]
            self.position += len(chunk)
            size -= len(chunk)
            yield chunk

    def skip_to(self, position: int) -> int:
        """Skip bytes up to a position; return how many of them are missing."""
        for _chunk in self.chunks(position - self.position):
            pass
        return position - self.position

    def drain(self) -> None:
        """Skip the rest: what follows the end of an archive belongs to its digest."""
        for _chunk in self.chunks(1 << 62):
            pass


class Hashed:
    """Pieces of an archive on their way to its reader; raise LayerTooLargeError for more than ``limit`` bytes."""

    def __init__(self, pieces: Pieces, diff_id: Digest, limit: int, where: str) -> None:
        self.size = 0
        self._pieces, self._diff_id, self._limit, self._where = pieces, diff_id, limit, where
        self._hash = hashlib.new(diff_id.algorithm)

    def __iter__(self) -> Pieces:
        for piece in self._pieces:
            self.size += len(piece)
            if self.size > self._limit:
                raise LayerTooLargeError(
                    f"{self._where}: has more than {self._limit} bytes without its compression"
                )
            self._hash.update(piece)
            yield piece

    def require_match(self) -> None:
        """Raise DiffIdMismatchError unless all bytes together have the diff id."""
        got = f"{self._diff_id.algorithm}:{self._hash.hexdigest()}"
        if got != str(self._diff_id):
            raise DiffIdMismatchError(
                f"{self._where}: its archive has the digest {got}, the configuration of the image states {self._diff_id}"
            )


def gunzip(pieces: Pieces, where: str) -> Pieces:
    """Yield the content of a gzip file (RFC 1952) with one or more members; raise TreeRefusedError if it is not complete."""
    make, failures = inflaters()
    inflater = None
    try:
        for piece in pieces:
            data = piece
            while data:
                if inflater is None:
                    inflater = make(_WITH_HEADER)
                output = inflater.decompress(data, OUTPUT)
                if output:
                    yield output
                data = inflater.unconsumed_tail
                if inflater.eof:
                    data, inflater = inflater.unused_data, None
        while inflater and not inflater.eof:
            output = inflater.decompress(b"", OUTPUT)
            if not output:
                raise TreeRefusedError(f"{where}: its gzip stream ends too early")
            yield output
    except failures as exc:
        raise TreeRefusedError(f"{where}: is not a valid gzip stream: {exc}") from exc


def blocks_of(file: t.BinaryIO, size: int = PIECE) -> Pieces:
    """Yield the content of a file."""
    return iter(lambda: file.read(size), b"")


@functools.cache
def inflaters() -> tuple[t.Callable[[int], t.Any], tuple[type[Exception], ...]]:
    """Return what makes a decompressor, and what that raises. ISA-L is faster than zlib, where it is installed.

    Call it in the main thread before threads decompress, as it imports a library.
    """
    with contextlib.suppress(ImportError):
        from isal import isal_zlib

        return isal_zlib.decompressobj, (isal_zlib.error, zlib.error)
    return zlib.decompressobj, (zlib.error,)
