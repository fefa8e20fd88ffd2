# SPDX-License-Identifier: GPL-3.0-or-later
"""What every container engine does for a load: report what it holds, plan, send, verify."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._archive.image_archive import ImageContent, OpenBlob
from .._image import errors as image_errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference
from . import errors

PRESENT, TAGGED, LOADED, MOVED, REPAIRED = "present", "tagged", "loaded", "moved", "repaired"
MOVE, KEEP, FAIL = "move", "keep", "fail"
# Returns a manifest that the engine may hold, from elsewhere; None for one that is not known.
ReadManifest = t.Callable[[Digest], t.Optional[Manifest]]
# What concerns all images of a task.
_FATAL = (
    errors.EngineGoneError,
    errors.EngineNoSpaceError,
    errors.EngineRefusedError,
    image_errors.NoSpaceError,
    image_errors.DependencyError,
)


class HeldImage(t.NamedTuple):
    """An image that an engine holds. ``id`` is what the engine calls it, ``layers`` are chain ids, None if unknown.

    ``names`` and ``digests`` are complete names, ``digests`` with the digest that the engine knows them by. ``size`` is
    in bytes, as the engine counts. ``complete`` is whether it can be run, None if the engine does not say.
    """

    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    size: int | None = None
    layers: tuple[str, ...] | None = None
    complete: bool | None = None
    pinned: bool | None = None

    def as_result(self) -> dict[str, t.Any]:
        """Return it as an entry of ``images`` in the result of engine_info."""
        texts = {key: list(getattr(self, key)) for key in ("names", "digests", "platforms")}
        layers = None if self.layers is None else list(self.layers)
        return dict(
            texts,
            id=self.id,
            size=self.size,
            layers=layers,
            dangling=not self.names,
            complete=self.complete,
            pinned=self.pinned,
        )


class EngineFacts(t.NamedTuple):
    """What an engine is. ``store`` is where it keeps content: graph, containerd, containers-storage or directory."""

    kind: str
    version: str | None = None
    api: str | None = None
    store: str | None = None
    root: str | None = None
    namespace: str | None = None


class Finding(t.NamedTuple):
    """What an engine has of an image.

    ``before`` is the id that the name points at, None if there is none; ``id`` is the one it has to point at. ``named``
    is whether everything is recorded under the right id, ``whole`` whether the content is complete and can be run.
    ``missing`` are the layers that the engine lacks.
    """

    id: str
    before: str | None
    named: bool
    whole: bool
    missing: tuple[Descriptor, ...] = ()


@dataclass(frozen=True)
class Load:
    """The plan for one name: its image, what the engine has of it, and the blobs to send for it.

    A blob that several images of a task lack is in ``blobs`` of the first.
    """

    image: ImageContent
    finding: Finding
    status: str
    blobs: tuple[Descriptor, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The name, complete."""
        return self.image.name

    @property
    def bytes_sent(self) -> int:
        """The bytes of the blobs that are sent for it."""
        return sum(blob.size for blob in self.blobs)


class LoadOptions(t.NamedTuple):
    """How images are loaded.

    ``existing`` says what happens to a name that points at another image. ``pin`` protects images from the garbage
    collection of the engine. ``force`` sends all layers.
    """

    existing: str = MOVE
    pin: bool = False
    force: bool = False
    platform: Platform | None = None  # of all images; None if it is not known

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> LoadOptions:
        """Read the options of image_load."""
        asked = params["platform"]
        platform = Platform.parse(asked) if asked else Platform.host()
        return cls(params["existing"], params["pin"], params["force"], platform)


class Engine:
    """A container engine on this host. Nothing is changed before ``load``.

    A new engine implements ``facts``, ``images``, ``find``, ``send`` and ``restore``. The methods raise an EngineError.
    """

    keeps_digests = True  # whether it can find an image by name@digest afterwards
    # Whether ``find`` asks for manifests of images that the engine holds and the task does not name.
    reads_manifests = False

    def __init__(self) -> None:
        self.stats = {"bytes_sent": 0, "requests": 0, "processes": 0}

    def facts(self) -> EngineFacts:
        """Return what the engine is."""
        raise NotImplementedError

    def images(self, details: bool = False) -> t.Sequence[HeldImage]:
        """Return what the engine holds; ``details`` also asks for what a load does not need."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Forget what the engine held, so that it is asked again."""
        raise NotImplementedError

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return what the engine has of an image; raise UnsupportedByEngineError for one that it cannot keep."""
        raise NotImplementedError

    def held_as(
        self, reference: Reference, root: Digest, config: Digest | None, options: LoadOptions
    ) -> str | None:
        """Return the id of an image that needs nothing, found by its name and digests alone; None if that is not known.

        ``root`` is what the name points at in its registry, ``config`` the configuration of the image, if known.
        """
        return None

    def to_send(
        self, image: ImageContent, found: Finding, options: LoadOptions, sent: set[Digest]
    ) -> tuple[Descriptor, ...]:
        """Return the blobs to send for an image.

        ``sent`` are those that earlier images of the task bring; those of this one are added.
        """
        layers = image.manifest.layers if options.force else found.missing
        blobs = {blob.digest: blob for blob in layers if blob.digest not in sent}
        sent.update(blobs)
        return tuple(blobs.values())

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return how many bytes ``send`` sends to the engine."""
        raise NotImplementedError

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Give the engine the names of ``loads``, and the blobs that they list."""
        raise NotImplementedError

    def restore(self, load: Load) -> None:
        """Point a name at what it was before, or remove it if it was not there."""
        raise NotImplementedError

    def warnings(self) -> t.Sequence[str]:
        """Return what users should know of the engine, beside its images."""
        return ()

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the engine cannot take ``size`` bytes; by default it is not known."""


def plan_load(engine: Engine, image: ImageContent, options: LoadOptions, sent: set[Digest]) -> Load:
    """Plan one name. ``sent`` are the blobs that earlier images of the task bring; those of this one are added.

    Raise NameTakenError if the name must not move, UnsupportedByEngineError for an image that the engine cannot keep.
    """
    found = engine.find(image, options)
    if found.before not in (None, found.id) and options.existing != MOVE:
        if options.existing == FAIL:
            raise errors.NameTakenError(
                f"{image.name} is {found.before} in the engine, not {found.id}"
            )
        kept = f"{image.name} stays {found.before} in the engine, as existing=keep says"
        return Load(image, found, PRESENT, (), (kept,))
    return _load(engine, image, found, options, sent)


def _load(
    engine: Engine,
    image: ImageContent,
    found: Finding,
    options: LoadOptions,
    sent: set[Digest] | None = None,
) -> Load:
    """Return the load of what an engine lacks of an image; ``sent`` as in ``plan_load``."""
    sent = set() if sent is None else sent
    status = _status(found, options.force)
    blobs = () if status == PRESENT else engine.to_send(image, found, options, sent)
    return Load(image, found, status, blobs)


def _status(found: Finding, force: bool) -> str:
    if found.before not in (None, found.id):
        return MOVED
    if found.before is None:
        return TAGGED if found.whole and not force else LOADED
    if not found.whole:
        return REPAIRED
    if force:
        return LOADED
    return PRESENT if found.named else TAGGED


class _Failure(t.NamedTuple):
    """Why images did not arrive. ``is_shared`` is whether several were sent: then each of the others may be right."""

    error: image_errors.LockstepError
    is_shared: bool = False


class Session:
    """Loads images into an engine: what it lacks first, then everything once, if that was not enough.

    ``batch`` limits the bytes of blobs that are sent at once, None for no limit. ``ended`` are the loads as they ended, by
    name.
    """

    def __init__(
        self, engine: Engine, open_blob: OpenBlob, options: LoadOptions, batch: int | None = None
    ) -> None:
        self._engine, self._open, self._options, self._batch = engine, open_blob, options, batch
        self.ended: dict[str, Load] = {}

    def run(self, loads: t.Sequence[Load]) -> list[image_errors.LockstepError | None]:
        """Load images, and return the error of each, None for success.

        A name that fails points at what it pointed at before.
        """
        self._engine.refresh()
        failed: dict[str, image_errors.LockstepError] = {}
        todo = [load for load in loads if self._is_due(load, failed)]
        failures, fatal = self._send_all(todo)
        try:
            unproven = self._unproven(todo)
        except errors.EngineError as exc:
            # It has stopped answering, so no name can be restored either.
            failed.update((load.name, fatal or exc) for load in todo)
            unproven = []
        for load in unproven:
            error = fatal or self._repair(load, failures.get(load.name))
            if error:
                failed[load.name] = self._restored(load, error)
        for load in loads:
            self.ended.setdefault(load.name, load)
        return [failed.get(load.name) for load in loads]

    def _is_due(self, load: Load, failed: dict[str, image_errors.LockstepError]) -> bool:
        """Return whether a load is still to be done; a name that another process has moved fails."""
        found = self._engine.find(load.image, self._options)
        if found.before == load.finding.before:
            return True
        if _is_right(load, found):
            # Another process has loaded it.
            self.ended[load.name] = replace(load, status=PRESENT, blobs=())
            return False
        failed[load.name] = errors.EngineConflictError(
            f"{load.name} was moved to {found.before or 'nothing'} in the engine by another process"
        )
        return False

    def _send_all(
        self, loads: t.Sequence[Load]
    ) -> tuple[dict[str, _Failure], image_errors.LockstepError | None]:
        """Send images in batches; return the failures by name, and the error that ended all, if there was one."""
        failures: dict[str, _Failure] = {}
        for batch in _batches(loads, self._batch):
            try:
                self._engine.send(batch, self._open, self._options)
            except _FATAL as exc:
                return failures, exc
            except image_errors.LockstepError as exc:
                failure = _Failure(exc, is_shared=len(batch) > 1)
                failures.update((load.name, failure) for load in batch)
        return failures, None

    def _unproven(self, loads: t.Sequence[Load]) -> list[Load]:
        """Return the loads that did not end as planned, after a look at the engine."""
        if not loads:
            return []
        self._engine.refresh()
        find, options = self._engine.find, self._options
        return [load for load in loads if not _is_right(load, find(load.image, options))]

    def _repair(self, load: Load, failure: _Failure | None) -> image_errors.LockstepError | None:
        """Send an image by itself, then whole; return why it is still not right, None for success."""
        attempts = [self._whole]
        reason = failure.error if failure else None
        if failure and failure.is_shared:
            attempts, reason = [self._lacking, self._whole], None
        try:
            for attempt in attempts:
                if _is_final(reason):
                    return reason
                sent = attempt(load)
                failures, fatal = self._send_all([sent])
                if fatal:
                    return fatal
                if not self._unproven([sent]):
                    self.ended[load.name] = sent
                    return None
                reason = failures[load.name].error if failures else reason
        except errors.EngineError as exc:
            return exc
        return reason if _is_final(reason) else _lost(load, reason)

    def _lacking(self, load: Load) -> Load:
        """Return the load of what the engine lacks now."""
        found = self._engine.find(load.image, self._options)
        found = found._replace(before=load.finding.before)
        return _load(self._engine, load.image, found, self._options)

    def _whole(self, load: Load) -> Load:
        everything = self._options._replace(force=True)
        blobs = self._engine.to_send(load.image, load.finding, everything, set())
        return replace(load, status=REPAIRED, blobs=blobs)

    def _restored(
        self, load: Load, error: image_errors.LockstepError
    ) -> image_errors.LockstepError:
        """Point a name at what it was before; return the error, with that of the restoring if it fails."""
        try:
            self._engine.restore(load)
        except errors.EngineError as exc:
            return errors.EngineIncompleteError(
                f"{error}; the name {load.name} could not be restored: {exc}"
            )
        return error


def _is_right(load: Load, found: Finding) -> bool:
    """Return whether a name points at the image of its load, and that can be used."""
    return found.before == found.id == load.finding.id and found.whole and found.named


def _is_final(reason: image_errors.LockstepError | None) -> bool:
    """Return whether sending more cannot help: the content cannot be read, or the engine cannot keep such an image."""
    if reason is None:
        return False
    return isinstance(reason, errors.UnsupportedByEngineError) or not isinstance(
        reason, errors.EngineError
    )


def _lost(load: Load, reason: image_errors.LockstepError | None) -> errors.EngineError:
    said = f": {reason}" if reason else ""
    return errors.EngineIncompleteError(
        f"{load.name}: the image cannot be used in the engine, though all of it was sent{said}"
    )


def _batches(loads: t.Sequence[Load], limit: int | None) -> t.Iterator[list[Load]]:
    """Yield the loads in their order, in batches whose blobs have at most ``limit`` bytes, or that are one image."""
    batch: list[Load] = []
    size = 0
    for load in loads:
        if batch and limit is not None and size + load.bytes_sent > limit:
            yield batch
            batch, size = [], 0
        batch.append(load)
        size += load.bytes_sent
    if batch:
        yield batch
