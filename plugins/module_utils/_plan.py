# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what was decided, before anything is done; and the threads that do it."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import heapq
import itertools
import queue
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ._image import errors

T = t.TypeVar("T")
R = t.TypeVar("R")

Future = concurrent.futures.Future
_LAST = (float("inf"),)
_GRACE = 10.0
# What fails for all when it fails for one.
_FATAL = (errors.DependencyError, errors.NoSpaceError)
_TOLD = 3
# What a failed result does not say of an image.
_OMITTED = ("id", "layers", "media_type", "platforms")


class Pool:
    """Threads of one task, which take the most urgent work first and lend a hand when there is none."""

    def __init__(self, workers: int) -> None:
        self.stopped = False
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._heap: list[tuple[tuple[float, ...], int, t.Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._idle = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        """What was begun ends; after an error nothing else does."""
        with self._changed:
            self.stopped = True
            self._heap = []
            self._changed.notify_all()
        # A thread may wait for a server. Who interrupts us does not, and after an error nobody does for long.
        if kind is None or issubclass(t.cast(type, kind), Exception):
            deadline = time.monotonic() + _GRACE
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def is_busy(self) -> bool:
        """Whether work waits for a thread."""
        with self._changed:
            return bool(self._heap) and self._heap[0][0] < _LAST

    def submit(self, function: t.Callable[[], R], urgency: tuple[float, ...] = (0.0,)) -> Future[R]:
        """Have it done; what is less comes first, of equals the first."""
        future: Future[R] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as exc:
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
    """``map`` over threads, in order; the first error ends it."""
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
    """Each item with what a function says of it, or its error; at the same time, in order, as soon as it is there."""

    def attempt(item: T) -> R | errors.LockstepError:
        try:
            return function(item)
        except errors.DependencyError:
            raise
        except errors.LockstepError as exc:
            return exc

    return zip(items, _as_they_come(attempt, items, workers))


def each(
    function: t.Callable[[T], R],
    items: t.Sequence[T],
    name_of: t.Callable[[T], str],
    workers: int,
    failures: dict[str, errors.LockstepError],
) -> list[R]:
    """What a function says of each item; an error goes to ``failures`` under the item's name."""
    found = []
    for item, answer in attempts(function, items, workers):
        if isinstance(answer, errors.LockstepError):
            failures[name_of(item)] = answer
        else:
            found.append(answer)
    return found


class Action:
    """One step of a plan. ``summary`` is the same in check mode; ``apply`` is idempotent.

    Names wait for content: ``needed_by`` are the ``subject`` of those that wait for this step.
    """

    needed_by: t.Sequence[str] = ()
    urgency: tuple[float, ...] = (0.0,)

    @property
    def subject(self) -> str:
        """The name that this step sets; its failure is reported under it."""
        raise NotImplementedError

    def summary(self) -> dict[str, t.Any]:
        """What it does."""
        raise NotImplementedError

    def apply(self, pool: Pool) -> None:
        """Do it; ``pool`` lends threads."""
        raise NotImplementedError

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        """Do it and others of its kind, of which it is one; the error of each."""
        ended = [pool.submit(functools.partial(action.apply, pool)) for action in actions]
        return [future.exception() for future in ended]


@dataclass(frozen=True)
class Plan:
    """Actions, and the ``facts`` they lead to; ``promises`` are facts if nothing fails.

    ``content`` is done at the same time, each of ``names`` when all that it waits for is there, ``last`` in the
    end, if nothing has failed, kind by kind; just before it ``settle`` is called.

    ``failures`` are errors by name: at first of what could not be planned, after ``apply`` all. What fails for
    all, as a full disk, ends the plan, and is the failure of all names that are not done.
    """

    content: tuple[Action, ...] = ()
    names: tuple[Action, ...] = ()
    last: tuple[Action, ...] = ()
    before: t.Any = None
    after: t.Any = None
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)
    promises: t.Mapping[str, t.Any] = field(default_factory=dict)
    failures: dict[str, errors.LockstepError] = field(default_factory=dict)
    problem: errors.LockstepError | None = None  # that the plan has found and does not solve
    workers: int = 1
    noun: str = "images"  # what ``failures`` names, in the plural
    prepare: t.Callable[[], object] = tuple  # does nothing
    before_cleanup: t.Callable[[], object] = tuple
    stats: t.Callable[[], t.Mapping[str, t.Any]] | None = None
    warnings: t.Callable[[], t.Sequence[str]] = tuple

    @property
    def actions(self) -> tuple[Action, ...]:
        """All, in order."""
        return self.content + self.names + self.last

    @property
    def changed(self) -> bool:
        """Whether there are any."""
        return bool(self.actions)

    def apply(self) -> t.Iterator[Action]:
        """Carry it out, and give what is done; a name that fails does not hold back others."""
        if not self.changed:
            return
        self.prepare()
        left = collections.Counter(name for action in self.content for name in action.needed_by)
        waiting = {action.subject: action for action in self.names}
        ended: queue.SimpleQueue[tuple[Action, Future[None]]] = queue.SimpleQueue()
        fatal: errors.LockstepError | None = None
        with Pool(self.workers) as pool:
            fatal = yield from self._set(waiting, left, pool)
            for action in () if fatal else self.content:
                future = pool.submit(functools.partial(action.apply, pool), action.urgency)
                future.add_done_callback(lambda done, action=action: ended.put((action, done)))  # type: ignore[misc]
            todo = len(self.content)
            while todo and not fatal:
                todo -= 1
                fatal = yield from self._note(*ended.get(), left)
                if ended.empty():
                    # At once what came while the last ones were written: an index is written whole.
                    fatal = (yield from self._set(waiting, left, pool)) or fatal
        with Pool(self.workers) as pool:
            if fatal:
                while not ended.empty():
                    yield from self._note(*ended.get(), left)
                yield from self._set(waiting, left, pool)
                unfinished = [*waiting, *(name for name in left if left[name])]
                self.failures.update(
                    {name: fatal for name in unfinished if name not in self.failures}
                )
            if self.last and not self.failures:
                self.before_cleanup()
                for _kind, group in itertools.groupby(self.last, type):
                    yield from _all_of(tuple(group), pool)

    def _note(
        self, action: Action, future: Future[None], left: collections.Counter[str]
    ) -> t.Generator[Action, None, errors.LockstepError | None]:
        """Note how an action has ended; an error that is one for all."""
        error = future.exception()
        left.subtract(action.needed_by)
        if error is None:
            yield action
            return None
        if not isinstance(error, errors.LockstepError):
            raise error
        self.failures.update(dict.fromkeys(action.needed_by, error))
        return error if isinstance(error, _FATAL) else None

    def _set(
        self, waiting: dict[str, Action], left: t.Mapping[str, int], pool: Pool
    ) -> t.Generator[Action, None, errors.LockstepError | None]:
        """The names that have all they need; an error that is one for all: where names are cannot be written."""
        ready = [waiting.pop(name) for name in list(waiting) if not left[name]]
        names = [action for action in ready if action.subject not in self.failures]
        try:
            ended = names[0].apply_all(names, pool) if names else ()
        except errors.LockstepError as exc:
            self.failures.update({action.subject: exc for action in names})
            return exc
        for action, error in zip(names, ended):
            if error is None:
                yield action
            elif isinstance(error, errors.LockstepError):
                self.failures[action.subject] = error
            else:
                raise error
        return None

    def result(self, done: t.Sequence[Action] | None = None) -> dict[str, t.Any]:
        """The answer of a module, in check mode too; ``done`` are the actions that succeeded, None for all.

        They are told as they were planned: the order in which threads end is not that of the next run.
        """
        kept = {id(action) for action in (self.actions if done is None else done)}
        actions = [action for action in self.actions if id(action) in kept]
        facts, after = dict(self.facts, **self.promises), self.after
        if self.failures:
            facts = {key: self._without_failures(fact) for key, fact in self.facts.items()}
            facts["failures"] = [
                {"name": name, "msg": error.full_message(), "error": error.as_result()}
                for name, error in self.failures.items()
            ]
            arrived = {name: text for name, text in after.items() if name not in self.failures}
            after = {**self.before, **arrived}
        answer = dict(
            facts,
            changed=bool(actions),
            actions=[action.summary() for action in actions],
            diff={"before": self.before, "after": after},
        )
        return dict(answer, stats=dict(self.stats())) if self.stats else answer

    def brief(self, done: t.Sequence[Action] | None = None) -> dict[str, t.Any]:
        """``result`` of a plan that failed, kept short because Ansible prints it whole.

        It has no ``actions``, only ``images`` that changed, without their layers, and only ``differences`` that are left.
        """
        answer = self.result(done)
        del answer["actions"]
        if "images" in answer:
            answer["images"] = [
                {key: image[key] for key in image if key not in _OMITTED}
                for image in answer["images"]
                if image.get("status") != "up_to_date"
            ]
        if "differences" in answer and done is not None:
            answer["differences"] = [
                row for row in answer["differences"] if row["name"] not in self.after
            ]
        return answer

    def _without_failures(self, fact: t.Any) -> t.Any:
        """A fact about some names."""
        if not isinstance(fact, list):
            return fact
        return [
            entry
            for entry in fact
            if not isinstance(entry, dict) or entry.get("name") not in self.failures
        ]

    @property
    def failure(self) -> errors.LockstepError | None:
        """All failures in one, of the kind of the first."""
        causes = list({(str(one), one.hint): one for one in self.failures.values()}.values())
        total = len({*(self.after or ()), *self.failures})
        if not causes or total == 1:
            return causes[0] if causes else self.problem
        more = f"; and {len(causes) - _TOLD} more" if len(causes) > _TOLD else ""
        lead = f"{len(self.failures)} of {total} {self.noun} failed: "
        return errors.combine(lead, causes[:_TOLD], more)


def _all_of(actions: t.Sequence[Action], pool: Pool) -> t.Iterator[Action]:
    """Do actions of one kind, and raise the first error when it is told what is done."""
    raised = []
    for action, error in zip(actions, actions[0].apply_all(actions, pool)):
        if error is None:
            yield action
        else:
            raised.append(error)
    if raised:
        raise raised[0]
