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
# part of all. As each batch costs an engine time, parts of few bytes are larger.
_LARGEST_BATCH = 64 * 1024 * 1024
_SMALLEST_BATCH = 512 * 1024
_SMALL_PART, _LARGE_PART = 25, 4
_PULL = "Pull it first, for the platform that is loaded."

# Returns a manifest with a digest and a media type, None for one that is not known without reading it.
KnownManifest = t.Callable[[Digest, str], t.Optional[Manifest]]


class Origin:
    """Where images come from: a store, unless a method says otherwise."""

    known: KnownConfigs | None = None
    is_local = True  # whether blobs can be opened before ``running``
    fetched = 0  # bytes from elsewhere, so far

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self._names = store.names()

    @property
    def warnings(self) -> t.Sequence[str]:
        """What users should know of where the images come from."""
        return ()

    def source(self, reference: Reference) -> ContentSource:
        """Return the source of an image."""
        return self._in_store(reference)

    def prepare(self) -> None:
        """Import what reading needs. Call it in the main thread, before a pool starts."""

    def read_manifest(self, digest: Digest) -> Manifest | None:
        """Return a manifest by its digest, None if it is not known here."""
        return self.store.manifest(digest)

    def learn(
        self, reference: Reference, root: Digest, platform: Platform, known: KnownManifest
    ) -> None:
        """Make the manifests known of an image that the engine holds under a name; by default they are not.

        ``known`` returns those that need not be read.
        """

    def require(self, load: Load) -> None:
        """Raise NotInStoreError for the first blob of a load that is missing here."""
        source = self._in_store(load.image.reference)
        for blob in load.blobs:
            source.require(blob)

    def limit(self, size: int, lanes: int) -> int | None:
        """Return how many of ``size`` bytes of blobs each lane of an engine is sent at once, None for no limit."""
        return None

    def plan(self, loads: t.Iterable[Load]) -> None:
        """Take the plan, in the order of the sends; raise NoSpaceError if the disk is too small for it."""

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

    def _in_store(self, reference: Reference) -> StoreSource:
        return StoreSource(self.store, self._names, reference, lambda *_args: False, _PULL)


class RegistryOrigin(Origin):
    """The registries of the images. What is downloaded is removed after it was sent."""

    is_local = False

    def __init__(self, store: ImageStore, sources: Sources, options: FetchOptions) -> None:
        super().__init__(store)
        self.known = self._known = KnownConfigs(store)
        self._sources, self._options = sources, options
        self._feed = BlobFeed(store, options.chunks, options.workers)
        self._learned: dict[Digest, Manifest] = {}

    @property
    def warnings(self) -> t.Sequence[str]:
        return self._sources.warnings

    def source(self, reference: Reference) -> ContentSource:
        return self._sources.repository(reference)

    def prepare(self) -> None:
        self._sources.prepare()

    def read_manifest(self, digest: Digest) -> Manifest | None:
        return self._learned.get(digest) or super().read_manifest(digest)

    def learn(
        self, reference: Reference, root: Digest, platform: Platform, known: KnownManifest
    ) -> None:
        source = self.source(reference)

        def read(descriptor: Descriptor) -> Manifest | None:
            offered = descriptor.platform
            if offered and platform.rank(offered) is None:
                return None
            manifest = known(descriptor.digest, descriptor.media_type)
            # The registry can have removed it; then more is sent than needed.
            with contextlib.suppress(errors.RegistryError, errors.ContentError):
                manifest = manifest or source.read_manifest(descriptor.digest)[1]
                self._learned[descriptor.digest] = manifest
            return manifest

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

    def limit(self, size: int, lanes: int) -> int | None:
        small = min(_SMALLEST_BATCH, size // _LARGE_PART)
        return min(_LARGEST_BATCH, max(small, size // (lanes * _SMALL_PART)))

    def plan(self, loads: t.Iterable[Load]) -> None:
        expected: list[Descriptor] = []
        for load in loads:
            reference = load.image.reference
            source = self.source(reference)
            for blob in load.image.manifest.layers:
                foreign = blob.is_foreign and self._options.foreign
                self._feed.add(
                    FedBlob(blob, self._sources.foreign(reference, blob) if foreign else source)
                )
            expected += load.blobs
        self._feed.expect(expected)

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

    @property
    def fetched(self) -> int:  # type: ignore[override]
        return int(self._sources.stats()["bytes_fetched"])

    def stats(self) -> t.Mapping[str, t.Any]:
        return {"registry": self._sources.stats()}
