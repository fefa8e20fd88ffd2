# SPDX-License-Identifier: GPL-3.0-or-later
"""Very many images on their way to a store: group by group, so that their plans need little memory."""

from __future__ import annotations

import sys
import time
import typing as t

from .._archive.by_digest import ByDigest
from .._execution import Execution, Pool
from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from .._plan import Action, Plan
from .._store.reader import IndexEntry
from .actions import FetchBlob, merged, shorten_images
from .fetching import FetchPlanner, ImagePlan
from .naming import SetName, shown

_GROUP = 50  # images; the plan of one needs 30 KB
# Names are set again after so many times the seconds that it took: the index is written as a whole.
_REST = 9
_NOTHING: dict[str, t.Any] = {}


class Noted(Action):
    """What the result says of an action of a group."""

    __slots__ = ("_summary",)

    def __init__(self, summary: dict[str, t.Any]) -> None:
        self._summary = summary

    def summary(self) -> dict[str, t.Any]:
        return self._summary


class NotedName(Noted):
    """The same of an action that sets a name."""

    __slots__ = ("subject",)

    def __init__(self, summary: dict[str, t.Any], subject: str) -> None:
        super().__init__(summary)
        self.subject = subject


class GroupedExecution(Execution):
    """Carries out a plan one group after the other. ``groups`` are the plans of the groups, each made once it is its turn.

    ``note`` returns the action of the whole plan for one of a group, None if it has returned that before.
    """

    def __init__(
        self,
        plan: Plan,
        groups: t.Iterable[Plan],
        note: t.Callable[[Action], Noted | None],
    ) -> None:
        super().__init__(plan)
        self._groups, self._noted = groups, note

    def run(self) -> None:
        """Apply all actions, as ``Execution.run`` does."""
        self.plan.prepare()
        ready: tuple[Action, ...] = ()
        pause = 0.0
        for planned in self._groups:
            group = _Group(planned, ready, pause)
            try:
                group.run()
            finally:
                self._add(group)
            if group.fatal:
                return self._fail(group.fatal)
            ready, pause = group.ready, group.pause
        last = _Group(Plan(names=ready), (), 0.0)
        last.run()
        self._add(last)

    def _add(self, group: _Group) -> None:
        """Note what a group has done."""
        self.done += filter(None, map(self._noted, group.done))
        self.failures.update(group.failures)

    def _fail(self, fatal: errors.LockstepError) -> None:
        """Make an error the failure of all names that are not set."""
        done = {one.subject for one in self.done if isinstance(one, NotedName)}
        for action in self.plan.names:
            if action.subject not in done:
                self.failures.setdefault(action.subject, fatal)


class _Group(Execution):
    """Carries out the plan of a group, and sets the names ``ready``, whose content an earlier group has brought.

    No name is set before ``pause``, a time of ``time.monotonic``. Names that wait for nothing else stay in ``ready``.
    """

    def __init__(self, plan: Plan, ready: tuple[Action, ...], pause: float) -> None:
        super().__init__(plan._replace(names=(*ready, *plan.names)))
        self.pause = pause

    @property
    def ready(self) -> tuple[Action, ...]:
        """The names that can be set."""
        return tuple(one for name, one in self._waiting.items() if name not in self.failures)

    @property
    def fatal(self) -> errors.LockstepError | None:
        """The error that concerns all images, None if there is none."""
        return self._fatal

    def _set_names(self, pool: Pool) -> None:
        started = time.monotonic()
        if self._fatal or started >= self.pause:
            super()._set_names(pool)
            ended = time.monotonic()
            self.pause = ended + _REST * (ended - started)


class _Moved(dict[str, IndexEntry]):
    """Names that are set. Each is released once it was read: its fingerprint needs the memory."""

    def items(self) -> t.Any:
        while self:
            yield self.popitem()


class GroupedFetch:
    """Plans images by their names, group by group, and keeps only what the result says of them.

    ``plan_images`` returns the plans of some images; it is called again when it is their turn.
    """

    def __init__(
        self,
        planner: FetchPlanner,
        plan_images: t.Callable[[t.Sequence[str]], list[ImagePlan]],
    ) -> None:
        self._planner, self._plan_images, self._details = planner, plan_images, True
        self._due: list[str] = []
        self._ready: list[ImagePlan] | None = None  # of all images, if they are one group
        self._entries: list[dict[str, t.Any]] = []
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}
        self._moved = _Moved()
        self._warnings: list[str] = []
        self._missing: ByDigest[None] = ByDigest()
        self._held: ByDigest[None] = ByDigest()
        self._sizes = {"missing": 0, "to_fetch": 0, "staged": 0, "held": 0}  # bytes
        self._content: list[Noted] = []
        self._names: list[NotedName] = []
        self._notes: dict[t.Any, Noted] = {}

    def plan(self, names: t.Sequence[str], details: bool = True) -> Plan:
        """Return the plan; raise NoSpaceError if it does not fit.

        ``details`` says whether the result lists each action, and the layers of each image.
        """
        self._details = details
        for group in _groups(names):
            plans = self._plan_images(group)
            known = {name: name for name in group}
            for one in plans:
                self._add(one, known[one.name])  # one text for each name
            self._ready = plans if len(names) <= _GROUP else None
        return self._plan()

    def forget(self) -> None:
        """Release what no result needs."""
        self._due, self._notes = [], {}
        self._missing, self._held = ByDigest(), ByDigest()

    def _plan(self) -> Plan:
        planner, store, missing = self._planner, self._planner.store, self._missing
        sizes = self._sizes
        store.require_space(sizes["missing"] - sizes["staged"], missing)
        stats = {
            "bytes_to_fetch": sizes["to_fetch"] - sizes["staged"],
            "bytes_reused": sizes["held"],
        }
        fingerprint = store.fingerprint(self._moved)
        self._held = ByDigest()
        return Plan(
            content=tuple(self._content),
            names=tuple(self._names),
            before=self._before,
            after=self._after,
            facts={"images": self._entries},
            promises={
                "fingerprint": fingerprint,
                "other_names": len(set(planner.names).difference(self._after)),
            },
            failures=dict(planner.failures),
            workers=planner.workers,
            shorten=shorten_images,
            prepare=self._prepare,
            stats=lambda: {
                **stats,
                "bytes_resumed": store.resumed,
                **planner.sources.stats(),
            },
            warnings=lambda: [*planner.sources.warnings, *self._warnings],
            lists_actions=self._details,
            execute=lambda plan: GroupedExecution(plan, self._plans(), self._note),
        )

    def _prepare(self) -> None:
        """Prepare the store; after that, nothing needs the list of what it lacks."""
        self._planner.store.prepare(self._missing)
        self._missing = ByDigest()

    def _add(self, plan: ImagePlan, name: str) -> None:
        """Keep what the result says of an image."""
        store = self._planner.store
        for action in plan.content:
            blob = action.descriptor
            if blob.digest not in self._missing:
                self._missing[blob.digest] = None
                self._sizes["missing"] += blob.size
                if isinstance(action, FetchBlob):
                    self._sizes["to_fetch"] += blob.size
                    self._sizes["staged"] += store.staged(blob)
                self._keep(blob.digest, action)
        for digest, size in plan.sizes.items():
            if digest not in self._missing and digest not in self._held:
                self._held[digest] = None
                self._sizes["held"] += size
        if plan.before:
            self._before[name] = shown(plan.before, plan.is_incomplete)
        self._after[name] = shown(plan.target)
        if plan.before != plan.target:
            root = plan.target.target
            compact = Descriptor(sys.intern(root.media_type), root.digest, root.size)
            self._moved[name] = IndexEntry(compact, plan.target.platforms)
            move = SetName(name, plan.target, plan.before, store)
            note = NotedName(move.summary() if self._details else _NOTHING, name)
            self._names.append(note)
            self._notes[name] = note
        if plan.content or name in self._moved:
            self._due.append(name)
        self._entries += [self._entry(plan, name, image) for image in plan.images]
        self._warnings += plan.warnings

    def _keep(self, digest: Digest, action: Action) -> None:
        """Note an action on content; without details, only the first is noted."""
        if self._details or not self._content:
            note = Noted(action.summary() if self._details else _NOTHING)
            self._content.append(note)
            self._notes[digest if self._details else None] = note

    def _note(self, action: Action) -> Noted | None:
        if isinstance(action, SetName):
            return self._notes.pop(action.name, None)
        digest = t.cast(FetchBlob, action).descriptor.digest
        return self._notes.pop(digest if self._details else None, None)

    def _entry(self, plan: ImagePlan, name: str, image: t.Any) -> dict[str, t.Any]:
        entry = {**plan.entry(image), "name": name}
        if not self._details:
            del entry["layers"]
        entry["platform"] = entry["platform"] and sys.intern(entry["platform"])
        if entry["digest"] == self._after[name]:
            entry["digest"] = self._after[name]
        return entry

    def _plans(self) -> t.Iterator[Plan]:
        """Yield the plan of each group of images that have something to do."""
        planner = self._planner
        for group in _groups(self._due):
            plans = self._ready or self._plan_images(group)
            self._ready = None
            names = tuple(
                SetName(one.name, one.target, one.before, planner.store)
                for one in plans
                if one.before != one.target
            )
            yield planner.build(content=merged(plans), names=names)


def _groups(names: t.Sequence[str]) -> t.Iterator[t.Sequence[str]]:
    return (names[first : first + _GROUP] for first in range(0, len(names), _GROUP))
