# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of a task, and the execution of its plan in them. A run that finds everything in place does not import this."""

from __future__ import annotations

import collections
import concurrent.futures
import heapq
import itertools
import queue
import threading
import time
import typing as t

from ._image import errors

T = t.TypeVar("T")
R = t.TypeVar("R")
# Those of ``_plan``, which imports this file if there is something to do.
Plan = t.Any
Action = t.Any
Future = concurrent.futures.Future
_LAST = (float("inf"),)
_GRACE = 10.0
# What fails for all when it fails for one.
_FATAL = (errors.DependencyError, errors.NoSpaceError)


def small_requests(workers: int) -> int:
    """Return how many small requests a task with ``workers`` sends at once: they wait for answers, not for bytes."""
    return min(16, 3 * workers - 2)


class Pool:
    """Threads of one task, which take the most urgent work first and lend a hand when there is none."""

    def __init__(self, workers: int) -> None:
        self.small, self.stopped = self, False  # the pool for work without many bytes
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._heap: list[tuple[tuple[float, ...], int, t.Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._idle = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: t.Any, *rest: object) -> None:
        """Wait for running work; after an error, discard the rest."""
        with self._changed:
            self.stopped = True
            self._heap = []
            self._changed.notify_all()
        # A thread may wait for a server. After an interruption nothing waits for it, after an error only for a short time.
        if kind is None or issubclass(kind, Exception):
            deadline = time.monotonic() + _GRACE
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def is_busy(self) -> bool:
        """Whether work is waiting for a thread."""
        with self._changed:
            return bool(self._heap) and self._heap[0][0] < _LAST

    def submit(self, function: t.Callable[[], R], urgency: tuple[float, ...] = (0.0,)) -> Future[R]:
        """Queue ``function``; the lowest urgency runs first, ties in submission order."""
        future: Future[R] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as exc:  # of any kind: the thread that waits for it raises it
                future.set_exception(exc)

        self._push(urgency, run)
        return future

    def assist(self, function: t.Callable[[], None]) -> None:
        """Run it once a thread has nothing else to do; it must not raise."""
        self._push(_LAST, function)

    def _push(self, urgency: tuple[float, ...], run: t.Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._heap, (urgency, next(self._numbers), run))
            if len(self._heap) > self._idle and len(self._threads) < self._workers:
                # Daemons: an interrupted task need not wait for them. What they leave is resumed.
                self._threads.append(threading.Thread(target=self._work, daemon=True))
                self._threads[-1].start()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._heap:
                    if self.stopped:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                run = heapq.heappop(self._heap)[2]
            run()


def in_parallel(function: t.Callable[[T], R], items: t.Iterable[T], workers: int) -> list[R]:
    """Return ``function(item)`` of each item, in order, computed by threads; raise the first error, and start nothing more then."""
    return list(_as_they_come(function, items, workers))


def _as_they_come(
    function: t.Callable[[T], R], items: t.Iterable[T], workers: int
) -> t.Iterator[R]:
    with Pool(workers) as pool:
        futures = [pool.submit(lambda item=item: function(item)) for item in items]  # type: ignore[misc]
        for future in futures:
            yield future.result()


def attempts(
    function: t.Callable[[T], R], items: t.Sequence[T], workers: int
) -> t.Iterator[tuple[T, R | errors.LockstepError]]:
    """Yield each item with ``function(item)`` or its error, in order, as soon as it is known; raise DependencyError at once."""

    def attempt(item: T) -> R | errors.LockstepError:
        try:
            return function(item)
        except errors.DependencyError:
            raise
        except errors.LockstepError as exc:
            return exc

    return zip(items, _as_they_come(attempt, items, workers))


class Execution:
    """Carries out a plan with threads. ``done`` are the actions that changed something, ``failures`` all errors by name.

    A name that fails does not hold back others. An error of all, as a full disk, ends the execution and fails the rest.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.done: list[Action] = []
        self.failures = dict(plan.failures)
        self._fatal: t.Any = None
        self._left = collections.Counter(name for one in plan.content for name in one.needed_by)
        self._waiting = {action.subject: action for action in plan.names}
        self._ended: t.Any = queue.SimpleQueue()

    def run(self) -> None:
        """Apply all actions of the plan, once.

        Raise any other exception than LockstepError, and the error of ``_clean_up``; ``done`` has all applied actions then.
        """
        plan = self.plan
        plan.prepare()
        with Pool(small_requests(plan.workers)) as small, Pool(plan.workers) as pool:
            pool.small = small
            self._set_names(pool)
            if not self._fatal:
                self._apply_content(pool)
        with Pool(plan.workers) as pool:
            if self._fatal:
                self._give_up(pool)
            if self._due(plan.last):
                plan.before_cleanup()
            for _kind, group in itertools.groupby(plan.last, type):
                self._clean_up(self._due(group), pool)
        self.done[:] = [action for action in self.done if not action.had_no_effect]

    def _apply_content(self, pool: Pool) -> None:
        """Apply all content, and set each name that has all it waits for; return early after a fatal error."""
        for action in self.plan.content:
            future = action.start(pool)
            future.add_done_callback(lambda done, action=action: self._ended.put((action, done)))
        for _action in self.plan.content:
            self._note_content()
            if self._ended.empty():  # all together that came in between: an index is written whole
                self._set_names(pool)
            if self._fatal:
                return

    def _note_content(self) -> None:
        """Note the next content that has ended; wait for it."""
        action, future = self._ended.get()
        error = future.exception()
        self._left.subtract(action.needed_by)
        if isinstance(error, _FATAL):
            self._fatal = error
        self._note(action, action.needed_by, error)

    def _set_names(self, pool: Pool) -> None:
        """Set the names that have all they wait for; it is fatal if names cannot be written at all."""
        ready = (self._waiting.pop(name) for name in list(self._waiting) if not self._left[name])
        names = [action for action in ready if action.subject not in self.failures]
        try:
            ended = names[0].apply_all(names, pool) if names else ()
        except errors.LockstepError as exc:
            self._fatal = exc
            ended = [exc] * len(names)
        for action, error in zip(names, ended):
            self._note(action, action.needed_by or [action.subject], error)

    def _note(self, action: Action, names: t.Sequence[str], error: BaseException | None) -> None:
        """Note how an action has ended: as done, or as the failure of ``names``."""
        if error is None:
            self.done.append(action)
        elif isinstance(error, errors.LockstepError):
            self.failures.update(dict.fromkeys(names, error))
        else:
            raise error

    def _give_up(self, pool: Pool) -> None:
        """Record the actions that have ended; ``fatal`` becomes the failure of all other names."""
        while not self._ended.empty():
            self._note_content()
        self._set_names(pool)
        for name in +self._left:  # above zero
            self.failures.setdefault(name, self._fatal)

    def _due(self, actions: t.Iterable[Action]) -> list[Action]:
        """Return those of the last actions for which no name has failed that needs them."""
        return [
            action
            for action in actions
            if not any(map(self.failures.get, action.needed_by or self.failures))
        ]

    def _clean_up(self, actions: t.Sequence[Action], pool: Pool) -> None:
        """Apply actions of one kind; raise the first error of those that no name needs when all of them have ended."""
        ended = actions[0].apply_all(actions, pool) if actions else ()
        for action, error in zip(actions, ended):
            self._note(action, action.needed_by, error)
        for action, error in zip(actions, ended):
            if error and not action.needed_by:
                raise error
