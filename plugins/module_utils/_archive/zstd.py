# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that are compressed with zstd (RFC 8878), read as the tar archives that they are."""

from __future__ import annotations

import contextlib
import hashlib
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, media_type_of
from .._image.names import Digest

# As in ``archive.py``, which is not imported: an unpack needs no archives.
Opened = t.ContextManager[t.BinaryIO]
_CHUNK = 1024 * 1024


def is_zstd(layer: Descriptor) -> bool:
    """Return whether the media type of a layer says that it is compressed with zstd (image-spec v1.1, layer.md)."""
    return media_type_of(layer.media_type).endswith(("+zstd", ".zstd"))


def is_available() -> bool:
    """Return whether this Python can read zstd."""
    return _library() is not None


@contextlib.contextmanager
def decompressed(layer: Descriptor, opened: Opened) -> t.Iterator[t.BinaryIO]:
    """Open a layer as the tar archive in it.

    Reading raises DigestMismatchError for what is not zstd, or is not complete.
    """
    library = _library()
    if library is None:
        raise errors.DependencyError("no library for zstd", library="zstandard")
    open_file, failure = library
    with opened as file:
        yield t.cast(t.BinaryIO, _Plain(open_file(file), failure, f"layer {layer.digest}"))


def measure(layer: Descriptor, diff_id: Digest, opened: Opened) -> int:
    """Return the size of a layer without compression; raise DigestMismatchError if its content is not ``diff_id``."""
    size, hashed = 0, hashlib.new(diff_id.algorithm)
    with decompressed(layer, opened) as file:
        for data in iter(lambda: file.read(_CHUNK), b""):
            size += len(data)
            hashed.update(data)
    if hashed.hexdigest() != diff_id.encoded:
        raise errors.DigestMismatchError(
            f"layer {layer.digest}: without its compression it is not {diff_id}",
            "Ask the publisher of the image to push it again.",
        )
    return size


class _Plain:
    """A file that only reads: its decompressor would give away the file below it."""

    def __init__(self, file: t.Any, failure: type[Exception], where: str) -> None:
        self._file, self._failures, self._where = file, (failure, EOFError), where

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        try:
            return bytes(self._file.read(size))
        except self._failures as exc:
            raise errors.DigestMismatchError(
                f"{self._where} is not complete zstd: {exc}", errors.CorruptStoreError.advice
            ) from exc


def _library() -> tuple[t.Callable[[t.Any], t.Any], type[Exception]] | None:
    """Return what opens a zstd file, and what that raises; None if this Python has no library for it."""
    with contextlib.suppress(ImportError):
        from compression import zstd  # Python 3.14

        return zstd.ZstdFile, zstd.ZstdError
    with contextlib.suppress(ImportError):
        from backports import zstd

        return zstd.ZstdFile, zstd.ZstdError
    with contextlib.suppress(ImportError):
        import zstandard

        # A layer may have several frames: zstd:chunked does.
        reader = zstandard.ZstdDecompressor().stream_reader
        return lambda file: reader(
            file, read_across_frames=True, closefd=False
        ), zstandard.ZstdError
    return None
