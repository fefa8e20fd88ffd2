# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that an unpack reads from a store, with what opens and decompresses their layers."""

from __future__ import annotations

import functools
import hashlib
import os
import typing as t
from dataclasses import dataclass, field

from .._image import errors
from .._image.chain import chain_ids
from .._image.graph import closure_of
from .._image.manifest import Descriptor, ImageConfig, Manifest
from .._image.names import Digest, Platform
from .._rootfs.builders import PlannedLayer
from .._rootfs.layers import LayerSource
from .._rootfs.state import TreeState
from .._store.files import access, read_chunks
from .._store.reader import StoreReader
from .find import find_label, not_in_store
from .layer_archive import decompressor

_OTHER_PLATFORM = "Give the platform of the image as platform."


@dataclass
class PlannedImage:
    """An image of the store, and the directories of its layers."""

    name: str
    root: Digest
    config: ImageConfig
    layers: tuple[PlannedLayer, ...]
    doubt: str = ""
    damaged: dict[str, str] = field(default_factory=dict)  # by the key of a layer

    @property
    def chain_id(self) -> str | None:
        """The identity of the whole tree; None for an image without layers."""
        return str(self.layers[-1].chain_id) if self.layers else None

    def is_missing(self, layer: PlannedLayer) -> bool:
        """Return whether the task unpacks a layer of the form ``layers``."""
        return layer.record is None or layer.key in self.damaged


class StoredImages:
    """Reads images of a store from their manifests and configurations, for ``platform`` or for that of the host.

    With ``is_shared``, a layer can be in place in the state directory. No layer is read.
    """

    def __init__(
        self, store: StoreReader, state: TreeState, platform: Platform | None, is_shared: bool
    ) -> None:
        self._store, self._state = store, state
        self._platform, self._is_shared = platform, is_shared
        self._labelled = store.labelled()

    def read(self, text: str) -> PlannedImage:
        """Return the image that ``find_label`` finds; raise NotInStoreError if it or a part of it is missing."""
        label = find_label(text, self._labelled)
        if label is None:
            raise not_in_store(self._store, text)
        return self._read(label, self._labelled[label].target)

    def _read(self, label: str, root: Descriptor) -> PlannedImage:
        wanted = self._platform or Platform.host()
        closure = closure_of(root, [wanted], functools.partial(self._manifest, label), label)
        image = closure.images[0]
        config = image.manifest.config
        if config is None or not config.is_image_config:
            raise errors.UnsupportedError(f"{label}: is an artifact, which has no files to unpack")
        for blob in image.manifest.blobs:
            if not self._store.has(blob):
                raise errors.NotInStoreError(
                    f"{self._store.path} does not hold {blob.digest} of {label}"
                )
        where = f"{label}: config {config.digest}"
        parsed = ImageConfig.parse(self._store.read(config.digest), where)
        doubt = _doubt(wanted, parsed.platform)
        if doubt and self._platform and not image.wanted:
            raise errors.NoPlatformError(
                f"{label}: {doubt}", _OTHER_PLATFORM, platforms=[str(parsed.platform)]
            )
        layers = self._layers(label, image.manifest.layers, parsed.diff_ids)
        return PlannedImage(
            label, root.digest, parsed, layers, f"{label}: {doubt}" if doubt else ""
        )

    def _manifest(self, label: str, descriptor: Descriptor) -> Manifest:
        manifest = self._store.manifest(descriptor.digest, descriptor.media_type)
        if manifest is None:
            raise errors.NotInStoreError(
                f"{self._store.path} does not hold {descriptor.digest} of {label}"
            )
        return manifest

    def _layers(
        self, label: str, blobs: t.Sequence[Descriptor], diff_ids: t.Sequence[Digest]
    ) -> tuple[PlannedLayer, ...]:
        if len(blobs) != len(diff_ids):
            raise errors.ManifestError(
                f"{label}: has {len(blobs)} layers, but its configuration states {len(diff_ids)} diff ids"
            )
        layers = []
        for blob, diff_id, chain_id in zip(blobs, diff_ids, chain_ids(diff_ids)):
            key = self._state.key(chain_id)
            source = LayerSource(blob, diff_id, self._opener(blob), decompressor(blob))
            record = self._state.layer(key) if self._is_shared else None
            layers.append(PlannedLayer(source, chain_id, key, record))
        return tuple(layers)

    def _opener(self, blob: Descriptor) -> t.Callable[[], t.ContextManager[t.BinaryIO]]:
        path = self._store.blob_path(blob.digest)

        def open_blob() -> t.BinaryIO:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with access(path):
                return os.fdopen(os.open(path, flags), "rb", buffering=0)

        return open_blob


def _doubt(wanted: Platform, actual: Platform | None) -> str:
    """Return why the files of an image could be for another platform than ``wanted``, "" if nothing says so."""
    if actual is None or actual.is_unknown or wanted.rank(actual) is not None:
        return ""
    return f"is for {actual}, not for {wanted}"


def require_intact(store: StoreReader, blob: Descriptor) -> None:
    """Raise CorruptStoreError if the store has other bytes than the digest of a blob: then its content proves nothing."""
    path = store.blob_path(blob.digest)
    hashed = hashlib.new(blob.digest.algorithm)
    for chunk in read_chunks(path):
        hashed.update(chunk)
    if hashed.hexdigest() != blob.digest.encoded:
        raise errors.CorruptStoreError(f"{path}: its bytes do not match its name", path=path)
