# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of a task: their order, their number, and how they end."""

from __future__ import annotations

import collections
import contextlib
import threading
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import (
    Pool,
    in_parallel,
    small_requests,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    NotFoundError,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Action, Plan
from ansible_collections.lockstep.images.tests.support.plans import execute


@pytest.mark.parametrize("workers", [1, 2, 3, 100])
def test_results_are_in_the_order_of_the_items(workers):
    assert list(in_parallel(lambda n: n * n, range(20), workers)) == [n * n for n in range(20)]


def test_pool_runs_as_many_jobs_as_it_has_workers():
    together = threading.Barrier(4)
    assert list(in_parallel(lambda _n: together.wait(20) >= 0, range(4), 4)) == [True] * 4


@pytest.mark.parametrize("how", ["submit", "assist"])
def test_pool_starts_more_threads_than_one_idle_thread_for_much_work(how):
    meet, met = threading.Barrier(4), []

    def come():
        with contextlib.suppress(threading.BrokenBarrierError):
            met.append(meet.wait(2))

    with Pool(4) as pool:
        pool.submit(lambda: None).result()
        time.sleep(0.05)  # and it waits for work again
        for _one in range(4):
            getattr(pool, how)(come)
        pool.submit(lambda: None, (float("inf"),)).result()
    assert len(met) == 4


def test_error_starts_no_more_jobs_and_waits_for_running_ones():
    begun, ended = [], []
    running, failed = threading.Event(), threading.Event()

    def work(item):
        begun.append(item)
        if item == 0:
            running.wait(20)
            failed.set()
            raise NotFoundError("the first")
        running.set()
        failed.wait(20)
        ended.append(item)

    with pytest.raises(NotFoundError, match="the first"):
        list(in_parallel(work, range(2), 2))
    assert (sorted(begun), ended) == ([0, 1], [1])


def test_lowest_urgency_runs_first_and_ties_in_order():
    order, begin = [], threading.Event()
    with Pool(1) as pool:
        futures = [pool.submit(lambda: begin.wait(20))]
        for name, urgency in (("c", (2,)), ("a", (1, 5)), ("b", (1, 5)), ("first", (0, 9))):
            futures.append(pool.submit(lambda name=name: order.append(name), urgency))
        begin.set()
        for future in futures:
            future.result()
    assert order == ["first", "a", "b", "c"]


def test_assisting_runs_only_when_no_work_is_left():
    order, begin = [], threading.Event()
    with Pool(1) as pool:
        pool.submit(lambda: begin.wait(20))
        pool.assist(lambda: order.append("assisted"))
        done = pool.submit(lambda: order.append("work"), (1e9,))
        assert pool.is_busy
        begin.set()
        done.result()
        last = pool.submit(lambda: order.append("more"))
        last.result()
    assert order[0] == "work"
    assert not pool.is_busy


class Step(Action):
    """An action that counts how many of its kind run at the same time, and waits until as many do as are ``expected``."""

    running: collections.Counter = collections.Counter()
    most: collections.Counter = collections.Counter()
    expected: dict[bool, int] = {}
    changed = threading.Condition()

    def __init__(self, number, is_small):
        self.subject, self.needed_by, self.is_small = f"{number}", (), is_small

    def summary(self):
        return {"action": self.subject}

    def apply(self, pool):
        with self.changed:
            self.running[self.is_small] += 1
            self.most[self.is_small] = max(self.most[self.is_small], self.running[self.is_small])
            self.changed.notify_all()
            self.changed.wait_for(self._all_run, 30)
        time.sleep(0.02)  # more than expected would show now
        with self.changed:
            self.running[self.is_small] -= 1

    def _all_run(self):
        return all(self.most[kind] >= count for kind, count in self.expected.items())


@pytest.mark.parametrize(
    ("workers", "large", "small"), [(1, 1, 0), (2, 2, 4), (6, 6, 16), (20, 20, 16)]
)
def test_small_work_has_threads_of_its_own_and_parallel_1_does_one_thing_at_a_time(
    workers, large, small
):
    Step.most.clear()
    Step.expected = {False: large, True: small} if small else {}
    steps = [Step(number, number % 2 == 0) for number in range(80)]
    done = execute(Plan(content=tuple(steps), workers=workers)).done
    assert len(done) == 80
    if small:
        assert (Step.most[False], Step.most[True]) == (large, small)
    else:
        assert sum(Step.most.values()) <= 2 and max(Step.most.values()) == 1


def test_names_that_take_few_bytes_are_set_by_the_threads_for_that():
    Step.most.clear()
    Step.expected = {True: 10}
    names = [Step(number, True) for number in range(40)]
    assert len(execute(Plan(names=tuple(names), workers=4)).done) == 40
    assert Step.most[True] == small_requests(4) == 10


def test_an_error_discards_small_work_too():
    begun = []

    class Bad(Step):
        def apply(self, pool):
            begun.append(self.subject)
            time.sleep(0.005)
            raise RuntimeError("a bug")

    steps = tuple(Bad(number, is_small=True) for number in range(1000))
    with pytest.raises(RuntimeError):
        execute(Plan(content=steps, workers=2))
    assert len(begun) < 1000


def test_an_error_stops_a_long_queue():
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.005)
        raise NotFoundError(str(item))

    with pytest.raises(NotFoundError):
        list(in_parallel(work, range(1000), 2))
    assert len(begun) < 1000
