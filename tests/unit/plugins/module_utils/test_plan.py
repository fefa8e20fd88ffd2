# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: what they say they will do is what they do, in an order that never leaves a lie behind."""

from __future__ import annotations

import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import (
    Execution,
    Pool,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    DependencyError,
    LockedError,
    NoSpaceError,
    NotFoundError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.actions import (
    FetchBlob,
    StoreContent,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.naming import SetName
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import shorten_sync
from ansible_collections.lockstep.images.plugins.module_utils._plan import Action, Outcome, Plan
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.tests.support.fakes import FakeRepository, FakeSink, blob
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute, watch

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
        content=(
            StoreContent(MANIFEST, b"{}", sink).replaced(needed_by=("a:1", "b:1")),
            FetchBlob(LAYER, source, sink).replaced(needed_by=("a:1", "b:1")),
        ),
        names=(
            SetName("b:1", IndexEntry(MANIFEST), None, sink),
            SetName("a:1", IndexEntry(LAYER), None, sink),
        ),
        **more,
    )


def test_plan_writes_content_first_and_names_last(source, sink):
    plan = plan_of(source, sink)
    outcome = execute(plan)
    assert tuple(outcome.done) == plan.actions
    assert sink.log == [
        ("write", str(MANIFEST.digest)),
        ("write", str(LAYER.digest)),
        ("set_name", "b:1"),
        ("set_name", "a:1"),
    ]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_name_is_set_only_after_all_its_content(source, sink, workers):
    plan = plan_of(source, sink, workers=workers)

    def is_whole(action):
        if isinstance(action, SetName):
            assert sink.has(MANIFEST)
            assert sink.has(LAYER)

    watch(plan, is_whole)
    assert [verb for verb, _what in sink.log] == ["write", "write", "set_name", "set_name"]


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_in_the_content_sets_no_name(source, sink, workers):
    """The finished actions are yielded, so that a failed task can report whether it changed anything."""
    source.content.clear()
    plan = plan_of(source, sink, workers=workers)
    outcome = execute(plan)
    assert [action.summary()["action"] for action in outcome.done] == ["store_content"]
    assert sink.names == {}
    assert set(outcome.failures) == {"a:1", "b:1"}
    assert isinstance(outcome.failure, NotFoundError)


class Fails(Action):
    """Content that cannot be fetched."""

    needed_by = ("a:1",)

    def __init__(self, error):
        self.error = error

    def summary(self):
        return {}

    def apply(self, pool):
        raise self.error


def test_unexpected_exception_ends_the_plan_unchanged(sink):
    plan = Plan(content=(Fails(ZeroDivisionError()),), names=(SetName("a:1", LAYER, None, sink),))
    with pytest.raises(ZeroDivisionError):
        execute(plan)
    assert sink.names == {}


@pytest.mark.parametrize("error", [NoSpaceError("full"), LockedError("held"), StoreAccessError("no")], ids=str)  # fmt: skip
def test_unwritable_names_fail_and_arrived_content_is_reported(source, sink, monkeypatch, error):
    def set_names(moves):
        raise error

    monkeypatch.setattr(sink, "set_names", set_names)
    plan = plan_of(source, sink, before={}, after={"a:1": "x", "b:1": "y"})
    outcome = execute(plan)
    assert outcome.done == list(plan.content)
    assert outcome.failures == {"a:1": error, "b:1": error}
    assert outcome.result()["diff"] == {"before": {}, "after": {}}
    assert type(outcome.failure) is type(error)


def test_names_that_were_set_before_the_disk_was_full_stay(source, sink, monkeypatch):
    """One needs nothing, the others wait for content; then nobody fetches for names that cannot be set."""
    true = sink.set_names

    def set_names(moves):
        if "c:1" not in [move.name for move in moves]:
            raise NoSpaceError("full")
        true(moves)

    monkeypatch.setattr(sink, "set_names", set_names)
    plan = plan_of(source, sink)
    plan = plan._replace(names=(*plan.names, SetName("c:1", IndexEntry(LAYER), None, sink)))
    outcome = execute(plan)
    assert [action.name for action in outcome.done if isinstance(action, SetName)] == ["c:1"]
    assert set(outcome.failures) == {"a:1", "b:1"}


class Waits(Fails):
    """Content that comes until the plan is ended."""

    needed_by = ("late:1",)

    def apply(self, pool):
        while not pool.stopped:
            time.sleep(0.005)
        raise self.error


@pytest.mark.parametrize("error", [NoSpaceError("x"), DependencyError("x")])
def test_common_error_ends_the_plan_and_fails_every_unfinished_name(error, sink):
    """What was done is given out, and names that are complete are set."""
    names = ("done:1", "a:1", "late:1")
    plan = Plan(
        content=(
            StoreContent(MANIFEST, b"{}", sink).replaced(needed_by=("done:1",)),
            Fails(error),
            Waits(NotFoundError("stopped")),
        ),
        names=tuple(SetName(name, IndexEntry(MANIFEST), None, sink) for name in names),
        before={"a:1": "old"},
        after=dict.fromkeys(names, "new"),
        workers=2,
    )
    outcome = execute(plan)
    assert [action.summary()["action"] for action in outcome.done] == ["store_content", "set_name"]
    assert (list(sink.names), set(outcome.failures)) == (["done:1"], {"a:1", "late:1"})
    assert outcome.failure.kind == error.kind
    assert outcome.result()["diff"] == {
        "before": {"a:1": "old"},
        "after": {"a:1": "old", "done:1": "new"},
    }


def test_actions_are_reported_in_planned_order(sink):
    names = ("a:1", "b:1", "c:1", "d:1")
    failures = {"d:1": NotFoundError("d:1: not found")}
    plan = Plan(
        names=tuple(SetName(name, IndexEntry(MANIFEST), None, sink) for name in names),
        before={},
        after=dict.fromkeys(names, "new"),
        failures=failures,
    )
    outcome = Outcome(plan, [plan.names[2], plan.names[0]], failures)
    assert [action["name"] for action in outcome.result()["actions"]] == ["a:1", "c:1"]


def test_F24_a_failed_result_says_what_failed_what_changed_and_what_is_left():
    images = [
        {"name": "a:1", "digest": "d", "status": "downloaded", "layers": [{}], "id": "i"},
        {"name": "b:1", "digest": "d", "status": "up_to_date", "layers": [{}], "id": "i"},
        {"name": "c:1", "digest": "d", "status": "downloaded", "layers": [{}], "id": "i"},
    ]
    rows = [{"name": "a:1"}, {"name": "c:1"}, {"name": "extra:1"}]
    failures = {"c:1": NotFoundError("c:1: not found")}
    plan = Plan(
        before={"b:1": "old"},
        after={"a:1": "new", "b:1": "old", "c:1": "new"},
        facts={"images": images, "differences": rows},
        failures=failures,
        shorten=shorten_sync,
    )
    brief = Outcome(plan, [], failures).brief()
    assert "actions" not in brief
    assert brief["images"] == [{"name": "a:1", "digest": "d", "status": "downloaded"}]
    assert brief["differences"] == [{"name": "extra:1"}]
    assert brief["failures"][0]["name"] == "c:1"
    assert brief["diff"]["after"] == {"a:1": "new", "b:1": "old"}
    # In check mode nothing was done about the others.
    checked = dry_run(plan)
    assert checked.brief()["differences"] == [{"name": "a:1"}, {"name": "extra:1"}]
    assert len(checked.result()["images"]) == 2


def test_name_that_another_process_moved_does_not_stop_the_others(sink):
    sink.names = {"b:1": IndexEntry(LAYER)}
    names = ("a:1", "b:1", "c:1")
    plan = Plan(names=tuple(SetName(name, IndexEntry(MANIFEST), None, sink) for name in names))
    outcome = execute(plan)
    assert [action.subject for action in outcome.done] == ["a:1", "c:1"]
    assert list(outcome.failures) == ["b:1"]
    assert outcome.failure.kind == "store-conflict"


def test_names_that_are_ready_together_are_set_in_one_write(sink):
    calls = []
    plan = Plan(names=tuple(SetName(f"{n}:1", IndexEntry(MANIFEST), None, sink) for n in range(5)))
    real, sink.set_names = sink.set_names, lambda moves: (calls.append(len(moves)), real(moves))
    assert len(execute(plan).done) == 5
    assert calls == [5]


def test_many_failures_are_reported_in_one_sentence():
    failures = {f"app:{n}": NotFoundError(f"app:{n}: not found", "Look.") for n in range(9)}
    failure = dry_run(Plan(after={"web:1": "x"}, failures=failures)).failure
    assert str(failure) == (
        "9 of 10 images failed: app:0: not found; app:1: not found; app:2: not found; and 6 more"
    )
    assert (failure.kind, failure.hint) == ("not-found", "Look.")


def test_F18_error_of_several_names_is_reported_once():
    failures = {f"app:{n}": NotFoundError("web:1: not found", "Look.") for n in range(5)}
    assert dry_run(Plan(after={}, failures=failures)).failure.full_message() == (
        "5 of 5 images failed: web:1: not found. Look."
    )


def test_building_and_rendering_a_plan_changes_nothing(source, sink):
    dry_run(plan_of(source, sink, facts={"x": 1})).result()
    assert (source.reads, sink.log) == ([], [])


def test_a_plan_without_actions_prepares_nothing():
    plan = Plan(prepare=lambda: pytest.fail("nothing to do"), facts={"images": []})
    assert execute(plan).done == []
    assert not plan.changed
    assert dry_run(plan).result() == {
        "images": [],
        "changed": False,
        "actions": [],
        "diff": {"before": {}, "after": {}},
    }


def test_the_target_is_prepared_once_before_the_first_action(source, sink):
    execute(plan_of(source, sink, prepare=lambda: sink.log.append(("prepare", ""))))
    assert [verb for verb, _what in sink.log][:2] == ["prepare", "write"]
    assert sink.log.count(("prepare", "")) == 1


def test_the_result_is_the_same_before_and_after(source, sink):
    plan = plan_of(source, sink, before={"a": "1"}, after={"a": "2"}, facts={"images": [1]})
    before = dry_run(plan).result()
    outcome = execute(plan)
    assert outcome.result() == before
    assert before["changed"]


def test_summaries_of_actions_are_plain_values(source, sink):
    moved = SetName("a:1", IndexEntry(MANIFEST), IndexEntry(LAYER), sink)
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
    assert SetName("a:1", IndexEntry(MANIFEST), None, sink).summary()["previous"] is None


def test_every_action_may_be_applied_twice(source, sink):
    plan = plan_of(source, sink)
    with Pool(1) as pool:
        for action in (*plan.actions, *plan.actions):
            action.apply(pool)
    assert sink.names == {"b:1": IndexEntry(MANIFEST), "a:1": IndexEntry(LAYER)}


def test_stats_and_warnings_are_read_after_the_actions(source, sink):
    plan = plan_of(
        source,
        sink,
        stats=lambda: {"reads": len(source.reads)},
        warnings=lambda: [verb for verb, _what in source.reads],
    )
    outcome = execute(plan)
    assert outcome.result()["stats"] == {"reads": 1}
    assert plan.warnings() == ["blob"]


class Last(Action):
    """A step of the end, of one kind."""

    def __init__(self, log, name, error=None):
        self.log, self.name, self.error = log, name, error

    def summary(self):
        return {"action": self.name}

    def apply(self, pool):
        if self.error:
            raise self.error
        self.log.append(self.name)


class Later(Last):
    """Another kind."""


def test_last_actions_run_kind_by_kind_after_the_cleanup_hook(source, sink):
    """Of one kind all at once, and the next when all of it is done."""
    log = []
    plan = plan_of(
        source,
        sink,
        before_cleanup=lambda: log.append(f"settle after {len(sink.names)} names"),
        last=(Last(log, "a"), Last(log, "b"), Later(log, "c"), Later(log, "d")),
        workers=3,
    )
    outcome = execute(plan)
    assert [action.summary()["action"] for action in outcome.done[-4:]] == ["a", "b", "c", "d"]
    assert log[0] == "settle after 2 names"
    assert [sorted(log[1:3]), sorted(log[3:])] == [["a", "b"], ["c", "d"]]


class ForSome(Last):
    """A last action that only some names need."""

    def __init__(self, log, name, needed_by, error=None):
        super().__init__(log, name, error)
        self.needed_by = needed_by


class ForSomeLater(ForSome):
    """A later kind of it."""


def test_last_actions_that_some_names_need_are_held_back_by_these_alone():
    log, no = [], NotFoundError("no")
    last = (
        ForSome(log, "a", ("a",)),
        ForSome(log, "b", ("b",)),
        ForSome(log, "c", ("c",), no),
        ForSome(log, "ab", ("a", "b")),
        ForSomeLater(log, "a again", ("a",)),
        ForSomeLater(log, "c again", ("c",)),
        Last(log, "all"),
    )
    plan = Plan(last=last, failures={"b": no}, before_cleanup=lambda: log.append("hook"))
    outcome = execute(plan)
    assert log == ["hook", "a", "a again"]
    assert list(outcome.failures) == ["b", "c"]
    assert outcome.done == [last[0], last[4]]


class Name(ForSome):
    """Sets several names."""

    subject = "a"


def test_name_that_fails_for_several_names_is_the_failure_of_each():
    error = NotFoundError("no")
    outcome = execute(Plan(names=(Name([], "x", ("a", "b"), error),)))
    assert outcome.failures == {"a": error, "b": error}


def test_action_without_an_effect_is_not_reported_whenever_that_is_known():
    class Undo(Last):
        def apply(self, pool):
            first.had_no_effect = True

    first, second = Last([], "first"), Undo([], "second")
    assert execute(Plan(last=(first, second))).done == [second]


def test_before_cleanup_is_not_called_without_last_actions(source, sink):
    plan = plan_of(source, sink, before_cleanup=lambda: pytest.fail("nothing comes last"))
    assert len(execute(plan).done) == 4


def test_plan_may_have_only_last_actions():
    log = []
    plan = Plan(
        last=(Last(log, "a"),),
        prepare=lambda: log.append("prepare"),
        before_cleanup=lambda: log.append("settle"),
    )
    assert plan.changed
    assert len(execute(plan).done) == 1
    assert log == ["prepare", "settle", "a"]


def planned_failure(source, sink):
    return {"failures": {"c:1": NotFoundError("c:1: not found")}}


def content_that_fails(source, sink):
    source.content.clear()
    return {}


def a_name_that_moved(source, sink):
    sink.names = {"b:1": IndexEntry(LAYER)}
    return {}


def a_full_disk(source, sink):
    source.script("blob", LAYER.digest, NoSpaceError("full"))
    return {}


@pytest.mark.parametrize(
    "fail",
    [planned_failure, content_that_fails, a_name_that_moved, a_full_disk],
    ids=lambda one: one.__name__,
)
def test_failure_skips_before_cleanup_and_the_last_actions(source, sink, fail):
    log = []
    more = fail(source, sink)
    plan = plan_of(
        source,
        sink,
        before_cleanup=lambda: log.append("settle"),
        last=(Last(log, "a"),),
        facts={"kept": 1},
        promises={"freed": 2},
        before={},
        after={},
        **more,
    )
    outcome = execute(plan)
    assert log == []
    assert outcome.failures
    result = outcome.result()
    assert result["kept"] == 1
    assert "freed" not in result
    assert {"action": "a"} not in result["actions"]


def test_promises_are_reported_in_check_mode_and_after_a_success(source, sink):
    plan = plan_of(source, sink, facts={"kept": 1}, promises={"freed": 2})
    before = dry_run(plan).result()
    assert (before["kept"], before["freed"]) == (1, 2)
    outcome = execute(plan)
    assert outcome.result() == before


@pytest.mark.parametrize("error", [ConflictError("moved"), ZeroDivisionError()], ids=str)
def test_failed_cleanup_hook_ends_the_plan_after_the_names(source, sink, error):
    def settle():
        raise error

    log = []
    execution = Execution(plan_of(source, sink, before_cleanup=settle, last=(Last(log, "a"),)))
    with pytest.raises(type(error)):
        execution.run()
    assert (log, len(execution.done), len(sink.names)) == ([], 4, 2)


def test_error_of_a_last_action_is_raised_after_its_kind_is_reported():
    """A task that fails has to know whether it changed anything; no other kind begins."""
    log = []
    failing = [Last(log, name, NotFoundError(name)) for name in ("a", "c")]
    steps = (failing[0], Last(log, "b"), failing[1], Last(log, "d"), Later(log, "e"))
    execution = Execution(Plan(last=steps))
    with pytest.raises(NotFoundError, match="a"):
        execution.run()
    assert execution.done == [steps[1], steps[3]]
    assert log == ["b", "d"]
