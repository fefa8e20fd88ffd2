# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends images to an engine in batches, each while the engine works on those before it."""

from __future__ import annotations

import concurrent.futures
import threading
import typing as t

from .._archive.image_archive import OpenBlob
from .._image import errors as image_errors
from . import errors
from .batches import Batch
from .engine import Engine, LoadOptions

_Future = concurrent.futures.Future
# What concerns all images of a task.
_FATAL = (
    errors.EngineGoneError,
    errors.EngineNoSpaceError,
    errors.EngineRefusedError,
    image_errors.NoSpaceError,
    image_errors.DependencyError,
)


class Failure(t.NamedTuple):
    """Why images did not arrive. ``is_shared`` is whether several were sent: then each of the others may be right."""

    error: image_errors.LockstepError
    is_shared: bool = False


class Lanes:
    """The sends to one engine. ``failures`` are the failures by name, ``fatal`` is the error that ended all."""

    def __init__(self, engine: Engine, open_blob: OpenBlob, options: LoadOptions) -> None:
        self._engine, self._open, self._options = engine, open_blob, options
        self._running: list[tuple[Batch, _Future[object]]] = []
        self.failures: dict[str, Failure] = {}
        self.fatal: image_errors.LockstepError | None = None

    def send(self, todo: t.Iterable[Batch]) -> None:
        """Send batches one after the other, and wait until the engine has done its work.

        The engine works on as many at a time as it has lanes, but not on one that needs what another brings.
        """
        for batch in todo:
            while len(self._running) == self._engine.lanes or self._is_early(batch):
                self._end_one()
            self._running.append((batch, self._begin(batch)))
        while self._running:
            self._end_one()

    def _is_early(self, batch: Batch) -> bool:
        """Return whether the engine is about to get layers that a batch leaves out."""
        running = {load.name for other, _future in self._running for load in other.loads}
        return not running.isdisjoint(batch.needs)

    def _begin(self, batch: Batch) -> _Future[object]:
        """Send a batch, unless all has ended; return what is done when the engine has done its work."""
        future: _Future[object] = _Future()
        try:
            if self.fatal:
                raise self.fatal
            wait = self._engine.begin(batch.loads, self._open, self._options)
        except image_errors.LockstepError as exc:
            future.set_exception(exc)
            return future
        # A daemon: an interrupted task need not wait for the engine.
        threading.Thread(target=_complete, args=(future, wait), daemon=True).start()
        return future

    def _end_one(self) -> None:
        """Wait for the batch that the engine ends first, and note its failure."""
        futures = [future for _batch, future in self._running]
        ended = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
        number = next(n for n, future in enumerate(futures) if future in ended.done)
        batch, future = self._running.pop(number)
        error = future.exception()
        if error is None:
            return
        if not isinstance(error, image_errors.LockstepError):
            raise error
        is_fatal = isinstance(error, _FATAL)
        if is_fatal:
            self.fatal = self.fatal or error
        failure = Failure(error, is_shared=not is_fatal and len(batch.loads) > 1)
        self.failures.update((load.name, failure) for load in batch.loads)


def _complete(future: _Future[object], function: t.Callable[[], object]) -> None:
    try:
        future.set_result(function())
    except BaseException as exc:  # of any kind: the thread of the task raises it
        future.set_exception(exc)
