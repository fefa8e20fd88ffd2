# SPDX-License-Identifier: GPL-3.0-or-later
"""What decompresses the layer of an image, by its media type."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from .._archive import zstd
from .._image import errors
from .._image.manifest import Descriptor
from .._rootfs.compression import GZIP, ZSTD, compression_of, decompressed, undecompressed
from .._rootfs.errors import TreeRefusedError, TreeUnsupportedError
from .._rootfs.stream import OUTPUT, Pieces

_INSTALL = "Install zstandard for the Python of this host, or push the image with gzip."


def decompressor(blob: Descriptor) -> t.Callable[[t.BinaryIO, str], Pieces]:
    """Return what reads the archive in a layer; raise TreeUnsupportedError if nothing can."""
    compression = compression_of(blob)
    if compression == ZSTD:
        if not zstd.is_available():
            raise TreeUnsupportedError(
                f"layer {blob.digest}: is compressed with zstd, for which this Python has no library",
                _INSTALL,
            )
        return functools.partial(_without_zstd, blob)
    return decompressed if compression == GZIP else undecompressed


def _without_zstd(blob: Descriptor, file: t.BinaryIO, where: str) -> Pieces:
    try:
        with zstd.decompressed(blob, contextlib.nullcontext(file)) as plain:
            yield from iter(lambda: plain.read(OUTPUT), b"")
    except errors.DigestMismatchError as exc:
        raise TreeRefusedError(str(exc)) from exc
