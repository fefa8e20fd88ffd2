# SPDX-License-Identifier: GPL-3.0-or-later
"""Import: a store gets the images of an archive. It is a pull whose only source is the archive."""

from __future__ import annotations

import contextlib
import typing as t

from .._archive.by_digest import ByDigest
from .._archive.contents import ArchivedImage, ImageArchive
from .._archive.errors import ArchiveError, ArchiveIncompleteError
from .._execution import in_parallel
from .._image import errors
from .._image.lock import Lock
from .._image.manifest import Descriptor, Manifest
from .._image.names import ALL, Digest, Reference, platforms_of
from .._image.sources import Blob, ChunkPolicy, ContentSource, Span, TransferStats
from .._image.walk import images_of, walk
from .._plan import Plan
from .._store.repair import FULL, RepairStore, verify_blob
from .actions import FetchBlob
from .fetching import FetchOptions, FetchPlanner, ImagePlan, ImageRequest
from .grouped import GroupedFetch

_DETAILED = 1000  # images; each action and layer needs some 700 bytes of memory and text
_NO_NAME = "Give its full name as name."


class ArchiveSource(ContentSource):
    """The content of an archive, as the repository of one image."""

    def __init__(self, archive: ImageArchive, subject: str, stats: TransferStats) -> None:
        self._archive, self._subject, self._stats = archive, subject, stats

    def __str__(self) -> str:
        return self._archive.media.where

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """Return a manifest by its digest, verified; raise ArchiveIncompleteError if the archive lacks it."""
        digest = t.cast(Digest, identifier)
        raw = self._archive.read(digest, self._subject)
        manifest = Manifest.parse(raw, "", f"{self}: {digest}")
        return Descriptor(manifest.media_type, digest, len(raw)), manifest

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        """Return the span of a blob; its bytes raise ChunkMissingError where a chunk is missing."""
        first, end = span or (0, descriptor.size)
        return (first, end), self._bytes(descriptor, first, end)

    def _bytes(
        self, descriptor: Descriptor, first: int, end: int
    ) -> t.Generator[bytes, None, None]:
        digest, archive = descriptor.digest, self._archive
        if digest not in archive.blobs and archive.has(
            digest
        ):  # a configuration of a docker-archive
            yield archive.read(digest, self._subject)[first:end]
            return
        place = archive.span(digest, self._subject)
        if place.size != descriptor.size:
            archive.media.require_sums()
            raise errors.SizeMismatchError(
                f"{self}: {self._subject}: {digest} has {place.size} bytes, its manifest states {descriptor.size}"
            )
        for piece in archive.media.pieces(place.offset + first, place.offset + end):
            # Plans read configurations, and those of many images twice.
            if not descriptor.is_image_config:
                self._stats.add("bytes_fetched", len(piece))
            yield piece

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        """Raise ChunkWrongError if chunks have other bytes than their list says."""
        self._archive.media.require_sums()
        return False


class ArchiveSources:
    """An archive, as the repositories of its images."""

    def __init__(self, archive: ImageArchive) -> None:
        self._archive, self._stats = archive, TransferStats()
        self.warnings: list[str] = []

    def prepare(self) -> None:
        """Do nothing: everything is imported."""

    def repository(self, reference: Reference) -> ContentSource:
        """Return the source of an image."""
        return ArchiveSource(self._archive, reference.store_name, self._stats)

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        """Return the same: an archive may have layers that registries must not distribute."""
        return self.repository(reference)

    def stats(self) -> t.Mapping[str, t.Any]:
        """Return what reading has cost. No request is ever sent."""
        return self._stats.as_result()


class _Choice(t.NamedTuple):
    """An image to import: what the archive has, None if the store must have it, and the name for it, if it is another."""

    image: ArchivedImage | None
    named: Reference | None = None

    @property
    def name(self) -> Reference:
        """The name of the image."""
        return t.cast(Reference, self.named or (self.image and self.image.reference))


def _choice(one: ArchivedImage | _Choice) -> _Choice:
    """Return a choice: of very many images, most are kept as they are."""
    return one if isinstance(one, _Choice) else _Choice(one)


class ImportPlanner:
    """Plans what a store gets of an archive.

    ``lock`` is what the images must be; it also selects them unless names are given. ``mode`` says how content that the
    store has is checked: by its size, or all its bytes, and all chunks by their sums then. Without ``details``, the
    result lists neither actions nor layers. By default, it lists them for up to 1,000 images.
    """

    def __init__(
        self,
        archive: ImageArchive,
        store: RepairStore,
        lock: Lock | None,
        mode: str,
        workers: int,
        details: bool | None = None,
    ) -> None:
        self._archive, self._store, self._lock, self._mode = archive, store, lock, mode
        self._details = details
        sources = ArchiveSources(archive)
        options = FetchOptions(workers, ChunkPolicy(), foreign=False, allow=True)
        embedded = lock.manifests if lock else None
        self._planner = FetchPlanner(store, sources, options, embedded=embedded)
        self._grouped = GroupedFetch(self._planner, self._plan_images)
        self._chosen: dict[str, ArchivedImage | _Choice] = {}
        self._verified: ByDigest[None] = ByDigest()

    def plan(self, names: t.Sequence[Reference] | None) -> Plan:
        """Return the plan; raise LockError if an image is not as locked, NotFoundError for a name that the archive lacks."""
        if self._mode == FULL:
            self._archive.media.require_sums()
        with self._archive.media.naming_wrong_chunks():
            self._chosen = self._choose(names)
        details = len(self._chosen) <= _DETAILED if self._details is None else self._details
        plan = self._grouped.plan([*self._chosen], details)
        media = self._archive.media
        images = ((name, _choice(one).image) for name, one in self._chosen.items())
        made = {name for name, image in images if image and image.is_made}
        facts = dict(
            plan.facts,
            made_manifests=sorted(made),
            missing_chunks=list(media.missing),
            stale_chunks=list(media.stale),
            store=self._store.path,
        )
        return plan._replace(
            facts=facts, warnings=lambda: [*plan.warnings(), *self._warnings(made)]
        )

    def forget(self) -> None:
        """Release what is known of the archive, once nothing more is read: the result of very many images needs the memory."""
        self._archive.forget()
        self._chosen = {}
        self._grouped.forget()

    def _plan_images(self, names: t.Sequence[str]) -> list[ImagePlan]:
        """Return the plans of images that can be imported."""
        requests = [self._request(_choice(self._chosen[name])) for name in names]
        plans = self._plan_all(requests)
        if self._mode == FULL:
            found = {one for plan in plans for one in plan.sizes if one not in self._verified}
            if self._find_corrupt(found):
                plans = self._plan_all(requests)
        return plans

    def _plan_all(self, requests: t.Sequence[ImageRequest]) -> list[ImagePlan]:
        """Return the plans of images, made without threads: what is read is on this host, and small."""

        def attempt(request: ImageRequest) -> ImagePlan | errors.LockstepError:
            try:
                with self._archive.media.naming_wrong_chunks():
                    plan = self._planner.plan_image(request)
                    self._require_complete(plan)
                return plan
            except errors.LockstepError as exc:
                return exc

        answers = ((one.reference.store_name, attempt(one)) for one in requests)
        return self._planner.keep(answers)

    def _require_complete(self, plan: ImagePlan) -> None:
        """Raise ArchiveIncompleteError unless an archive has all content that the store lacks."""
        archive = self._archive
        missing = [
            str(one.descriptor.digest)
            for one in plan.content
            if isinstance(one, FetchBlob) and not archive.has(one.descriptor.digest)
        ]
        # Behind a missing chunk, the content of the others is kept.
        if missing and archive.is_whole:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ArchiveIncompleteError(
                f"{archive.media.where}: {plan.name}: leaves out {missing[0]}{more}, and the store lacks"
                f" {'them' if more else 'it'}",
                digests=missing,
            )

    def _find_corrupt(self, digests: t.Collection[Digest]) -> bool:
        """Note content of the store that does not match its digest: it counts as missing. Return whether there is any."""
        store, listed = self._store, sorted(digests)
        found = in_parallel(lambda one: verify_blob(store, one), listed, self._planner.workers)
        corrupt = {digest for digest, reason in zip(listed, found) if reason}
        store.known_bad |= corrupt
        for digest in listed:
            self._verified[digest] = None
        return bool(corrupt)

    def _warnings(self, made: t.Collection[str]) -> list[str]:
        media, texts = self._archive.media, []
        if made:
            texts.append(
                f"{media.where}: is a docker-archive without manifests, so the digests of {', '.join(sorted(made))} are"
                " not those in a registry"
            )
        if media.missing:
            texts.append(str(media.missing_error()))
        if media.stale:
            texts.append(
                f"{media.where}: {', '.join(media.stale)} belong to another archive, and were not read"
            )
        return texts

    # Which images.

    def _choose(self, names: t.Sequence[Reference] | None) -> dict[str, ArchivedImage | _Choice]:
        """Return the images to import, by their names in the store."""
        archive, chosen = self._archive, {}  # type: ImageArchive, dict[str, ArchivedImage | _Choice]
        if names is None and not self._lock:
            for image in archive.images:
                reference = image.reference
                if reference is None:
                    raise ArchiveError(
                        f"{archive.media.where}: {image.label} is not the full name of an image",
                        _NO_NAME,
                    )
                name = reference.store_name
                chosen[image.label if image.label == name else name] = image
            return self._require_any(chosen)
        named = {one.reference.store_name: one for one in archive.images if one.reference}
        if names is None:
            self._require_locked(named)
            for locked in t.cast(Lock, self._lock).images:
                chosen[locked.name] = _Choice(named.get(locked.name), Reference.parse(locked.name))
        else:
            for reference in names:
                found = named.get(reference.store_name) or self._unnamed(reference)
                chosen[reference.store_name] = _Choice(found, reference)
        return self._require_any(chosen)

    def _require_any(self, chosen: dict[str, t.Any]) -> dict[str, t.Any]:
        if not chosen:
            raise ArchiveError(f"{self._archive.media.where}: names no image")
        return chosen

    def _require_locked(self, named: t.Mapping[str, ArchivedImage]) -> None:
        """Raise LockError for an image of the archive that the lock does not have, or has with another digest."""
        lock = t.cast(Lock, self._lock)
        for name, image in sorted(named.items()):
            locked = lock.image(t.cast(Reference, image.reference))
            if locked.digest != image.root.digest:
                raise errors.LockError(
                    f"{locked.place}: {name} is locked to {locked.digest}, {self._archive.media.where} has {image.root.digest}",
                    "Export the images of this lock file, or give the lock file that they were exported with.",
                )

    def _unnamed(self, reference: Reference) -> ArchivedImage | None:
        """Return what an archive of another tool calls by a tag only, or not at all; raise NotFoundError for none."""
        others = [one for one in self._archive.images if one.reference is None]
        found = [one for one in others if one.label == reference.tag]
        if not found and len(others) == len(self._archive.images) == 1:
            found = others
        if len(found) == 1:
            return found[0]
        if self._lock:
            return None
        held = ", ".join(one.label for one in self._archive.images[:5]) or "no image"
        raise errors.NotFoundError(
            f"{self._archive.media.where}: does not have {reference.store_name}, it has {held}",
            "Check the spelling, or export the image.",
        )

    def _request(self, choice: _Choice) -> ImageRequest:
        image, reference = choice.image, choice.name
        if image is None:  # the store can have it
            return self._locked_request(reference, None)
        pinned = Reference(
            reference.registry, reference.repository, reference.tag, image.root.digest
        )
        if reference.digest not in (None, image.root.digest):
            raise errors.NotFoundError(
                f"{self._archive.media.where}: {reference.store_name} is {image.root.digest}, not {reference.digest}",
                "Check the digest, or export the image.",
            )
        if self._lock:
            return self._locked_request(pinned, image)
        return ImageRequest(pinned, platforms_of(self._platforms(image)))

    def _locked_request(self, reference: Reference, image: ArchivedImage | None) -> ImageRequest:
        lock = t.cast(Lock, self._lock)
        texts = sorted(lock.image(reference).platforms)
        if image and image.platforms and ALL not in texts:
            texts = [text for text in texts if text in image.platforms] or texts
        return ImageRequest.of(reference, platforms_of(texts), lock)

    def _platforms(self, image: ArchivedImage) -> t.Sequence[str]:
        """Return the platforms of an image: those that it was exported for, else those that are complete here."""
        if image.platforms:
            return image.platforms
        if not image.root.is_index:
            return (ALL,)
        archive, label = self._archive, image.label
        found: list[str] = []
        is_all = True

        def read(descriptor: Descriptor) -> Manifest | None:
            with contextlib.suppress(ArchiveIncompleteError):
                raw = archive.read(descriptor.digest, label)
                return Manifest.parse(raw, descriptor.media_type, f"{archive.media.where}: {label}")
            return None

        for descriptor, manifest, _depth in walk(image.root, read, images_of, label):
            if manifest and manifest.is_index:
                continue
            blobs = manifest.blobs if manifest else ()
            is_here = bool(blobs) and all(archive.has(blob.digest) for blob in blobs)
            is_all = is_all and is_here
            if is_here and descriptor.platform:
                found.append(str(descriptor.platform))
        return found if found and not is_all else (ALL,)
