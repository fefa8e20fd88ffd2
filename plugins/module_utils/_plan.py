# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what was decided, before anything is done."""

from __future__ import annotations

import concurrent.futures
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    ContentSink,
    ContentSource,
    Descriptor,
    copy_blob,
)

T = t.TypeVar("T")
R = t.TypeVar("R")


class Action(t.Protocol):
    """A step; its summary is the same in check mode, twice is no error."""

    def summary(self) -> dict[str, t.Any]:
        """What it does."""

    def apply(self) -> None:
        """Do it."""


@dataclass(frozen=True)
class StoreContent:
    """Store bytes that were read for the plan."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    sink: ContentSink = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="store_content")

    def apply(self) -> None:
        self.sink.write(self.descriptor, [self.raw])


@dataclass(frozen=True)
class FetchBlob:
    """Bring one blob."""

    descriptor: Descriptor
    source: ContentSource = field(repr=False)
    sink: ContentSink = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="fetch_blob", source=str(self.source))

    def apply(self) -> None:
        copy_blob(self.descriptor, self.source, self.sink)


@dataclass(frozen=True)
class SetName:
    """Point a name at content; ``expected`` is where it pointed."""

    name: str
    target: t.Any
    expected: t.Any
    sink: ContentSink = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        was = str(self.expected.target.digest) if self.expected else None
        return {
            "action": "set_name",
            "name": self.name,
            "digest": str(self.target.target.digest),
            "previous": was,
        }

    def apply(self) -> None:
        self.sink.set_name(self.name, self.target, self.expected)


@dataclass(frozen=True)
class Plan:
    """Actions, ``content`` at the same time and then ``names``, and the ``facts`` they lead to."""

    content: tuple[Action, ...] = ()
    names: tuple[Action, ...] = ()
    before: t.Any = None
    after: t.Any = None
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)
    workers: int = 1
    prepare: t.Callable[[], object] = tuple  # does nothing
    stats: t.Callable[[], t.Mapping[str, t.Any]] | None = None
    warnings: t.Callable[[], t.Sequence[str]] = tuple

    @property
    def actions(self) -> tuple[Action, ...]:
        """All, in order."""
        return self.content + self.names

    @property
    def changed(self) -> bool:
        """Whether there are any."""
        return bool(self.actions)

    def apply(self) -> t.Iterator[Action]:
        """Carry it out; what is done when an error ends it stays."""
        if self.changed:
            self.prepare()
            yield from in_parallel(_applied, self.content, self.workers)
            yield from map(_applied, self.names)

    def result(self) -> dict[str, t.Any]:
        """The answer of a module, in check mode too."""
        answer = dict(
            self.facts,
            changed=self.changed,
            actions=[action.summary() for action in self.actions],
            diff={"before": self.before, "after": self.after},
        )
        return dict(answer, stats=dict(self.stats())) if self.stats else answer


def in_parallel(function: t.Callable[[T], R], items: t.Sequence[T], workers: int) -> t.Iterator[R]:
    """``map`` over threads, in order; after an error nothing new is started."""
    if workers < 2 or len(items) < 2:
        yield from map(function, items)
        return
    with concurrent.futures.ThreadPoolExecutor(min(workers, len(items))) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
    ended = [future for future in futures if not future.cancelled()]
    yield from (future.result() for future in ended if not future.exception())
    for future in ended:
        future.result()


def _applied(action: Action) -> Action:
    action.apply()
    return action
