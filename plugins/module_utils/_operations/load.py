# SPDX-License-Identifier: GPL-3.0-or-later
"""Load: a container engine gets images from a store."""

from __future__ import annotations

import operator
import typing as t
from dataclasses import dataclass, field

from .._archive.image_archive import ImageContent
from .._engines import engine as engines
from .._engines.batches import batches
from .._engines.engine import KEPT, UNCHANGED, Engine, KnownImage, Load, LoadOptions
from .._engines.session import Session, plan_load
from .._execution import Pool, attempts
from .._image import errors
from .._image.copy_blob import read_content
from .._image.graph import ImageReader
from .._image.lock import Lock, LockedImage
from .._image.manifest import ImageConfig, Manifest
from .._image.names import ALL, Digest, Platform, Reference
from .._image.sources import ContentSource
from .._plan import Action, Plan, PlanBuilder
from .._progress import PROGRESS
from .actions import each_once
from .fetching import FetchOptions
from .load_origins import Origin


@dataclass(frozen=True)
class LoadImage(Action):
    """Point a name of the engine at its image, and send what that lacks. All images of a task are sent together."""

    load: Load
    session: Session = field(repr=False)
    origin: Origin = field(repr=False)

    @property
    def subject(self) -> str:  # type: ignore[override]
        return self.load.name

    @property
    def had_no_effect(self) -> bool:  # type: ignore[override]
        ended = self.session.ended.get(self.subject)
        return ended is not None and ended.status == engines.PRESENT

    def summary(self) -> dict[str, t.Any]:
        load = self.session.ended.get(self.subject, self.load)
        return {
            "action": "tag_image" if load.status == engines.TAGGED else "load_image",
            "name": load.name,
            "id": load.finding.id,
            "previous": load.finding.before,
        }

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        with self.origin.running():
            ended = self.session.run([action.load for action in actions])
            if not any(ended):
                self.origin.finish()
        return ended


class ImageRequest(t.NamedTuple):
    """An image that a task names, for one platform. ``locked`` is what it must match, ``manifests`` come with the lock."""

    reference: Reference
    platform: Platform
    locked: LockedImage | None = None
    manifests: t.Mapping[Digest, bytes] = {}


def requests_of(
    references: t.Sequence[Reference] | None, lock: Lock | None, platform: Platform
) -> list[ImageRequest]:
    """Return the images that a task names: all of ``lock``, or ``references`` as locked, or as they are.

    Raise LockError if the lock lacks one, or lacks it for the platform.
    """
    if references is None:
        references = [Reference.parse(one.name) for one in lock.images] if lock else []
    return [_request(reference, lock, platform) for reference in references]


def _request(reference: Reference, lock: Lock | None, platform: Platform) -> ImageRequest:
    if lock is None:
        return ImageRequest(reference, platform)
    locked = lock.image(reference)
    if ALL not in locked.platforms:
        locked.require_platforms([str(platform)])
    return ImageRequest(locked.pin(reference), platform, locked, lock.manifests)


class LoadReader(ImageReader):
    """Reads one image where it comes from, and asks first whether the engine needs it."""

    def __init__(self, request: ImageRequest, origin: Origin, allow: bool = False) -> None:
        reference = request.reference
        super().__init__(reference, reference.digest, str(reference))
        self.name = reference.store_name
        self.platform, self._locked, self._origin = request.platform, request.locked, origin
        self._embedded = request.manifests
        self._allow = allow or request.locked is not None

    def source(self, content: Digest | None) -> ContentSource:
        return self._origin.source(self.reference)

    def known(self, digest: Digest, media_type: str) -> Manifest | None:
        raw = self._embedded.get(digest)
        return Manifest.parse(raw, media_type, f"{self.subject}: {digest}") if raw else None

    def held(self, engine: Engine, options: LoadOptions, names: t.Container[str]) -> Held | None:
        """Return the image as the engine has it, if it needs nothing and that is known without reading it.

        A tag is not resolved if it is in none of the ``names`` that the engine has: its image is read in any case.
        """
        if self.digest is None and self.name not in names:
            return None
        root = self.resolve()
        if options.force:
            return None
        held_id = engine.held_as(self.reference, root, self._known(root), options)
        return Held(self.name, root, held_id) if held_id else None

    def content(self) -> ImageContent:
        """Return the image; raise NotInStoreError or a RegistryError for a part that cannot be read."""
        root = self.read_root(self._locked.media_type if self._locked else "")
        closure = self.closure(root, [self.platform])
        image, platform = closure.images[0], str(self.platform)
        if self._locked and platform in self._locked.platforms:
            self._locked.require_match([platform], root, closure, closure.images)
        config = image.manifest.config
        if config is None or not config.is_image_config:
            raise errors.UnsupportedError(
                f"{self.subject}: is an artifact, which no container engine can run"
            )
        raw = read_content(config, self.source(config.digest))
        parsed = ImageConfig.parse(raw, f"{self.subject}: config {config.digest}")
        doubt = image.doubts(parsed, [self.platform], self.subject, self._allow)
        doubts = (f"{self.subject}: {doubt}",) if doubt else ()
        content = ImageContent.of(self.reference, closure.manifests, raw, parsed, doubts)
        if self._origin.known:
            alone = content.alone.root.digest
            self._origin.known.add(root.digest, self.platform, config.digest, alone)
        return content

    def _known(self, root: Digest) -> KnownImage | None:
        """Return what is known of the image without reading it, None for nothing. A lock is right, whatever was read before."""
        found = self._origin.known.get(root, self.platform) if self._origin.known else None
        locked = self._locked.platforms.get(str(self.platform)) if self._locked else None
        if locked is None or (found and found.config == locked.config):
            return found
        return KnownImage(locked.config) if locked.config else None


class Held(t.NamedTuple):
    """An image that the engine has, and of which nothing was read."""

    name: str
    root: Digest
    id: str


class Report(t.Mapping[str, t.Any]):
    """The facts of a load, read when the result is made: an image may end in another way than it was planned."""

    def __init__(self, engine: Engine, rows: t.Sequence[Load | Held], session: Session) -> None:
        self._engine, self._rows, self._session = engine, rows, session

    def __getitem__(self, key: str) -> t.Any:
        if key == "engine":
            return self._engine.facts()._asdict()
        if key == "images":
            return [self._entry(row) for row in self._rows]
        raise KeyError(key)

    def __iter__(self) -> t.Iterator[str]:
        return iter(("images", "engine"))

    def __len__(self) -> int:
        return 2

    def _entry(self, row: Load | Held) -> dict[str, t.Any]:
        if isinstance(row, Held):
            return {
                "name": row.name,
                "digest": str(row.root),
                "id": row.id,
                "before": row.id,
                "status": engines.PRESENT,
                "layers": {"sent": 0, "reused": None},
                "bytes_sent": 0,
                "keeps_digest": self._engine.keeps_digest(row.root, row.id),
            }
        load = self._session.ended.get(row.name, row)
        root, image_id = load.image.root.digest, load.finding.id
        sent, layers = len(load.blobs), load.image.manifest.layers
        is_kept = load.status == KEPT
        return {
            "name": row.name,
            "digest": str(root),
            "id": image_id,
            "before": load.finding.before,
            "status": load.status,
            "layers": {"sent": sent, "reused": None if is_kept else len(layers) - sent},
            "bytes_sent": load.bytes_sent,
            "keeps_digest": not is_kept and self._engine.keeps_digest(root, image_id),
        }


class LoadPlanner(PlanBuilder):
    """Plans what an engine lacks of images."""

    def __init__(
        self, engine: Engine, origin: Origin, options: LoadOptions, fetching: FetchOptions
    ) -> None:
        super().__init__(fetching.workers)
        self._engine, self._origin, self._options = engine, origin, options
        self._allow = fetching.allow

    def plan(self, requests: t.Sequence[ImageRequest]) -> Plan:
        """Return the plan that loads what is missing; raise EngineNoSpaceError if it does not fit."""
        readers = [
            LoadReader(request, self._origin, self._allow)
            for request in each_once(requests, lambda one: one.reference)
        ]
        rows = self._rows(readers)
        loads = [row for row in rows if isinstance(row, Load)]
        due = [load for load in loads if load.status not in UNCHANGED]
        engine, origin = self._engine, self._origin
        limit = origin.limit(sum(load.bytes_sent for load in due), engine.lanes)
        order = batches(due, limit, engine.lanes)
        origin.plan(load for batch in order for load in batch.loads)
        size = sum(engine.size_of(batch.loads) for batch in order)
        engine.require_space(size)
        session = Session(engine, origin.open, self._options, limit)
        actions = tuple(LoadImage(load, session, origin) for load in due)
        whole = {blob.digest: blob.size for load in loads for blob in load.image.manifest.blobs}
        planned = dict(engine.stats, bytes_sent=size)
        fetched = 0 if origin.is_local else sum(load.bytes_sent for load in due)
        PROGRESS.count = lambda: (0, 0, engine.stats["bytes_sent"] + origin.fetched, size + fetched)
        texts = [*engine.warnings()] if due else []
        if self._options.pin and not engine.pins:
            texts.append(
                f"pin has no effect on {engine.facts().kind}: only containerd can pin images"
            )
        texts += [text for load in loads for text in (*load.image.doubts, *load.warnings)]
        return Plan(
            has_news=lambda: origin.has_news,
            prepare=origin.remember,
            failures=dict(self.failures),
            workers=self.workers,
            names=actions,
            before={row.name: before_of(row) for row in rows if before_of(row)},
            after={row.name: after_of(row) for row in rows},
            facts=Report(engine, rows, session),
            shorten=shorten_load,
            stats=lambda: {
                **(engine.stats if session.ended else planned),
                "bytes_whole": sum(whole.values()),
                **origin.stats(),
            },
            warnings=lambda: [*origin.warnings, *texts],
        )

    def _rows(self, readers: t.Sequence[LoadReader]) -> list[Load | Held]:
        """Return the plan of each image, in their order."""
        engine, options = self._engine, self._options
        origin = self._origin
        if any(reader.digest is None for reader in readers):
            origin.prepare()
        held = {name: one.id for one in engine.images() for name in one.names}  # before threads ask
        answers = self.each(lambda one: (one, one.held(engine, options, held)), readers, _NAME_OF)
        unread = [reader for reader, found in answers if found is None]
        if unread:
            origin.prepare()
        if unread and engine.reads_manifests:
            self._learn(related(held, unread, readers), unread[0])
        images = {one.name: one for one in self.each(LoadReader.content, unread, _NAME_OF)}
        sent: set[Digest] = set()
        open_blob = origin.open if origin.is_local else None
        rows: list[Load | Held] = []
        # One by one: what an image brings, those after it need not.
        for reader, found in answers:
            try:
                if found:
                    rows.append(found)
                elif reader.name in images:
                    image, brought = images[reader.name], set(sent)
                    load = plan_load(engine, image, options, brought, open_blob)
                    origin.require(load)
                    rows.append(load)
                    sent = brought
            except errors.LockstepError as exc:
                self.failures[reader.name] = exc
        return rows

    def _learn(self, held: t.Mapping[str, Reference], reader: LoadReader) -> None:
        """Make known what images that the engine holds consist of; ``held`` are their references by their ids."""

        def learn(image_id: str) -> None:
            root = Digest.parse(image_id)
            self._origin.learn(held[image_id], root, reader.platform, reader.known)

        for _id, _error in attempts(learn, list(held), self.workers):
            pass  # What cannot be read stays unknown, and more is sent than needed.


def related(
    held: t.Mapping[str, str], unread: t.Sequence[LoadReader], readers: t.Sequence[LoadReader]
) -> dict[str, Reference]:
    """Return images that may share layers with ``unread``, by their ids; ``held`` are the ids in the engine by name.

    They are what the names of ``unread`` point at. For names that the engine lacks, they are what it has of the same
    repositories, and of ``readers`` of the same registries: a registry that is not needed is not asked.
    """
    new = [one.reference for one in unread if one.name not in held]
    repositories, registries = {one.name for one in new}, {one.registry for one in new}
    asked = [one for one in readers if one in unread or one.reference.registry in registries]
    found = {held[one.name]: one.reference for one in asked if one.name in held}
    for name, image_id in held.items():
        if name.rpartition(":")[0] in repositories:
            found.setdefault(image_id, Reference.parse(name))
    return found


_NAME_OF = operator.attrgetter("name")


def before_of(row: Load | Held) -> str | None:
    """Return what a name points at in the engine."""
    return row.id if isinstance(row, Held) else row.finding.before


def after_of(row: Load | Held) -> str | None:
    """Return what a name will point at."""
    if isinstance(row, Held) or row.status in UNCHANGED:
        return before_of(row)
    return row.finding.id


def shorten_load(facts: t.Mapping[str, t.Any], _arrived: t.Container[str]) -> dict[str, t.Any]:
    """Return ``images`` of a failed result: those that changed."""
    return {"images": [one for one in facts["images"] if one["status"] not in UNCHANGED]}
