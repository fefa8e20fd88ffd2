# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what they say they will do is what they do, in an order that never leaves a lie behind."""

from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    copy_blob,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    DigestMismatchError,
    NotFoundError,
    SizeMismatchError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import (
    Name,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import (
    FetchBlob,
    Plan,
    SetName,
    StoreContent,
    in_parallel,
)
from ansible_collections.lockstep.images.tests.support.fakes import FakeRepository, FakeSink, blob

DATA = b"0123456789" * 500
LAYER = blob(DATA, "application/vnd.oci.image.layer.v1.tar")
MANIFEST = blob(b"{}", "application/vnd.oci.image.manifest.v1+json")


@pytest.fixture(name="source")
def fixture_source():
    source = FakeRepository()
    source.content[str(LAYER.digest)] = DATA
    return source


@pytest.fixture(name="sink")
def fixture_sink():
    return FakeSink()


def plan_of(source, sink, **more):
    return Plan(
        content=(StoreContent(MANIFEST, b"{}", sink), FetchBlob(LAYER, source, sink)),
        names=(SetName("b:1", Name(MANIFEST), None, sink), SetName("a:1", Name(LAYER), None, sink)),
        **more,
    )


def test_a_plan_is_carried_out_content_first_names_last(source, sink):
    plan = plan_of(source, sink)
    done = list(plan.apply())
    assert tuple(done) == plan.actions
    assert sink.log == [
        ("write", str(MANIFEST.digest)),
        ("write", str(LAYER.digest)),
        ("set_name", "b:1"),
        ("set_name", "a:1"),
    ]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_no_name_is_set_before_all_content_is_there(source, sink, workers):
    plan = plan_of(source, sink, workers=workers)
    for action in plan.apply():
        if isinstance(action, SetName):
            assert sink.has(MANIFEST)
            assert sink.has(LAYER)
    assert [verb for verb, _what in sink.log] == ["write", "write", "set_name", "set_name"]


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_in_the_content_sets_no_name(source, sink, workers):
    source.content.clear()
    with pytest.raises(NotFoundError):
        list(plan_of(source, sink, workers=workers).apply())
    assert sink.names == {}


def test_what_was_done_before_an_error_is_given_out(source, sink):
    """So that a failed task can tell whether it changed anything."""
    source.content.clear()
    done = []
    with pytest.raises(NotFoundError):
        for action in plan_of(source, sink).apply():
            done.append(action.summary()["action"])
    assert done == ["store_content"]


def test_building_and_showing_a_plan_does_nothing(source, sink):
    plan_of(source, sink, facts={"x": 1}).result()
    assert (source.reads, sink.log) == ([], [])


def test_a_plan_without_actions_prepares_nothing():
    plan = Plan(prepare=lambda: pytest.fail("nothing to do"), facts={"images": []})
    assert list(plan.apply()) == []
    assert not plan.changed
    assert plan.result() == {
        "images": [],
        "changed": False,
        "actions": [],
        "diff": {"before": None, "after": None},
    }


def test_the_target_is_prepared_once_before_the_first_action(source, sink):
    list(plan_of(source, sink, prepare=lambda: sink.log.append(("prepare", ""))).apply())
    assert [verb for verb, _what in sink.log][:2] == ["prepare", "write"]
    assert sink.log.count(("prepare", "")) == 1


def test_the_result_is_the_same_before_and_after(source, sink):
    plan = plan_of(source, sink, before={"a": "1"}, after={"a": "2"}, facts={"images": [1]})
    before = plan.result()
    list(plan.apply())
    assert plan.result() == before
    assert before["changed"]


def test_actions_say_what_they_do_in_plain_values(source, sink):
    moved = SetName("a:1", Name(MANIFEST), Name(LAYER), sink)
    assert [action.summary() for action in (*plan_of(source, sink).content, moved)] == [
        {
            "action": "store_content",
            "digest": str(MANIFEST.digest),
            "media_type": MANIFEST.media_type,
            "size": 2,
        },
        {
            "action": "fetch_blob",
            "digest": str(LAYER.digest),
            "media_type": LAYER.media_type,
            "size": len(DATA),
            "source": "registry.example/app",
        },
        {
            "action": "set_name",
            "name": "a:1",
            "digest": str(MANIFEST.digest),
            "previous": str(LAYER.digest),
        },
    ]
    assert SetName("a:1", Name(MANIFEST), None, sink).summary()["previous"] is None


def test_every_action_may_be_applied_twice(source, sink):
    plan = plan_of(source, sink)
    for action in (*plan.actions, *plan.actions):
        action.apply()
    assert sink.names == {"b:1": Name(MANIFEST), "a:1": Name(LAYER)}


def test_stats_and_warnings_are_asked_when_the_work_is_over(source, sink):
    plan = plan_of(
        source,
        sink,
        stats=lambda: {"reads": len(source.reads)},
        warnings=lambda: [verb for verb, _what in source.reads],
    )
    list(plan.apply())
    assert plan.result()["stats"] == {"reads": 1}
    assert plan.warnings() == ["blob"]


# -- in_parallel


@pytest.mark.parametrize("workers", [1, 2, 3, 100])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(in_parallel(lambda n: n * n, range(20), workers)) == [n * n for n in range(20)]


def test_so_many_at_once_as_there_are_workers():
    together = threading.Barrier(4)
    assert list(in_parallel(lambda _n: together.wait(20) >= 0, range(4), 4)) == [True] * 4


def test_after_an_error_nothing_new_is_started_and_what_runs_is_waited_for():
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


def test_an_error_stops_a_long_queue():
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.005)
        raise NotFoundError(str(item))

    with pytest.raises(NotFoundError):
        list(in_parallel(work, range(1000), 2))
    assert len(begun) < 1000


# -- copy_blob


def test_a_blob_that_is_there_is_not_read(source, sink):
    sink.write(LAYER, [DATA])
    copy_blob(LAYER, source, sink)
    assert source.reads == []


def test_content_that_travels_in_its_descriptor_is_not_asked_for(source, sink):
    """M016"""
    inline = type(LAYER)(LAYER.media_type, LAYER.digest, LAYER.size, data=DATA)
    copy_blob(inline, source, sink)
    assert (source.reads, sink.content) == ([], {str(LAYER.digest): DATA})


@pytest.mark.parametrize("breaks", [1, 3, 5])
def test_a_transfer_that_breaks_off_is_begun_again(source, sink, breaks):
    source.script("blob", LAYER.digest, *[DATA[:n] for n in range(1, breaks)], TruncatedError("x"))
    copy_blob(LAYER, source, sink)
    assert sink.content == {str(LAYER.digest): DATA}
    assert source.pauses == list(range(1, breaks + 1))


def test_patience_ends(source, sink):
    source.patience = 2
    source.script("blob", LAYER.digest, *[DATA[:5]] * 10)
    with pytest.raises(TruncatedError):
        copy_blob(LAYER, source, sink)
    assert (len(source.reads), sink.content) == (3, {})


SPOILT = {"other bytes": DATA[::-1], "too many bytes": DATA + b"x"}
every_spoilt = pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)


@every_spoilt
def test_wrong_bytes_are_read_once_more(source, sink, spoilt):
    source.script("blob", LAYER.digest, spoilt)
    copy_blob(LAYER, source, sink)
    assert sink.content == {str(LAYER.digest): DATA}


@every_spoilt
def test_a_source_that_is_wrong_twice_is_wrong(source, sink, spoilt):
    source.script("blob", LAYER.digest, spoilt, spoilt)
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        copy_blob(LAYER, source, sink)
    assert (len(source.reads), sink.content) == (2, {})
