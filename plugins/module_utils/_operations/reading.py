# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading: what an image needs in a store, and what the store lacks of it."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field

from .._image import errors
from .._image.graph import Closure, Image, closure_of
from .._image.manifest import MAX_MANIFEST, Descriptor, ImageConfig, Manifest
from .._image.names import ALL, Digest, Platform, Reference
from .._image.sources import ChunkPolicy, ContentSource, Sources, read_root
from .._plan import PlanBuilder, attempts
from .._store.index import IndexEntry
from .._store.store import ImageStore
from .copying import Content, FetchBlob, StoreContent, fetch

if t.TYPE_CHECKING:
    from .._image.lock import Lock, LockedImage

CHUNKS = ChunkPolicy()
ALWAYS, NEVER = "always", "never"
# What is shown of a name that is not there, and after one that lacks content.
NOTHING, INCOMPLETE = "none", ", incomplete"
# The options of modules that fetch content.
FETCHING: dict[str, t.Any] = {
    "allow_platform_mismatch": {"type": "bool", "default": False},
    "foreign_layers": {"type": "str", "choices": ["skip", "fetch"], "default": "skip"},
    "parallel": {"type": "int", "default": 6},
    "chunk_size": {"type": "bytes", "default": "16M"},
    "connections_per_blob": {"type": "int"},
}


def fetching(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What these options mean to a plan."""
    most = params["connections_per_blob"]
    return {
        "workers": params["parallel"],
        "pieces": ChunkPolicy(params["chunk_size"], params["parallel"] if most is None else most),
        "foreign": params["foreign_layers"] == "fetch",
        "allow": params["allow_platform_mismatch"],
    }


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


@dataclass
class ImagePlan:
    """What an ImageRequest becomes: where its name will point, and the content that the store lacks for that.

    ``before`` is where the name points now, ``sizes`` are the bytes of all content that it needs, by digest.
    """

    reference: Reference
    name: str
    before: IndexEntry | None
    target: IndexEntry
    images: tuple[Image, ...]
    configs: dict[Digest, ImageConfig]
    sizes: dict[Digest, int]
    content: list[Content]
    warnings: list[str]

    @property
    def status(self) -> str:
        """What becomes of it."""
        if self.before and self.before.target.digest != self.target.target.digest:
            return "updated"
        return "up_to_date" if self.before == self.target and not self.content else "downloaded"

    @property
    def shown_before(self) -> str:
        """What there is, for a diff."""
        lacking = self.before == self.target and self.content
        return shown(self.before) + (INCOMPLETE if lacking else "")

    @property
    def digests(self) -> list[Digest]:
        """Of what may be referred to."""
        images = (image.descriptor.digest for image in self.images)
        return list(dict.fromkeys([self.target.target.digest, *images]))

    def config(self, image: Image) -> ImageConfig | None:
        """The configuration of one of its images."""
        return self.configs.get(image.manifest.config.digest) if image.manifest.config else None

    def entry(self, image: Image) -> dict[str, t.Any]:
        """What a playbook sees of it."""
        config = self.config(image)
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


@dataclass
class Reading:
    """How the images of a task are read; ``carried`` are manifests that nobody needs to be asked for.

    ``allow`` takes an image without an index for another platform; a lock does so for what it has.
    """

    store: ImageStore
    sources: Sources
    policy: str = ALWAYS
    pieces: ChunkPolicy = CHUNKS
    foreign: bool = False
    carried: t.Mapping[Digest, bytes] = field(default_factory=dict)
    allow: bool = False

    def __post_init__(self) -> None:
        self.names = self.store.names()

    def plan_image(self, request: ImageRequest) -> ImagePlan:
        """Plan one image; raise LockstepError if that is impossible."""
        return _ImageReader(request, self).plan()

    def plan_all(self, requests: t.Sequence[ImageRequest], builder: PlanBuilder) -> list[ImagePlan]:
        """Plan the images of ``requests``, in their order; raise InputError if two of one name differ.

        Registries are asked for all tags at the same time, then for all that the store lacks. The store is read by
        one thread, while tags are on their way: its files are small, and threads that read them do little but wait
        for each other.
        """
        readers = [
            _ImageReader(one, self) for one in each_once(requests, lambda one: one.reference)
        ]
        asking = [reader for reader in readers if reader.digest is None]
        known = [(reader, reader.digest) for reader in readers if reader.digest]
        answers: dict[str, ImagePlan | errors.LockstepError] = {}
        lacking = []
        if asking:
            self._prepare()
        resolved = attempts(_ImageReader.resolve, asking, builder.workers)
        for reader, digest in itertools.chain(resolved, known):
            try:
                if isinstance(digest, errors.LockstepError):
                    raise digest
                answers[reader.name] = reader.plan(alone=True)
            except (errors.NotInStoreError, errors.DependencyError):
                lacking.append(reader)
            except errors.LockstepError as exc:
                answers[reader.name] = exc
        if lacking:
            self._prepare()
            fetch()
        for reader, answer in attempts(_ImageReader.plan, lacking, builder.workers):
            answers[reader.name] = answer
        return builder.keep((reader.name, answers[reader.name]) for reader in readers)

    def _prepare(self) -> None:
        if self.policy != NEVER:
            self.sources.prepare()


class _ImageReader:
    """Reads one image."""

    def __init__(self, request: ImageRequest, how: Reading) -> None:
        self._request = request
        self._reference = request.reference
        self._store = how.store
        self._sources = None if how.policy == NEVER else how.sources
        self._source: ContentSource | None = None
        self._is_alone = False
        self._pieces = how.pieces
        self._elsewhere = how.sources.foreign if how.foreign else None
        self._carried = how.carried
        self._allow = how.allow or request.locked is not None
        self._read: dict[Digest, Manifest] = {}  # of the registry, or the lock file
        self._held: dict[Digest, Manifest] = {}  # of the store
        self._is_resolved = False
        self.name = request.reference.store_name
        self._before = how.names.get(self.name)
        self.digest = request.reference.digest  # of the image, None until the registry is asked
        if self.digest is None and self._before and how.policy != ALWAYS:
            self.digest = self._before.target.digest

    def resolve(self) -> Digest:
        """Ask what the tag is, where nothing else says it."""
        if self.digest is None:
            self.digest = self._required("it").resolve(str(self._reference.tag))
            self._is_resolved = True
        return self.digest

    def plan(self, alone: bool = False) -> ImagePlan:
        """Plan the image; if ``alone``, ask no registry: raise NotInStoreError if one is needed."""
        self._is_alone = alone
        try:
            return self._plan()
        except errors.LockstepError as exc:
            locked = self._request.locked
            if locked is None or isinstance(exc, (errors.DependencyError, errors.LockError)):
                raise
            raise type(exc)(f"{locked.place}: {exc}", exc.hint, **exc.details) from exc

    def _plan(self) -> ImagePlan:
        """And what the name shall point at."""
        before = self._before
        platforms, locked = self._request.platforms, self._request.locked
        root = self._root()
        asked = [ALL] if platforms is None else [str(platform) for platform in platforms]
        every = dict.fromkeys(asked)
        if before and before.target.digest == root.digest and not self._request.exact:
            # What an earlier task asked for stays: two tasks with a platform each must not undo one another.
            every.update(dict.fromkeys(before.platforms))
        every = {ALL: None} if ALL in every else every
        closure = self._walk(root, every)
        images = closure.images
        if every.keys() != set(asked) and closure.manifests[-1][1].is_index:
            images = self._walk(root, asked).images
        if locked:
            locked.require_match(asked, root, closure, images)
        foreign = [blob for blob in closure.blobs if blob.is_foreign]
        content: list[Content] = [
            StoreContent(descriptor, manifest.raw, self._store)
            for descriptor, manifest in closure.manifests
            if descriptor.digest in self._read or not self._store.has(descriptor)
        ]
        configs = self._configs(closure, content)
        have = {action.descriptor.digest for action in content}
        content += [
            FetchBlob(blob, self._required(blob.digest), self._store, self._pieces)
            for blob in closure.blobs
            if blob not in foreign and blob.digest not in have and not self._store.has(blob)
        ]
        if self._elsewhere:
            content += [
                FetchBlob(blob, self._elsewhere(self._reference, blob), self._store, self._pieces)
                for blob in foreign
                if not self._store.has(blob)
            ]
        is_index = closure.manifests[-1][1].is_index
        target = IndexEntry(root, tuple(sorted(every)) if is_index else ())
        skipped = () if self._elsewhere else foreign
        whole = [descriptor for descriptor, _manifest in closure.manifests]
        whole += [blob for blob in closure.blobs if blob not in skipped]
        sizes = {descriptor.digest: descriptor.size for descriptor in whole}
        name = self.name
        wanted = ImagePlan(
            self._reference, name, before, target, images, configs, sizes, content, []
        )
        doubts = [
            image.doubts(wanted.config(image), platforms or (), str(self._reference), self._allow)
            for image in images
        ]
        wanted.warnings = [f"{self._reference}: {doubt}" for doubt in doubts if doubt]
        if foreign and not self._elsewhere:
            wanted.warnings.append(
                f"{name}: {len(foreign)} foreign layers are left out, foreign_layers=fetch gets them"
            )
        return wanted

    def _walk(self, root: Descriptor, asked: t.Iterable[str]) -> Closure:
        platforms = None if ALL in asked else [Platform.parse(text) for text in asked]
        return closure_of(root, platforms, self._manifest, str(self._reference))

    def _root(self) -> Descriptor:
        before, digest = self._before, self.resolve()
        locked = self._request.locked
        known = before.target.media_type if before and before.target.digest == digest else ""
        known = locked.media_type if locked else known
        try:
            manifest = self._stored(digest, known) or self._carry(digest, known)
        except errors.ContentError as exc:
            if locked is None:
                raise
            raise locked.type_mismatch(exc) from exc
        if manifest:
            known = manifest.media_type if locked else known or manifest.media_type
            return Descriptor(known, digest, len(manifest.raw))
        source, tag = self._required("it"), self._reference.tag
        # A tag that was just resolved may have moved, and what it stood for be gone already.
        descriptor, manifest = read_root(source, digest, tag, self._is_resolved)
        self._read[descriptor.digest] = manifest
        return descriptor

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        digest = descriptor.digest
        media_type = descriptor.media_type
        manifest = self._read.get(digest) or self._stored(digest, media_type)
        manifest = manifest or self._carry(digest, media_type)
        if manifest is None:
            manifest = self._read[digest] = self._required(digest).read_manifest(digest)[1]
        return manifest

    def _stored(self, digest: Digest, media_type: str) -> Manifest | None:
        held = self._held.get(digest)
        if held is None or held.media_type != media_type:
            held = self._store.manifest(digest, media_type)
        if held is not None:
            self._held[digest] = held
        return held

    def _carry(self, digest: Digest, media_type: str) -> Manifest | None:
        raw = self._carried.get(digest)
        if raw is None:
            return None
        manifest = Manifest.parse(raw, media_type, f"{self._reference}: {digest}")
        self._read[digest] = manifest
        return manifest

    def _configs(self, closure: Closure, content: list[Content]) -> dict[Digest, ImageConfig]:
        configs: dict[Digest, ImageConfig] = {}
        for image in closure.images:
            descriptor = image.manifest.config
            if descriptor is None or descriptor.digest in configs or not descriptor.is_image_config:
                continue
            try:
                raw = self._store.read(descriptor.digest) if self._store.has(descriptor) else None
            except (errors.NotFoundError, errors.DigestMismatchError):
                raw = None
            if raw is None:
                if descriptor.size > MAX_MANIFEST:
                    raise errors.InputError(
                        f"{self._reference}: its config has {errors.readable_size(descriptor.size)},"
                        f" more than {errors.readable_size(MAX_MANIFEST)}"
                    )
                source = self._required(descriptor.digest)
                raw = fetch().read_content(descriptor, source)
                content.append(StoreContent(descriptor, raw, self._store))
            configs[descriptor.digest] = ImageConfig.parse(
                raw, f"{self._reference}: config {descriptor.digest}"
            )
        return configs

    def _required(self, what: Digest | str) -> ContentSource:
        if self._sources is None or self._is_alone:
            of_it = f"{what} of it" if isinstance(what, Digest) else what
            hint = "Pull it once without pull=never."
            raise errors.NotInStoreError(
                f"{self._reference}: {self._store.path} does not hold {of_it}", hint
            )
        if self._source is None:
            self._source = self._sources.repository(self._reference)
        return self._source


T = t.TypeVar("T")


def each_once(items: t.Iterable[T], reference_of: t.Callable[[T], Reference]) -> list[T]:
    """Items by the name their reference has in a store; or InputError for one name that means two."""
    found: dict[str, T] = {}
    for item in items:
        name = reference_of(item).store_name
        one, other = reference_of(item), reference_of(found.setdefault(name, item))
        if one != other:
            raise errors.InputError(f"{name} is asked for twice, as {other} and as {one}")
    return list(found.values())


def shown(name: IndexEntry | None) -> str:
    """What a name points at, as a diff shows it."""
    platforms = f" ({', '.join(name.platforms)})" if name and name.platforms else ""
    return f"{name.target.digest}{platforms}" if name else ""
