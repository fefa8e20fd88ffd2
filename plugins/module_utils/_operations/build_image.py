# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that a recipe makes: its content as descriptors, and as actions that store it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._build.compress import (
    GZIP,
    ZSTD,
    compressed,
    diff_id_of,
    joined,
    measured,
    media_type_of_layer,
)
from .._build.errors import BuildContextError
from .._build.layers import archive_of
from .._build.recipe import Recipe, config_of, manifest_of
from .._build.tree import Changes
from .._execution import Pool
from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from .._plan import Action
from .._store.reader import IndexEntry
from .._store.store import ImageStore
from .actions import StoreContent
from .build_options import BuildOptions

# A build of zlib or zstd can write other bytes than the one that wrote the image in place.
_BY_LIBRARY = (GZIP, ZSTD)


@dataclass(frozen=True)
class BuildLayer(Action):
    """Write a layer. Its files are read again, and must be those that the plan has read."""

    descriptor: Descriptor
    diff_id: Digest
    created_by: str
    changes: Changes = field(repr=False)
    mtime: int = field(repr=False)
    compression: str = field(repr=False)
    sink: ImageStore = field(repr=False)
    needed_by: tuple[str, ...] = field(default=(), repr=False)
    urgency: tuple[float, ...] = field(default=(0.0,), repr=False)

    def summary(self) -> dict[str, t.Any]:
        return dict(
            self.descriptor.as_result(),
            action="build_layer",
            diff_id=str(self.diff_id),
            created_by=self.created_by,
        )

    def apply(self, pool: Pool) -> None:
        archive = joined(archive_of(self.changes, self.mtime))
        try:
            self.sink.write(self.descriptor, compressed(archive, self.compression))
        except errors.ContentError as exc:
            raise BuildContextError(
                f"layer of {self.created_by!r}: its files changed while the task ran",
                "Run again when nothing writes to the context.",
            ) from exc


class NewLayer(t.NamedTuple):
    """A layer that the build adds: its descriptor is None while only the digest of its archive is known."""

    created_by: str
    changes: Changes
    diff_id: Digest
    blob: Descriptor | None = None

    def as_result(self) -> dict[str, t.Any]:
        """Return the layer as modules return it."""
        blob = self.blob
        return {
            "diff_id": str(self.diff_id),
            "digest": str(blob.digest) if blob else None,
            "size": blob.size if blob else None,
            "created_by": self.created_by,
        }


class NewImage(t.NamedTuple):
    """The image that a build makes: a ``Planned`` for the order of content."""

    name: str
    target: Descriptor
    config: Descriptor
    layers: t.Sequence[NewLayer]
    content: t.Sequence[t.Any]


class Maker:
    """Makes the image of a recipe, as descriptors and actions."""

    def __init__(self, store: ImageStore, options: BuildOptions, recipe: Recipe) -> None:
        self._store, self._options, self._recipe = store, options, recipe
        base = recipe.image
        self._base = [layer.blob for layer in base.layers] if base else []

    def make(self, before: IndexEntry | None) -> NewImage:
        """Return the image; the one in place is kept if it has the same files and configuration.

        That is one with the same digest or, if the bytes depend on a library, with the same configuration, which states
        the digests of all archives.
        """
        options = self._options
        if options.compression in _BY_LIBRARY and before:
            layers = [
                NewLayer(by, changes, diff_id_of(archive_of(changes, options.created)))
                for by, changes in self._changes()
            ]
            kept = self._kept(before, layers)
            if kept:
                return kept
        layers = []
        for by, changes in self._changes():
            archive = archive_of(changes, options.created)
            diff_id, blob = measured(archive, options.compression, options.form)
            layers.append(NewLayer(by, changes, diff_id, blob))
        config = self._config(layers)
        blobs = [layer.blob for layer in layers if layer.blob]
        target, descriptor, raw = manifest_of(config, self._base, blobs, options.form)
        content = [self._layer(one, one.blob) for one in layers if one.blob]
        content += [
            StoreContent(descriptor, config, self._store),
            StoreContent(target, raw, self._store),
        ]
        missing = [one for one in content if not self._store.has(one.descriptor)]
        once = {one.descriptor.digest: one for one in missing}
        name = options.name.store_name
        return NewImage(name, target, descriptor, layers, list(once.values()))

    def _changes(self) -> list[tuple[str, Changes]]:
        steps = self._recipe.steps
        return [(step.created_by, step.changes) for step in steps if step.changes is not None]

    def _config(self, layers: t.Sequence[NewLayer]) -> bytes:
        diff_ids = [layer.diff_id for layer in layers]
        return config_of(self._recipe, diff_ids, self._options.created, self._options.platform)

    def _layer(self, layer: NewLayer, blob: Descriptor) -> t.Any:
        options = self._options
        return BuildLayer(
            blob, layer.diff_id, layer.created_by, layer.changes, options.created, options.compression, self._store
        )  # fmt: skip

    def _kept(self, before: IndexEntry, layers: t.Sequence[NewLayer]) -> NewImage | None:
        """Return the image in place if it is what the build makes, with layers that another library compressed."""
        manifest = self._store.manifest(before.target.digest, before.target.media_type)
        config = self._config(layers)
        if (
            manifest is None
            or manifest.config is None
            or not manifest.config.digest.matches(config)
        ):
            return None
        options = self._options
        own = manifest.layers[len(self._base) :]
        media_type = media_type_of_layer(options.compression, options.form)
        blobs = [Descriptor(media_type, one.digest, one.size) for one in own]
        expected = manifest_of(config, self._base, blobs, options.form)
        is_whole = all(map(self._store.has, manifest.blobs))
        if expected[0] != before.target or len(own) != len(layers) or not is_whole:
            return None
        found = [layer._replace(blob=blob) for layer, blob in zip(layers, own)]
        return NewImage(options.name.store_name, before.target, manifest.config, found, [])
