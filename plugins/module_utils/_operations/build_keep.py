# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the image that an engine made. Layers of the base stay as they are in the store."""

from __future__ import annotations

import functools

from .._build.compress import compressed, diff_id_of, joined, measured
from .._build.recipe import manifest_of
from .._image import errors
from .._image.manifest import Descriptor, ImageConfig, Manifest
from .._image.names import Digest
from .._rootfs.stream import Pieces
from .._store.store import ImageStore
from .build_work import Made, Work
from .layer_archive import decompressor

ANNOTATION = "io.lockstep.build"


class Keeper:
    """Stores an image, whose layers must be what its configuration states."""

    def __init__(self, made: Made, work: Work, store: ImageStore) -> None:
        self._made, self._work, self._store = made, work, store

    def keep(self) -> tuple[Descriptor, Manifest, ImageConfig]:
        """Return the descriptor of the stored manifest, with the manifest and the configuration."""
        made, options, where = self._made, self._work.options, str(self._work.engine)
        config = ImageConfig.parse(made.config, where)
        if len(made.layers) != len(config.diff_ids):
            raise errors.ManifestError(f"{where}: layers and diff ids differ in number")
        base = self._base_of(config)
        pairs = list(zip(made.layers, config.diff_ids))[len(base) :]
        layers = [self._layer(layer, diff_id) for layer, diff_id in pairs]
        annotations = {ANNOTATION: str(self._work.inputs)}
        target, descriptor, own = manifest_of(made.config, base, layers, options.form, annotations)
        self._store.write(descriptor, [made.config])
        self._store.write(target, [own])
        return target, Manifest.parse(own, target.media_type, where), config

    def _base_of(self, config: ImageConfig) -> list[Descriptor]:
        """Return the layers of the base image that the new image starts with."""
        best: list[Descriptor] = []
        for image in self._work.images.values():
            diff_ids = image.config.diff_ids
            if config.diff_ids[: len(diff_ids)] == diff_ids and len(diff_ids) > len(best):
                best = [layer.blob for layer in image.layers]
        return best

    def _layer(self, layer: Descriptor, diff_id: Digest) -> Descriptor:
        """Store a layer with the compression of the task; raise DigestMismatchError if it is not its diff id."""
        options = self._work.options
        archive = functools.partial(self._archive, layer)
        if diff_id_of(archive()) != diff_id:
            raise errors.DigestMismatchError(f"{self._work.engine}: a layer is not {diff_id}")
        blob = measured(archive(), options.compression, options.form)[1]
        if not self._store.has(blob):
            self._store.write(blob, compressed(joined(archive()), options.compression))
        return blob

    def _archive(self, layer: Descriptor) -> Pieces:
        with self._made.open(layer) as file:
            yield from decompressor(layer)(file, f"layer {layer.digest}")
