# SPDX-License-Identifier: GPL-3.0-or-later
"""Load: a container engine gets images from a store."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._archive.image_archive import ImageContent, OpenBlob
from .._engines import engine as engines
from .._engines.engine import Engine, Load, LoadOptions, Session
from .._image import errors
from .._image.copy_blob import read_content
from .._image.graph import ImageReader
from .._image.lock import Lock
from .._image.manifest import ImageConfig
from .._image.names import ALL, Digest, Platform, Reference
from .._image.sources import ContentSource
from .._plan import Action, Plan, PlanBuilder, Pool
from .._store.index import IndexEntry
from .._store.source import StoreSource
from .._store.store import ImageStore

# Threads that read a store gain nothing: its files are small.
_READERS = 1


@dataclass(frozen=True)
class LoadImage(Action):
    """Point a name of the engine at its image, and send what that lacks. All images of a task are sent together."""

    load: Load
    session: Session = field(repr=False)

    @property
    def subject(self) -> str:  # type: ignore[override]
        return self.load.name

    def summary(self) -> dict[str, t.Any]:
        load = self.session.ended.get(self.subject, self.load)
        return {
            "action": "tag_image" if load.status == engines.TAGGED else "load_image",
            "name": load.name,
            "id": load.finding.id,
            "previous": load.finding.before,
        }

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        return self.session.run([action.load for action in actions])


class ImageRequest(t.NamedTuple):
    """An image that a task names, for one platform."""

    reference: Reference
    platform: Platform


def requests_of(
    references: t.Sequence[Reference] | None, lock: Lock | None, platform: Platform
) -> list[ImageRequest]:
    """Return the images that a task names: all of ``lock``, or ``references`` as locked, or as they are.

    Raise LockError if the lock lacks one, or lacks it for the platform.
    """
    if references is None:
        references = [Reference.parse(one.name) for one in lock.images] if lock else []
    return [ImageRequest(_pinned(one, lock, platform), platform) for one in references]


def _pinned(reference: Reference, lock: Lock | None, platform: Platform) -> Reference:
    if lock is None:
        return reference
    locked = lock.image(reference)
    if ALL not in locked.platforms:
        locked.require_platforms([str(platform)])
    return locked.pin(reference)


class StoredReader(ImageReader):
    """Reads one image of a store."""

    def __init__(
        self, request: ImageRequest, store: ImageStore, names: t.Mapping[str, IndexEntry]
    ) -> None:
        reference = request.reference
        super().__init__(reference, reference.digest, str(reference))
        self._platform = request.platform
        self._source = StoreSource(store, names, reference, lambda *_args: False)

    def source(self, content: Digest | None) -> ContentSource:
        return self._source

    def content(self) -> ImageContent:
        """Return the image; raise NotInStoreError for a part that is missing."""
        root = self.read_root()
        closure = self.closure(root, [self._platform])
        image = closure.images[0]
        config = image.manifest.config
        if config is None or not config.is_image_config:
            raise errors.UnsupportedError(
                f"{self.subject}: is an artifact, which no container engine can run"
            )
        raw = read_content(config, self._source)
        parsed = ImageConfig.parse(raw, f"{self.subject}: config {config.digest}")
        image.doubts(parsed, [self._platform], self.subject)
        for layer in image.manifest.layers:
            if not layer.is_foreign:
                self._source.require(layer)
        return ImageContent.of(self.reference, closure.manifests, raw, parsed)


class Report(t.Mapping[str, t.Any]):
    """The facts of a load, read when the result is made: an image may end in another way than it was planned."""

    def __init__(self, engine: Engine, loads: t.Sequence[Load], session: Session) -> None:
        self._engine, self._loads, self._session = engine, loads, session

    def __getitem__(self, key: str) -> t.Any:
        if key == "images":
            return [self._entry(self._session.ended.get(one.name, one)) for one in self._loads]
        if key == "engine":
            return self._engine.facts()._asdict()
        raise KeyError(key)

    def __iter__(self) -> t.Iterator[str]:
        return iter(("images", "engine"))

    def __len__(self) -> int:
        return 2

    def _entry(self, load: Load) -> dict[str, t.Any]:
        layers = load.image.manifest.layers
        return {
            "name": load.name,
            "digest": str(load.image.root.digest),
            "id": load.finding.id,
            "before": load.finding.before,
            "status": load.status,
            "layers": {"sent": len(load.blobs), "reused": len(layers) - len(load.blobs)},
            "bytes_sent": load.bytes_sent,
            "keeps_digest": self._engine.keeps_digests,
        }


def plan_load(
    engine: Engine,
    contents: t.Callable[[PlanBuilder], t.Sequence[ImageContent]],
    open_blob: OpenBlob,
    options: LoadOptions,
) -> Plan:
    """Plan to load images into an engine. ``contents`` returns them, with their errors kept by the builder it gets."""
    builder = PlanBuilder(_READERS)
    images = contents(builder)
    sent: set[Digest] = set()

    def plan(image: ImageContent) -> Load:
        return engines.plan_load(engine, image, options, sent)

    # One by one: what an image brings, those after it need not.
    loads = _planned(builder, plan, images)
    session = Session(engine, open_blob, options)
    due = [load for load in loads if load.status != engines.PRESENT]
    size = engine.size_of(due)
    engine.require_space(size)
    whole = {blob.digest: blob.size for image in images for blob in image.manifest.blobs}
    planned = dict(engine.stats, bytes_sent=size)
    return builder.build(
        names=tuple(LoadImage(load, session) for load in due),
        before={one.name: one.finding.before for one in loads if one.finding.before},
        after={one.name: one.finding.id for one in loads},
        facts=Report(engine, loads, session),
        stats=lambda: {
            **(engine.stats if session.ended else planned),
            "bytes_whole": sum(whole.values()),
        },
        warnings=lambda: [text for load in loads for text in load.warnings],
    )


def _planned(
    builder: PlanBuilder, plan: t.Callable[[ImageContent], Load], images: t.Sequence[ImageContent]
) -> list[Load]:
    loads = []
    for image in images:
        try:
            loads.append(plan(image))
        except errors.LockstepError as exc:
            builder.failures[image.name] = exc
    return loads


def stored_images(
    requests: t.Sequence[ImageRequest], store: ImageStore, builder: PlanBuilder
) -> list[ImageContent]:
    """Return the images of a store; what cannot be read is a failure of the builder."""
    names = store.names()

    def read(request: ImageRequest) -> ImageContent:
        return StoredReader(request, store, names).content()

    return builder.each(read, requests, lambda one: one.reference.store_name)
