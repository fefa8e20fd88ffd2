# SPDX-License-Identifier: GPL-3.0-or-later
"""How layers are compressed, by their media types (image-spec v1.1, layer.md)."""

from __future__ import annotations

import typing as t

from .._image.manifest import Descriptor, media_type_of
from .errors import TreeUnsupportedError
from .stream import Pieces, blocks_of, gunzip

GZIP, PLAIN, ZSTD = "gzip", "", "zstd"
_COMPRESSIONS = {
    "application/vnd.oci.image.layer.v1.tar": PLAIN,
    "application/vnd.docker.image.rootfs.diff.tar": PLAIN,
}
_SUFFIXES = {"+gzip": GZIP, ".gzip": GZIP, "+zstd": ZSTD, ".zstd": ZSTD, "": PLAIN}
_FOREIGN = (
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.v1.tar"),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.diff.tar"),
)  # fmt: skip


def compression_of(layer: Descriptor) -> str:
    """Return how a layer is compressed (image-spec v1.1, layer.md); raise TreeUnsupportedError for an unknown media type."""
    text = media_type_of(layer.media_type)
    for foreign, usual in _FOREIGN:
        text = text.replace(foreign, usual)
    for base in _COMPRESSIONS:
        if text.startswith(base):
            found = _SUFFIXES.get(text[len(base) :])
            if found is not None:
                return found
    raise TreeUnsupportedError(
        f"layer {layer.digest}: its media type {layer.media_type} is not that of a tar archive",
        "Use an image with layers in tar, gzip or zstd that are not encrypted.",
    )


def decompressed(file: t.BinaryIO, where: str) -> Pieces:
    """Yield the archive in a layer with gzip."""
    return gunzip(blocks_of(file), where)


def undecompressed(file: t.BinaryIO, where: str) -> Pieces:
    """Yield the archive in a layer without compression."""
    return blocks_of(file)
