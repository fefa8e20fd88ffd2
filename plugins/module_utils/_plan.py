# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what an operation decided, before anything was done."""

from __future__ import annotations

import concurrent.futures
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._oci.fetch import copy_blob
from ansible_collections.lockstep.images.plugins.module_utils._oci.protocols import (
    Action,
    ContentSink,
    ContentSource,
)

T = t.TypeVar("T")
R = t.TypeVar("R")


@dataclass(frozen=True)
class StoreContent:
    """Store bytes that were read, and verified, while the plan was made."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    sink: ContentSink = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="store_content")

    def apply(self) -> None:
        self.sink.write(self.descriptor, [self.raw])


@dataclass(frozen=True)
class FetchBlob:
    """Bring one blob from a repository."""

    descriptor: Descriptor
    source: ContentSource = field(repr=False)
    sink: ContentSink = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="fetch_blob", source=str(self.source))

    def apply(self) -> None:
        copy_blob(self.descriptor, self.source, self.sink)


@dataclass(frozen=True)
class SetName:
    """Point a name at content; ``expected`` is what it pointed at when the plan was made."""

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


def _nothing() -> None:
    """The preparation of a plan that needs none."""


@dataclass(frozen=True)
class Plan:
    """Actions and what they lead to. Building one has changed nothing; applied and planned again, it is empty.

    ``content`` actions may run at the same time, ``names`` come after all of them, one by one. ``facts`` are the
    same in check mode and for real. ``stats`` and ``warnings`` are asked when the work is over.
    """

    content: tuple[Action, ...] = ()
    names: tuple[Action, ...] = ()
    before: t.Any = None
    after: t.Any = None
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)
    workers: int = 1
    prepare: t.Callable[[], None] = _nothing
    stats: t.Callable[[], t.Mapping[str, t.Any]] | None = None
    warnings: t.Callable[[], t.Sequence[str]] = tuple

    @property
    def actions(self) -> tuple[Action, ...]:
        return self.content + self.names

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    def apply(self) -> t.Iterator[Action]:
        """Carry the plan out, giving each action when it is done. The first error ends it; what is done stays."""
        if not self.changed:
            return
        self.prepare()
        yield from in_parallel(_applied, self.content, self.workers)
        for action in self.names:
            yield _applied(action)

    def result(self) -> dict[str, t.Any]:
        """The answer of a module, in check mode and for real."""
        answer = dict(
            self.facts,
            changed=self.changed,
            actions=[action.summary() for action in self.actions],
            diff={"before": self.before, "after": self.after},
        )
        if self.stats:
            answer["stats"] = dict(self.stats())
        return answer


def in_parallel(function: t.Callable[[T], R], items: t.Sequence[T], workers: int) -> t.Iterator[R]:
    """``map`` over threads, in order. After the first error nothing new is started, and what runs is waited for."""
    if workers < 2 or len(items) < 2:
        yield from map(function, items)
        return
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=min(workers, len(items)))
    try:
        futures = [pool.submit(function, item) for item in items]
        concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        failed = [
            future
            for future in futures
            if future.done() and not future.cancelled() and future.exception()
        ]
        if failed:
            for future in futures:
                future.cancel()
        for future in futures:
            if not future.cancelled() and future not in failed:
                yield future.result()
        for future in failed:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _applied(action: Action) -> Action:
    action.apply()
    return action
