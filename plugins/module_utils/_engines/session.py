# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads images into an engine: plans each name, sends, verifies, and restores the names that failed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._archive.image_archive import ImageContent, OpenBlob
from .._image import errors as image_errors
from .._image.names import Digest
from . import errors
from .batches import batches
from .engine import (
    FAIL,
    KEPT,
    LOADED,
    MOVE,
    MOVED,
    PRESENT,
    REPAIRED,
    TAGGED,
    Engine,
    Finding,
    Load,
    LoadOptions,
)
from .lanes import Failure, Lanes


def plan_load(
    engine: Engine,
    image: ImageContent,
    options: LoadOptions,
    sent: set[Digest],
    open_blob: OpenBlob | None = None,
) -> Load:
    """Plan one name. ``sent`` are the blobs that earlier images of the task bring; those of this one are added.

    ``open_blob`` is None if blobs cannot be read yet. Raise NameTakenError if the name must not move,
    UnsupportedByEngineError for an image that the engine cannot keep, or an error of the content.
    """
    found = engine.find(image, options)
    if found.before not in (None, found.id) and options.existing != MOVE:
        if options.existing == FAIL:
            raise errors.NameTakenError(
                f"{image.name} is {found.before} in the engine, not {found.id}"
            )
        kept = f"{image.name} stays {found.before} in the engine, as existing=keep says"
        return Load(image, found, KEPT, (), (kept,))
    added = set(sent)
    load = engine.prepare(_load(engine, image, found, options, added), open_blob)
    sent.update(added)
    return load


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


class Session:
    """Loads images into an engine: what it lacks first, then everything once, if that was not enough.

    At most ``limit`` bytes of blobs are sent at once, None for no limit. ``ended`` are the loads as they ended, by name.
    """

    def __init__(
        self, engine: Engine, open_blob: OpenBlob, options: LoadOptions, limit: int | None = None
    ) -> None:
        self._engine, self._open, self._options, self._limit = engine, open_blob, options, limit
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
            unproven = self._unproven(todo, failures)
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
            self.ended[load.name] = replace(load, finding=found, status=PRESENT, blobs=())
            return False
        failed[load.name] = errors.EngineConflictError(
            f"{load.name} was moved to {found.before or 'nothing'} in the engine by another process"
        )
        return False

    def _send_all(
        self, loads: t.Sequence[Load]
    ) -> tuple[dict[str, Failure], image_errors.LockstepError | None]:
        """Send images in batches; return the failures by name, and the error that ended all, if there was one."""
        lanes = Lanes(self._engine, self._open, self._options)
        lanes.send(batches(loads, self._limit, self._engine.lanes))
        return lanes.failures, lanes.fatal

    def _unproven(self, loads: t.Sequence[Load], failures: t.Mapping[str, Failure]) -> list[Load]:
        """Return the loads that did not end as planned, after a look at the engine.

        An image that was right before it was sent, as with ``force``, is only proven by a send without a failure.
        """
        if not loads:
            return []
        self._engine.refresh()
        find, options = self._engine.find, self._options
        return [
            load
            for load in loads
            if not _is_right(load, find(load.image, options))
            or (load.name in failures and _is_right(load, load.finding))
        ]

    def _repair(self, load: Load, failure: Failure | None) -> image_errors.LockstepError | None:
        """Send an image by itself, then whole; return why it is still not right, None for success."""
        attempts = [self._whole]
        reason = failure.error if failure else None
        if failure and failure.is_shared:
            attempts, reason = [self._lacking, self._whole], None
        try:
            for attempt in attempts:
                if _is_final(reason):
                    return reason
                sent = self._engine.prepare(attempt(load), self._open)
                failures, fatal = self._send_all([sent])
                if fatal:
                    return fatal
                if not self._unproven([sent], failures):
                    self.ended[load.name] = sent
                    return None
                reason = failures[load.name].error if failures else reason
        except image_errors.LockstepError as exc:
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
            text = f"{error}; the name {load.name} could not be restored: {exc}"
            return type(error)(text, error.hint, **error.details)
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
