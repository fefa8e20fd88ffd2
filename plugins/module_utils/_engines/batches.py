# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images are sent to an engine at once, and in which order, so that its lanes rarely wait for each other."""

from __future__ import annotations

import heapq
import typing as t

from .._image.names import Digest
from .engine import Load

# What a layer and an archive cost an engine beside their bytes: as much as so many bytes. Docker starts a process for each.
_FOR_EACH = 1024 * 1024
# So many batches for each lane, or more, so that no lane is idle for long at the end.
_IN_A_LANE = 3


class Batch(t.NamedTuple):
    """Images that are sent at once. ``needs`` are the names of other images, which bring layers that these leave out."""

    loads: t.Sequence[Load]
    needs: frozenset[str] = frozenset()


def batches(loads: t.Sequence[Load], limit: int | None, lanes: int = 1) -> list[Batch]:
    """Return the loads in batches whose blobs have at most ``limit`` bytes, or that are one image.

    An engine with one lane gets them in their order. For several lanes, an image comes early if others need its layers, and
    a batch is so small that all lanes have something to do.
    """
    schedule = _Schedule(loads, limit, lanes)
    found = []
    while schedule.waiting:
        taken = schedule.next()
        needs = {number for one in taken for number in schedule.needs[one]} - set(taken)
        names = frozenset(loads[number].name for number in needs)
        found.append(Batch([loads[one] for one in taken], names))
    return found


class _Schedule:
    """The work of an engine, as far as it can be foreseen. ``waiting`` are the numbers of the loads that are in no batch.

    ``needs`` are for each load the numbers of those that must be in the engine first.
    """

    def __init__(self, loads: t.Sequence[Load], limit: int | None, lanes: int) -> None:
        self._sizes = [load.bytes_sent for load in loads]
        counts = (len(load.blobs) for load in loads)
        self._costs = [size + count * _FOR_EACH for size, count in zip(self._sizes, counts)]
        self._limit = sum(self._sizes) if limit is None else limit
        self._most = sum(self._costs) // (1 if lanes == 1 else lanes * _IN_A_LANE)
        self._lanes = lanes
        self.needs = _needs(loads if lanes > 1 else ()) or [frozenset()] * len(loads)
        self.waiting = list(range(len(loads)))
        self._arrived: set[int] = set()
        self._running: list[tuple[int, list[int]]] = []  # what each lane does, and when it ends
        self._now = 0

    def next(self) -> list[int]:
        """Return the loads of the next batch, which are no longer waiting."""
        ready = self._ready() if len(self._running) < self._lanes else []
        while not ready:
            self._now, ended = heapq.heappop(self._running)
            self._arrived.update(ended)
            ready = self._ready()
        taken = self._take(ready)
        self.waiting = sorted({*self.waiting}.difference(taken))
        cost = _FOR_EACH + self._cost(taken)
        heapq.heappush(self._running, (self._now + cost, taken))
        return taken

    def _ready(self) -> list[int]:
        return [one for one in self.waiting if self.needs[one] <= self._arrived]

    def _take(self, ready: t.Sequence[int]) -> list[int]:
        """Return the loads of a batch, which are a share of the work, so that the lanes end together.

        If more lanes have nothing to do, they get their share of the loads that are ``ready``. Otherwise the batch also has
        loads that need others of it.
        """
        idle = self._lanes - len(self._running)
        if idle > 1:
            share = self._cost(ready) // idle
        else:
            begun = sum(end - self._now for end, _numbers in self._running)
            share = (begun + self._cost(self.waiting)) // self._lanes
        most = min(share, self._most)
        taken: list[int] = []
        there = set(self._arrived)
        cost = size = 0
        for one in self.waiting:
            is_free = not self._costs[one]
            if self.needs[one] <= (there if idle == 1 or is_free else self._arrived):
                cost, size = cost + self._costs[one], size + self._sizes[one]
                if taken and not is_free and (cost > most or size > self._limit):
                    break
                taken.append(one)
                there.add(one)
        return taken

    def _cost(self, numbers: t.Iterable[int]) -> int:
        return sum(self._costs[one] for one in numbers)


def _needs(loads: t.Sequence[Load]) -> list[frozenset[int]]:
    """Return for each load the numbers of earlier ones that bring layers which it leaves out."""
    found = []
    # An engine knows a layer together with those below it, or alone.
    chains: dict[tuple[Digest, Digest], int] = {}
    alone: dict[Digest, int] = {}
    for number, load in enumerate(loads):
        brought = {blob.digest for blob in load.blobs}
        needed: set[int | None] = set()
        for layer in load.image.layers:
            digest = layer.blob.digest
            if digest in brought:
                chains.setdefault((digest, layer.chain_id), number)
                alone.setdefault(digest, number)
            else:
                needed.add(chains.get((digest, layer.chain_id), alone.get(digest)))
        found.append(frozenset(one for one in needed if one is not None))
    return found
