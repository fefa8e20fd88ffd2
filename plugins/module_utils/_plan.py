# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what a task will do, as a value, and the result of that. ``_execution`` carries it out."""

from __future__ import annotations

import typing as t

from ._image import errors

if t.TYPE_CHECKING:
    from ._execution import Future, Pool

T = t.TypeVar("T")
R = t.TypeVar("R")
A = t.TypeVar("A", bound="Action")
Facts = t.Mapping[str, t.Any]
_SHOWN = 3


class Action:
    """One step of a plan. ``summary`` is the same in check mode; ``apply`` is idempotent.

    Names wait for content: ``needed_by`` are the ``subject`` of those that wait for this step. An error is their failure.
    """

    subject: str  # the name that this step sets; its failure is reported under it
    is_small = False  # whether it takes few bytes
    needed_by: t.Sequence[str] = ()
    urgency: tuple[float, ...] = (0.0,)
    had_no_effect: bool = False  # in the end: others were faster, or nothing of it is left

    def replaced(self: A, **fields: t.Any) -> A:
        """Return a copy with other fields."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **fields)
        return copy

    def summary(self) -> dict[str, t.Any]:
        """Return what it does, as an entry of ``actions`` in a result."""
        raise NotImplementedError

    def apply(self, pool: Pool) -> None:
        """Do it; ``pool`` lends threads."""
        raise NotImplementedError

    def start(self, pool: Pool) -> Future[None]:
        """Queue it."""
        lane = pool.small if self.is_small else pool
        return lane.submit(lambda: self.apply(pool), self.urgency)

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        """Do ``actions`` of this kind, of which this is one; return the error of each, None for success."""
        ended = [action.start(pool) for action in actions]
        return [future.exception() for future in ended]


class Plan(t.NamedTuple):
    """What a task will do, decided before anything is done. A value: ``Execution`` carries it out.

    ``content`` is applied at the same time, each of ``names`` once all content that it waits for is there, and
    ``last`` in the end, kind by kind, if nothing has failed, or none of the names that need it, if some do.

    ``facts`` are the keys of the result; ``promises`` are more of them, which hold if nothing fails. ``before`` and
    ``after`` are the diff, by name. ``failures`` are the errors of what could not be planned, by name.
    """

    content: tuple[Action, ...] = ()
    names: tuple[Action, ...] = ()
    last: tuple[Action, ...] = ()
    before: t.Any = {}
    after: t.Any = {}
    facts: Facts = {}
    promises: Facts = {}
    failures: t.Mapping[str, errors.LockstepError] = {}
    problem: errors.LockstepError | None = None  # that the plan has found and does not solve
    workers: int = 1
    noun: str = "images"  # what ``failures`` names, in the plural
    prepare: t.Callable[[], object] = tuple  # does nothing
    before_cleanup: t.Callable[[], object] = tuple  # just before the first of ``last``
    # Cut the facts of a failed result, which Ansible prints whole. It gets them with the names that have arrived.
    shorten: t.Callable[[Facts, t.Container[str]], Facts] | None = None
    stats: t.Callable[[], Facts] | None = None
    warnings: t.Callable[[], t.Sequence[str]] = tuple
    lists_actions: bool = True  # in its result
    execute: t.Any = None  # makes another Execution of it
    has_news: t.Callable[[], bool] = bool  # whether it is due without actions; by default not

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions, in order."""
        return self.content + self.names + self.last

    @property
    def changed(self) -> bool:
        """Whether there are any actions."""
        return bool(self.actions)


class PlanBuilder:
    """Plans the items of a task with threads, and collects their errors by name for the plan that it builds."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.failures: dict[str, errors.LockstepError] = {}

    def each(
        self, ask: t.Callable[[T], R], items: t.Sequence[T], name_of: t.Callable[[T], str] = str
    ) -> list[R]:
        """Return what ``ask`` finds out by small requests, in order; an error is the failure of ``name_of(item)``."""
        return self.keep((name_of(item), answer) for item, answer in self.attempts(ask, items))

    def attempts(
        self, ask: t.Callable[[T], R], items: t.Sequence[T]
    ) -> t.Iterable[tuple[T, R | errors.LockstepError]]:
        """Yield what ``_execution.attempts`` does for small requests. Call it in the main thread: it imports threads for items."""
        if not items:
            return ()
        from . import _execution

        return _execution.attempts(ask, items, _execution.small_requests(self.workers))

    def keep(self, answers: t.Iterable[tuple[str, R | errors.LockstepError]]) -> list[R]:
        """Return the answers that are not errors, in order; an error is recorded as the failure of its name."""
        pairs = list(answers)
        failed = {name: one for name, one in pairs if isinstance(one, errors.LockstepError)}
        self.failures.update(failed)
        return [one for _name, one in pairs if not isinstance(one, errors.LockstepError)]

    def build(self, **fields: t.Any) -> Plan:
        """Return the plan with these fields, and with the failures so far."""
        return Plan(failures=dict(self.failures), workers=self.workers, **fields)


class Outcome(t.NamedTuple):
    """How a plan ended: the actions that changed something, None in check mode, and the errors by name."""

    plan: Plan
    done: t.Sequence[Action] | None
    failures: t.Mapping[str, errors.LockstepError]

    def result(self) -> dict[str, t.Any]:
        """Return the result of a module; its ``actions`` in the order of the plan, as that of threads is another each time."""
        plan, after = self.plan, self.plan.after
        kept = {id(action) for action in (plan.actions if self.done is None else self.done)}
        actions = [action.summary() for action in plan.actions if id(action) in kept]
        facts = {**plan.facts, **plan.promises}
        if self.failures:
            facts = {key: self._without_failures(fact) for key, fact in plan.facts.items()}
            facts["failures"] = [
                {"name": name, "msg": error.full_message(), "error": error.as_result()}
                for name, error in self.failures.items()
            ]
            arrived = {name: text for name, text in after.items() if name not in self.failures}
            after = {**plan.before, **arrived}
        more: dict[str, t.Any] = {"stats": dict(plan.stats())} if plan.stats else {}
        more.update({"actions": actions} if plan.lists_actions else {})
        diff = {"before": plan.before, "after": after}
        return {**facts, "changed": bool(actions), "diff": diff, **more}

    def brief(self) -> dict[str, t.Any]:
        """Return ``result`` without ``actions``, shortened: Ansible prints the result of a failed task whole."""
        answer = {key: fact for key, fact in self.result().items() if key != "actions"}
        shorten, arrived = self.plan.shorten, () if self.done is None else self.plan.after
        return {**answer, **shorten(answer, arrived)} if shorten else answer

    @property
    def failure(self) -> errors.LockstepError | None:
        """All failures in one error, of the kind of the first; None if nothing failed."""
        causes = list({(str(one), one.hint): one for one in self.failures.values()}.values())
        total = len({*(self.plan.after or ()), *self.failures})
        if not causes or total == 1:
            return causes[0] if causes else self.plan.problem
        more = f"; and {len(causes) - _SHOWN} more" if len(causes) > _SHOWN else ""
        lead = f"{len(self.failures)} of {total} {self.plan.noun} failed: "
        return errors.combine(lead, causes[:_SHOWN], more)

    def warnings(self) -> t.Sequence[str]:
        """Return what users should know."""
        return self.plan.warnings()

    def _without_failures(self, fact: t.Any) -> t.Any:
        """Return a fact without its entries about names that failed."""
        if not isinstance(fact, list):
            return fact
        return [
            entry
            for entry in fact
            if not isinstance(entry, dict) or entry.get("name") not in self.failures
        ]
