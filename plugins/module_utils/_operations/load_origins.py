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
from .._store.source import StoreSource
from .._store.store import ImageStore
from .feed import BlobFeed, FedBlob
from .fetching import FetchOptions
from .known_configs import KnownConfigs

# What is sent at once is lost if the task is killed before the engine has taken it: at most this many bytes, and a small
# part of all.
_LARGEST_BATCH = 64 * 1024 * 1024
_FEWEST_BATCHES = 25


class Origin:
    """Where images come from: a store, unless a method says otherwise."""

    known: KnownConfigs | None = None
    is_local = True  # whether blobs can be opened before ``running``

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self._names = store.names()

    @property
    def batch(self) -> int | None:
        """The bytes of blobs that are sent to the engine at once, None for no limit."""
        return None

    @property
    def warnings(self) -> t.Sequence[str]:
        """What users should know of where the images come from."""
        return ()

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

    def require(self, load: Load) -> None:
        """Raise NotInStoreError for the first blob of a load that is missing here."""
        source = StoreSource(self.store, self._names, load.image.reference, lambda *_args: False)
        for blob in load.blobs:
            source.require(blob)

    def plan(self, loads: t.Sequence[Load]) -> None:
        """Take the plan; raise NoSpaceError if the disk is too small for it."""

    @property
    def has_news(self) -> bool:
        """Whether ``remember`` has something to write; by default not."""
        return False

    def remember(self) -> None:
        """Write what makes the next run cheaper."""

    def running(self) -> t.ContextManager[None]:
        """Return what is held while images are sent."""
        return contextlib.nullcontext()

    def finish(self) -> None:
        """Say that all images have arrived, inside ``running``."""

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
    """The registries of the images. What is downloaded is removed after it was sent."""

    is_local = False

    def __init__(self, store: ImageStore, sources: Sources, options: FetchOptions) -> None:
        super().__init__(store)
        self.known = self._known = KnownConfigs(store)
        self._sources, self._options = sources, options
        self._feed = BlobFeed(store, options.chunks, options.workers)
        self._learned: dict[Digest, Manifest] = {}
        self._batch = _LARGEST_BATCH

    @property
    def batch(self) -> int:
        return self._batch

    @property
    def warnings(self) -> t.Sequence[str]:
        return self._sources.warnings

    def source(self, reference: Reference) -> ContentSource:
        return self._sources.repository(reference)

    def prepare(self) -> None:
        self._sources.prepare()

    def read_manifest(self, digest: Digest) -> Manifest | None:
        return self._learned.get(digest) or super().read_manifest(digest)

    def learn(self, reference: Reference, root: Digest, platform: Platform) -> None:
        source = self.source(reference)

        def read(descriptor: Descriptor) -> Manifest | None:
            offered = descriptor.platform
            if offered and platform.rank(offered) is None:
                return None
            # The registry can have removed it; then more is sent than needed.
            with contextlib.suppress(errors.RegistryError, errors.ContentError):
                manifest = source.read_manifest(descriptor.digest)[1]
                self._learned[descriptor.digest] = manifest
                return manifest
            return None

        for _node in walk(Descriptor("", root, 0), read):
            pass

    def require(self, load: Load) -> None:
        """Raise UnsupportedError for the first blob of a load that registries do not have."""
        for blob in load.blobs:
            if blob.is_foreign and not self._options.foreign and not self.store.has(blob):
                raise errors.UnsupportedError(
                    f"{load.name}: its layer {blob.digest} is a foreign layer, which no registry has",
                    "Set foreign_layers to fetch, to download it from where its manifest says.",
                )

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
        size = sum(load.bytes_sent for load in loads)
        self._batch = min(_LARGEST_BATCH, size // _FEWEST_BATCHES)

    @property
    def has_news(self) -> bool:
        return self._known.has_news

    def remember(self) -> None:
        if self.has_news:
            self.store.prepare()
            self._known.save()

    def running(self) -> t.ContextManager[None]:
        return self._feed.running()

    def finish(self) -> None:
        self._feed.finish()

    def open(self, blob: Descriptor) -> t.ContextManager[t.BinaryIO]:
        return self._feed.open(blob)

    def stats(self) -> t.Mapping[str, t.Any]:
        return {"registry": self._sources.stats()}
