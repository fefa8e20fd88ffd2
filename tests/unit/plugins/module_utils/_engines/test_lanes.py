# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches on their way to an engine: how many at a time, which of them wait for others, and what an error ends."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.batches import Batch
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    LOADED,
    Finding,
    Load,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.lanes import Lanes
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.images import image, layer

TOPS = [layer({name: name.encode() * 100}) for name in "1234"]
WAIT = 30


class Slow:
    """An engine that works on a batch until its event is set. ``events`` are what has happened, in order."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.events: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.may_end: dict[str, threading.Event] = {}
        self.most = 0
        self._now = 0

    def begin(self, loads, open_blob, options):
        tag = loads[0].image.reference.tag
        self.events.append(f"sent {tag}")
        self._now += 1
        self.most = max(self.most, self._now)

        def wait():
            assert tag not in self.may_end or self.may_end[tag].wait(WAIT)
            self._now -= 1
            self.events.append(f"ended {tag}")
            if tag in self.errors:
                raise self.errors[tag]

        return wait


def load_of(number, layer):
    item = image([layer])
    content = content_of(item, f"registry.example.com/app:{number}")
    return Load(content, Finding(item.digest, None, False, False), LOADED, content.manifest.layers)


INDEPENDENT = [load_of(number, top) for number, top in enumerate(TOPS, 1)]


def send(engine, loads):
    lanes = Lanes(engine, opener(), LoadOptions())
    lanes.send(Batch([load]) for load in loads)
    return lanes


def test_engine_with_one_lane_ends_each_batch_before_the_next_is_sent():
    engine = Slow(1)
    assert not send(engine, INDEPENDENT[:2]).failures
    assert engine.events == ["sent 1", "ended 1", "sent 2", "ended 2"]


def test_as_many_batches_as_lanes_are_on_their_way_in_order():
    engine = Slow(2)
    engine.may_end = {"1": threading.Event(), "2": threading.Event()}
    begin, engine.begin = engine.begin, None

    def release(loads, *rest):
        done = begin(loads, *rest)
        if loads[0].image.reference.tag == "2":
            for event in engine.may_end.values():
                event.set()
        return done

    engine.begin = release
    assert not send(engine, INDEPENDENT).failures
    assert engine.most == 2
    assert engine.events[:2] == ["sent 1", "sent 2"]
    assert [one for one in engine.events if "sent" in one] == [f"sent {n}" for n in (1, 2, 3, 4)]


def test_lane_that_is_free_gets_the_next_batch_whichever_it_is():
    engine = Slow(2)
    engine.may_end = {"1": threading.Event()}
    begin = engine.begin

    def release(loads, *rest):
        if loads[0].image.reference.tag == "4":
            engine.may_end["1"].set()
        return begin(loads, *rest)

    engine.begin = release
    assert not send(engine, INDEPENDENT).failures
    assert engine.events.index("ended 2") < engine.events.index("sent 3")
    assert engine.events.index("sent 4") < engine.events.index("ended 1")


def test_batch_waits_for_an_image_that_it_needs_and_for_no_other():
    engine = Slow(4)
    engine.may_end = {"2": threading.Event()}
    begin = engine.begin

    def release(loads, *rest):
        if loads[0].image.reference.tag == "4":
            engine.may_end["2"].set()
        return begin(loads, *rest)

    engine.begin = release
    lanes = Lanes(engine, opener(), LoadOptions())
    needs = [(), (), {INDEPENDENT[0].name}, ()]
    lanes.send(Batch([load], frozenset(need)) for load, need in zip(INDEPENDENT, needs))
    assert not lanes.failures
    assert engine.events.index("ended 1") < engine.events.index("sent 3")
    assert engine.events.index("sent 4") < engine.events.index("ended 2")


@pytest.mark.parametrize("lanes", [1, 2])
def test_error_concerns_its_batch_alone(lanes):
    engine, error = Slow(lanes), errors.EngineError("no")
    engine.errors = {"2": error}
    found = send(engine, INDEPENDENT)
    assert found.fatal is None
    assert found.failures == {INDEPENDENT[1].name: (error, False)}


def test_error_for_all_ends_what_is_not_sent_and_waits_for_the_rest():
    engine, error = Slow(2), errors.EngineNoSpaceError("full")
    engine.errors, engine.may_end = {"1": error}, {"2": threading.Event()}
    threading.Timer(0.05, engine.may_end["2"].set).start()
    found = send(engine, INDEPENDENT)
    assert found.fatal is error
    names = [load.name for load in INDEPENDENT]
    assert list(found.failures) == [names[0], *names[2:]]
    assert engine.events.count("ended 2") == 1 and "sent 3" not in engine.events


def test_other_exceptions_are_not_hidden():
    engine = Slow(2)
    engine.errors = {"1": ZeroDivisionError("a fault")}
    with pytest.raises(ZeroDivisionError):
        send(engine, INDEPENDENT)
