# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the images of a load come from: a store, or their registries without a copy in the store."""

from __future__ import annotations

import contextlib
import typing as t

from .._engines.engine import Load
from .._image import errors
from .._image.graph import walk
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference
from .._image.sources import ContentSource, Sources
from .._plan import Pool
from .._store.source import StoreSource
from .._store.store import ImageStore
from .feed import BlobFeed, FedBlob
from .fetching import FetchOptions
from .known_configs import KnownConfigs


class Origin:
    """Where images come from: a store, unless a method says otherwise."""

    batch: int | None = None  # bytes that are sent to the engine at once, None for no limit
    known: KnownConfigs | None = None
    is_local = True  # whether blobs can be opened before ``running``

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self._names = store.names()

    def source(self, reference: Reference) -> ContentSource:
        """Return the source of an image."""
        return StoreSource(self.store, self._names, reference, lambda *_args: False)

    def prepare(self) -> None:
        """Import what reading needs. Call it in the main thread, before a pool starts."""

    def read_manifest(self, digest: Digest) -> Manifest | None:
        """Return a manifest by its digest, None if it is not known here."""
        return self.store.manifest(digest)

    def learn(self, reference: Reference, root: Digest, platform: Platform) -> None:
        """Make the manifests known of an image that the engine holds under a name; by default they are not."""

    def plan(self, loads: t.Sequence[Load]) -> None:
        """Take the plan; raise NotInStoreError for the first blob to send that is missing here."""
        for load in loads:
            source = self.source(load.image.reference)
            if isinstance(source, StoreSource):
                for blob in load.blobs:
                    source.require(blob)

    def running(self, pool: Pool) -> t.ContextManager[None]:
        """Return what is held while images are sent."""
        return contextlib.nullcontext()

    def open(self, blob: Descriptor) -> t.ContextManager[t.BinaryIO]:
        """Open a blob; raise NotInStoreError if it is missing."""
        try:
            return open(self.store.blob_path(blob.digest), "rb")
        except FileNotFoundError:
            raise errors.NotInStoreError(
                f"{self.store.path} does not hold {blob.digest}",
                "Repair the store with lockstep.images.store_verify.",
            ) from None

    def stats(self) -> t.Mapping[str, t.Any]:
        """Return what the content has cost."""
        return {}


class RegistryOrigin(Origin):
    """The registries of the images. What is downloaded is removed once it was sent."""

    # Small enough that little is sent again after an interruption, large enough for many small images at once.
    batch = 64 * 1024 * 1024
    is_local = False

    def __init__(self, store: ImageStore, sources: Sources, options: FetchOptions) -> None:
        super().__init__(store)
        self.known = KnownConfigs(store)
        self._sources, self._options = sources, options
        self._feed = BlobFeed(store, options.chunks, options.workers)
        self._learned: dict[Digest, Manifest] = {}

    def source(self, reference: Reference) -> ContentSource:
        return self._sources.repository(reference)

    def prepare(self) -> None:
        self._sources.prepare()

    def read_manifest(self, digest: Digest) -> Manifest | None:
        return self._learned.get(digest) or super().read_manifest(digest)

    def learn(self, reference: Reference, root: Digest, platform: Platform) -> None:
        source = self.source(reference)

        def read(descriptor: Descriptor) -> Manifest | None:
            if descriptor.digest != root and descriptor.platform not in (None, platform):
                return None
            manifest = source.read_manifest(descriptor.digest)[1]
            self._learned[descriptor.digest] = manifest
            return manifest

        # The registry may have removed it; then more is sent than needed.
        with contextlib.suppress(errors.RegistryError, errors.ContentError):
            list(walk(Descriptor("", root, 0), read))

    def plan(self, loads: t.Sequence[Load]) -> None:
        for load in loads:
            reference = load.image.reference
            source = self.source(reference)
            for blob in load.image.manifest.layers:
                foreign = blob.is_foreign and self._options.foreign
                self._feed.add(
                    FedBlob(blob, self._sources.foreign(reference, blob) if foreign else source)
                )
        self._feed.expect(blob for load in loads for blob in load.blobs)
        self.store.require_space(self._feed.most_bytes)

    @contextlib.contextmanager
    def running(self, pool: Pool) -> t.Iterator[None]:
        with self._feed.running(pool):
            yield
            if self.known:
                self.known.save()

    def open(self, blob: Descriptor) -> t.ContextManager[t.BinaryIO]:
        return self._feed.open(blob)

    def stats(self) -> t.Mapping[str, t.Any]:
        return {"registry": self._sources.stats()}
