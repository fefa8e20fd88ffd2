# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers for engines that cannot read zstd: sent without compression, under the digests that the configuration states."""

from __future__ import annotations

from dataclasses import replace

from .._archive import zstd
from .._archive.image_archive import OpenBlob
from .._image.manifest import Descriptor
from .._image.names import Digest
from . import errors
from .engine import Load

_TAR = "application/vnd.oci.image.layer.v1.tar"


class PlainLayers:
    """The zstd layers of a task, each measured once: their sizes are needed before the first byte is sent."""

    def __init__(self) -> None:
        self._known: dict[Digest, Descriptor] = {}

    def prepare(self, load: Load, open_blob: OpenBlob | None) -> Load:
        """Return the load with its zstd layers decompressed, as in ``Engine.prepare``."""
        image = load.image
        plain = {
            layer.blob.digest: self._measured(load, layer.blob, layer.diff_id, open_blob)
            for layer in image.layers
            if zstd.is_zstd(layer.blob)
            and (layer.blob in load.blobs or layer.blob.digest in self._known)
        }
        return replace(load, image=replace(image, plain=plain)) if plain else load

    def _measured(
        self, load: Load, blob: Descriptor, diff_id: Digest, open_blob: OpenBlob | None
    ) -> Descriptor:
        if blob.digest not in self._known:
            if not zstd.is_available():
                raise errors.UnsupportedLayerError(
                    f"{load.name}: layer {blob.digest} is compressed with zstd, which this engine cannot read"
                )
            if open_blob is None:
                raise errors.UnsupportedLayerError(
                    f"{load.name}: layer {blob.digest} is compressed with zstd, which this engine cannot read, and is"
                    " decompressed only from a store",
                    "Pull the image with lockstep.images.image_pull and set source to store, or upgrade the engine.",
                )
            size = zstd.measure(blob, diff_id, open_blob(blob))
            self._known[blob.digest] = Descriptor(_TAR, diff_id, size)
        return self._known[blob.digest]
