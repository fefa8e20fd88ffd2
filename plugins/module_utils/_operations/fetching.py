# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on their way to a store: what image_pull, image_sync and store_verify share."""

from __future__ import annotations

import contextlib
import itertools
import typing as t

from .._image import errors
from .._image.graph import Closure, Image, ImageReader
from .._image.manifest import MAX_MANIFEST, Descriptor, ImageConfig, Manifest
from .._image.names import ALL, Digest, Platform, Reference
from .._image.sources import ChunkPolicy, ContentSource, Sources
from .._plan import Plan, PlanBuilder
from .._store.reader import IndexEntry
from .._store.store import ImageStore
from .actions import Content, FetchBlob, StoreContent, each_once, fetch, merged, shorten_images
from .naming import SetName, shown

if t.TYPE_CHECKING:
    from .._image.lock import Lock, LockedImage

ALWAYS, NEVER = "always", "never"
# The options of modules that fetch content.
FETCHING: dict[str, t.Any] = {
    "allow_platform_mismatch": {"type": "bool", "default": False},
    "foreign_layers": {"type": "str", "choices": ["skip", "fetch"], "default": "skip"},
    "parallel": {"type": "int", "default": 6},
    "chunk_size": {"type": "bytes", "default": "16M"},
    "connections_per_blob": {"type": "int"},
}


class FetchOptions(t.NamedTuple):
    """How content is fetched: with so many threads, and in chunks.

    ``foreign`` also fetches layers that registries must not distribute. ``allow`` accepts an image for another platform
    if no index names its platform; a lock accepts what it lists.
    """

    workers: int
    chunks: ChunkPolicy = ChunkPolicy()
    foreign: bool = False
    allow: bool = False

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> FetchOptions:
        """Read the options of ``FETCHING``; raise InputError for a size or a number below 1."""
        workers, connections = params["parallel"], params["connections_per_blob"]
        chunks = ChunkPolicy(params["chunk_size"], workers if connections is None else connections)
        if min(chunks) < 1:
            raise errors.InputError("chunk_size and connections_per_blob must be at least 1")
        return cls(
            workers,
            chunks,
            params["foreign_layers"] == "fetch",
            params["allow_platform_mismatch"],
        )


class ImageRequest(t.NamedTuple):
    """One image that a task names, for each of ``platforms`` (None: all).

    With ``exact`` the store keeps no other platform of it. ``locked`` is what the image must match.
    """

    reference: Reference
    platforms: t.Sequence[Platform] | None
    exact: bool = False
    locked: LockedImage | None = None

    @classmethod
    def of(
        cls, reference: Reference, platforms: t.Sequence[Platform] | None, lock: Lock | None
    ) -> ImageRequest:
        """Return the request, pinned to what ``lock`` says; raise LockError if that lacks the image or a platform."""
        if lock is None:
            return cls(reference, platforms)
        locked = lock.image(reference)
        locked.require_platforms([ALL] if platforms is None else map(str, platforms))
        return cls(locked.pin(reference), platforms, locked=locked)


class ImagePlan(t.NamedTuple):
    """What an ImageRequest becomes: where its name will point, and the content that the store lacks for that.

    ``before`` is where the name points now, ``sizes`` are the bytes of all content that it needs, by digest.
    """

    reference: Reference
    name: str
    before: IndexEntry | None
    target: IndexEntry
    images: tuple[Image, ...]
    configs: t.Mapping[Digest, ImageConfig]
    sizes: t.Mapping[Digest, int]
    content: list[Content]
    warnings: list[str]

    @property
    def status(self) -> str:
        """The outcome for the name: ``updated``, ``downloaded`` or ``up_to_date``."""
        if self.before and self.before.target.digest != self.target.target.digest:
            return "updated"
        return "up_to_date" if self.before == self.target and not self.content else "downloaded"

    @property
    def is_incomplete(self) -> bool:
        """Whether the name already points to its target, and the store lacks some of the content."""
        return self.before == self.target and bool(self.content)

    @property
    def digests(self) -> list[Digest]:
        """The digests that other manifests may refer to."""
        images = (image.descriptor.digest for image in self.images)
        return list(dict.fromkeys([self.target.target.digest, *images]))

    def entry(self, image: Image) -> dict[str, t.Any]:
        """Return the entry of one of its images in the result."""
        config = _config_of(image, self.configs)
        platform = image.descriptor.platform or (config.platform if config else None)
        return {
            "name": self.name,
            "digest": str(self.target.target.digest),
            "id": str(image.manifest.config.digest) if image.manifest.config else None,
            "platform": str(platform) if platform else None,
            "size": image.size,
            "status": self.status,
            "layers": [layer.as_result() for layer in image.manifest.layers],
        }


class FetchPlanner(PlanBuilder):
    """Plans what a store lacks of images. ``embedded`` are manifests that no registry is asked for."""

    def __init__(
        self,
        store: ImageStore,
        sources: Sources,
        options: FetchOptions,
        policy: str = ALWAYS,
        embedded: t.Mapping[Digest, bytes] | None = None,
    ) -> None:
        super().__init__(options.workers)
        self.store, self.sources, self.options, self.policy = store, sources, options, policy
        self.embedded = embedded or {}
        self.names = store.names()

    def plan_image(self, request: ImageRequest) -> ImagePlan:
        """Plan one image; raise LockstepError if that is impossible."""
        return _FetchReader(request, self).plan()

    def plan_all(self, requests: t.Sequence[ImageRequest]) -> list[ImagePlan]:
        """Plan the images of ``requests``, in their order; raise InputError if two of one name differ.

        Registries are asked for the digests of all tags that the store has at the same time, then for everything that it
        lacks, first of all the manifests of other tags. The store is read by one thread, while digests are on their
        way: its files are small, and threads that read them do little but wait for each other.
        """
        requests = each_once(requests, lambda one: one.reference)
        readers = [_FetchReader(request, self) for request in requests]
        asking = [one for one in readers if one.before and one.digest is None]
        others = [(one, None) for one in readers if one.digest or not one.before]
        answers: dict[str, ImagePlan | errors.LockstepError] = {}
        lacking = []
        prepare = tuple if self.policy == NEVER else self.sources.prepare
        if asking:
            prepare()
        resolved = self.attempts(_FetchReader.resolve, asking)
        for reader, digest in itertools.chain(resolved, others):
            try:
                if isinstance(digest, errors.LockstepError):
                    raise digest
                answers[reader.name] = reader.plan(alone=True)
            except (errors.NotInStoreError, errors.DependencyError):
                lacking.append(reader)
            except errors.LockstepError as exc:
                answers[reader.name] = exc
        if lacking:
            prepare()
            fetch()
        for reader, answer in self.attempts(_FetchReader.plan, lacking):
            answers[reader.name] = answer
        return self.keep((reader.name, answers[reader.name]) for reader in readers)


class _FetchReader(ImageReader):
    """Reads one image from the store, from embedded manifests, or else from its repository."""

    def __init__(self, request: ImageRequest, planner: FetchPlanner) -> None:
        reference, self._platforms, self._is_exact, self._locked = request
        self.name = reference.store_name
        self.before = before = planner.names.get(self.name)
        digest = reference.digest
        if digest is None and before and planner.policy != ALWAYS:
            digest = before.target.digest
        super().__init__(reference, digest, str(reference))
        self._planner = planner
        self._store = planner.store
        self._is_alone = False
        self._source: ContentSource | None = None
        self._stored: dict[Digest, Manifest] = {}

    def plan(self, alone: bool = False) -> ImagePlan:
        """Plan the image; if ``alone``, ask no registry: raise NotInStoreError if one is needed."""
        self._is_alone = alone or self._planner.policy == NEVER
        try:
            return self._plan()
        except errors.LockstepError as exc:
            locked = self._locked
            if locked is None or isinstance(exc, (errors.DependencyError, errors.LockError)):
                raise
            raise type(exc)(f"{locked.place}: {exc}", exc.hint, **exc.details) from exc

    def _plan(self) -> ImagePlan:
        root = self._read_root()
        asked = [ALL] if self._platforms is None else [str(one) for one in self._platforms]
        kept = self._kept_platforms(root, asked)
        closure = self._closure_for(root, kept)
        is_index, images = closure.manifests[-1][1].is_index, closure.images
        if is_index and set(kept) != set(asked):
            images = self._closure_for(root, asked).images
        if self._locked:
            self._locked.require_match(asked, root, closure, images)
        content = self._missing_manifests(closure)
        configs = self._read_configs(closure.images, content)
        content += self._missing_blobs(closure, content)
        return ImagePlan(
            self.reference,
            self.name,
            self.before,
            IndexEntry(root, tuple(sorted(kept)) if is_index else ()),
            images,
            configs,
            self._sizes(closure),
            content,
            self._warnings(closure, images, configs),
        )

    def _read_root(self) -> Descriptor:
        if self._locked:
            return self.read_root(self._locked.media_type)
        there = self.before and self.before.target
        media_type = there.media_type if there and there.digest == self.resolve() else ""
        root = self.read_root(media_type)
        # The entry of the index stays as it is.
        is_kept = media_type and root.digest in self._stored
        return Descriptor(media_type, root.digest, root.size) if is_kept else root

    def _kept_platforms(self, root: Descriptor, asked: t.Sequence[str]) -> list[str]:
        """Return the platforms that the name will have: two tasks with a platform each must not undo one another."""
        kept = dict.fromkeys(asked)
        before = self.before
        if before and before.target.digest == root.digest and not self._is_exact:
            kept.update(dict.fromkeys(before.platforms))
        return [ALL] if ALL in kept else list(kept)

    def _closure_for(self, root: Descriptor, platforms: t.Sequence[str]) -> Closure:
        parsed = None if ALL in platforms else [Platform.parse(text) for text in platforms]
        return self.closure(root, parsed)

    def _missing_manifests(self, closure: Closure) -> list[Content]:
        return [
            StoreContent(descriptor, manifest.raw, self._store)
            for descriptor, manifest in closure.manifests
            if descriptor.digest in self.manifests or not self._store.has(descriptor)
        ]

    def _missing_blobs(self, closure: Closure, content: t.Sequence[Content]) -> list[Content]:
        """Return the actions that fetch the blobs the store lacks, without those in ``content``."""
        options = self._planner.options
        found = {action.descriptor.digest for action in content}
        missing: list[Content] = []
        for blob in sorted(closure.blobs, key=lambda blob: blob.is_foreign):
            is_skipped = not options.foreign if blob.is_foreign else blob.digest in found
            if is_skipped or self._store.has(blob):
                continue
            if blob.is_foreign:
                source = self._planner.sources.foreign(self.reference, blob)
            else:
                source = self.source(blob.digest)
            missing.append(FetchBlob(blob, source, self._store, options.chunks))
        return missing

    def _sizes(self, closure: Closure) -> dict[Digest, int]:
        """Return the bytes of all content that the image needs, by digest."""
        foreign = self._planner.options.foreign
        return {one.digest: one.size for one in closure.contents if foreign or not one.is_foreign}

    def _warnings(
        self, closure: Closure, images: t.Sequence[Image], configs: t.Mapping[Digest, ImageConfig]
    ) -> list[str]:
        """Return what users should know of it; raise NoPlatformError for an image of another platform."""
        options, subject, platforms = self._planner.options, self.subject, self._platforms or ()
        allow, warnings = options.allow or bool(self._locked), []
        for image in images:
            doubt = image.doubts(_config_of(image, configs), platforms, subject, allow)
            warnings += [f"{subject}: {doubt}"] if doubt else []
        foreign = sum(blob.is_foreign for blob in closure.blobs)
        if foreign and not options.foreign:
            text = f"{foreign} foreign layers are left out, foreign_layers=fetch gets them"
            warnings.append(f"{self.name}: {text}")
        return warnings

    def known(self, digest: Digest, media_type: str) -> Manifest | None:
        found, raw = self._stored.get(digest), self._planner.embedded.get(digest)
        try:
            if found is None or found.media_type != media_type:
                found = self._store.manifest(digest, media_type)
            if found:
                self._stored[digest] = found
            elif raw is not None:
                found = Manifest.parse(raw, media_type, f"{self.subject}: {digest}")
                self.manifests[digest] = found
        except errors.ContentError as exc:
            if self._locked is None or digest != self._locked.digest:
                raise
            raise self._locked.type_mismatch(exc) from exc
        return found

    def _read_configs(
        self, images: t.Sequence[Image], content: list[Content]
    ) -> dict[Digest, ImageConfig]:
        """Return the configurations of images by digest; add those that the store lacks to ``content``."""
        configs: dict[Digest, ImageConfig] = {}
        for image in images:
            descriptor = image.manifest.config
            if descriptor is None or descriptor.digest in configs or not descriptor.is_image_config:
                continue
            raw = None
            with contextlib.suppress(errors.NotFoundError, errors.DigestMismatchError):
                raw = self._store.read(descriptor.digest) if self._store.has(descriptor) else None
            if raw is None:
                raw = self._fetched_config(descriptor)
                content.append(StoreContent(descriptor, raw, self._store))
            where = f"{self.subject}: config {descriptor.digest}"
            configs[descriptor.digest] = ImageConfig.parse(raw, where)
        return configs

    def _fetched_config(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_MANIFEST:
            size, most = map(errors.readable_size, (descriptor.size, MAX_MANIFEST))
            raise errors.InputError(f"{self.subject}: its config has {size}, more than {most}")
        raw = self._planner.embedded.get(descriptor.digest)
        return raw or fetch().read_content(descriptor, self.source(descriptor.digest))

    def source(self, content: Digest | None) -> ContentSource:
        if self._is_alone:
            missing = f"{content} of it" if content else "it"
            text = f"{self.subject}: {self._store.path} does not hold {missing}"
            raise errors.NotInStoreError(text, "Pull it once without pull=never.")
        if self._source is None:
            self._source = self._planner.sources.repository(self.reference)
        return self._source


def _config_of(image: Image, configs: t.Mapping[Digest, ImageConfig]) -> ImageConfig | None:
    return configs.get(image.manifest.config.digest) if image.manifest.config else None


def plan_fetch(planner: FetchPlanner, plans: t.Sequence[ImagePlan]) -> Plan:
    """Return the plan that fetches the missing content and sets the names; raise NoSpaceError if it does not fit."""
    store, sources, content = planner.store, planner.sources, merged(plans)
    sizes = {digest: size for plan in plans for digest, size in plan.sizes.items()}
    blobs = [action.descriptor for action in content if isinstance(action, FetchBlob)]
    if blobs:
        sources.prepare()
    staged = sum(map(store.staged, blobs))
    digests = {action.descriptor.digest for action in content}
    store.require_space(sum(action.descriptor.size for action in content) - staged, digests)
    stats = {
        "bytes_to_fetch": sum(blob.size for blob in blobs) - staged,
        "bytes_reused": sum(size for digest, size in sizes.items() if digest not in digests),
    }
    moved = [plan for plan in plans if plan.before != plan.target]
    return planner.build(
        content=content,
        names=tuple(SetName(plan.name, plan.target, plan.before, store) for plan in moved),
        before={one.name: shown(one.before, one.is_incomplete) for one in plans if one.before},
        after={plan.name: shown(plan.target) for plan in plans},
        facts={"images": [plan.entry(image) for plan in plans for image in plan.images]},
        promises={
            "fingerprint": store.fingerprint({plan.name: plan.target for plan in moved}),
            "other_names": len(set(planner.names).difference(plan.name for plan in plans)),
        },
        shorten=shorten_images,
        prepare=lambda: store.prepare(digests),
        stats=lambda: {**stats, "bytes_resumed": store.resumed, **sources.stats()},
        warnings=lambda: [*sources.warnings, *(text for one in plans for text in one.warnings)],
    )
