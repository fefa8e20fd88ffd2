# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session does after a failure: whom it blames, what it sends again, and which names it puts back."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import LoadOptions
from ansible_collections.lockstep.images.plugins.module_utils._image import errors as image_errors
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.engines import FakeEngine
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.loading import load

BASE, *TOPS = (layer({name: name.encode() * 100}) for name in ("base", "one", "two", "three"))
ITEMS = [image([BASE, top]) for top in TOPS]
NAMES = [f"registry.example.com/shop/web:{number}" for number in (1, 2, 3)]
CONTENTS = [content_of(item, name) for item, name in zip(ITEMS, NAMES)]
BLOBS = opener(*ITEMS)


@pytest.fixture(name="engine")
def fixture_engine():
    return FakeEngine()


def sent(engine):
    known = {BASE.digest: "base", **{top.digest: f"top{n}" for n, top in enumerate(TOPS, 1)}}
    return [known[digest] for digest in engine.read]


def test_images_are_sent_together_and_each_blob_once(engine):
    done = load(engine, CONTENTS, BLOBS)
    assert done.statuses == ["loaded"] * 3
    assert engine.batches == [NAMES] and sent(engine) == ["base", "top1", "top2", "top3"]


def test_batches_are_limited_by_their_bytes(engine):
    limit = len(BASE.blob) + len(TOPS[0].blob) + len(TOPS[1].blob)
    assert not load(engine, CONTENTS, BLOBS, limit=limit).failed
    assert engine.batches == [NAMES[:2], NAMES[2:]]
    alone = FakeEngine()
    assert not load(alone, CONTENTS, BLOBS, limit=1).failed
    assert alone.batches == [[name] for name in NAMES]


def test_error_of_a_batch_is_not_that_of_its_images(engine):
    engine.script(errors.EngineError("something is wrong"))
    done = load(engine, CONTENTS, BLOBS)
    assert done.statuses == ["loaded"] * 3 and not done.failed
    # Each by itself, with what the engine lacks by then.
    assert engine.batches == [NAMES, *([name] for name in NAMES)]
    assert sent(engine)[4:] == ["base", "top1", "top2", "top3"]


def test_error_of_one_image_is_answered_by_sending_it_whole(engine):
    assert not load(engine, CONTENTS[:1], BLOBS).failed
    engine.script(errors.EngineError("no base"))
    done = load(engine, CONTENTS[1:2], BLOBS)
    assert done.statuses == ["repaired"]
    assert sent(engine)[2:] == ["top2", "base", "top2"]


def test_last_error_of_the_engine_is_reported_with_the_name(engine):
    engine.script(errors.EngineError("first"), errors.EngineError("second"))
    done = load(engine, CONTENTS[:1], BLOBS)
    error = done.failed[NAMES[0]]
    assert (type(error), error.kind) == (errors.EngineIncompleteError, "engine-incomplete")
    assert str(error) == (
        f"{NAMES[0]}: the image cannot be used in the engine, though all of it was sent: second"
    )
    assert engine.names == {}


def test_image_that_comes_without_an_error_and_is_not_right_is_sent_whole(engine):
    engine.send = only_first(engine.send)
    done = load(engine, CONTENTS[:1], BLOBS)
    assert done.statuses == ["repaired"] and len(engine.batches) == 1


def only_first(send):
    """Return a send that loses everything the first time."""
    calls = []

    def lossy(*args):
        calls.append(args)
        if len(calls) > 1:
            send(*args)

    return lossy


@pytest.mark.parametrize(
    "error",
    [
        errors.UnsupportedByEngineError("no such names"),
        image_errors.TruncatedError("blobs/x ended after 1 of 2 bytes"),
        image_errors.NotInStoreError("/store does not hold it"),
    ],
)
def test_error_that_more_content_cannot_help_is_final(engine, error):
    engine.script(error)
    done = load(engine, CONTENTS[:1], BLOBS)
    assert done.failed == {NAMES[0]: error} and len(engine.batches) == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.EngineGoneError("gone"),
        errors.EngineTimeoutError("hangs"),
        errors.EngineNoSpaceError("full"),
        errors.EngineRefusedError("not you"),
        image_errors.DependencyError("no library"),
    ],
)
def test_error_for_all_ends_it_and_images_that_came_stay(engine, error):
    engine.script(None, error)
    done = load(engine, CONTENTS, BLOBS, limit=1)
    assert engine.batches == [[NAMES[0]], [NAMES[1]]]
    assert done.failed == dict.fromkeys(NAMES[1:], error) and done.statuses == ["loaded"]
    assert list(engine.names) == NAMES[:1]


def test_names_are_as_before_after_a_failure(engine):
    engine.names[NAMES[0]] = "sha256:before"

    def move():
        engine.names.update(dict.fromkeys(engine.batches[-1], "sha256:broken"))
        raise errors.EngineError("moved first, failed then")

    engine.script(*[move] * 5)
    done = load(engine, CONTENTS[:2], BLOBS)
    assert list(done.failed) == NAMES[:2]
    assert engine.names == {NAMES[0]: "sha256:before"}


def test_name_that_cannot_be_restored_is_reported(engine, monkeypatch):
    def restore(_load):
        raise errors.EngineError("read-only")

    monkeypatch.setattr(engine, "restore", restore)
    engine.script(*[errors.EngineError("bad")] * 2)
    error = load(engine, CONTENTS[:1], BLOBS).failed[NAMES[0]]
    assert error.kind == "engine-incomplete"
    assert str(error).endswith(f"bad; the name {NAMES[0]} could not be restored: read-only")


def test_engine_that_stops_answering_is_asked_no_more(engine, monkeypatch):
    engine.script(errors.EngineGoneError("gone"))
    restored = []
    monkeypatch.setattr(engine, "restore", restored.append)

    def between():
        calls = iter([None])

        def refresh():
            if next(calls, "late"):
                raise errors.EngineNotFoundError("nothing listens")

        monkeypatch.setattr(engine, "refresh", refresh)

    done = load(engine, CONTENTS, BLOBS, between=between)
    assert {name: str(error) for name, error in done.failed.items()} == dict.fromkeys(NAMES, "gone")
    assert restored == []


def test_conflict_concerns_one_name(engine):
    def between():
        engine.names[NAMES[1]] = "sha256:other"

    done = load(engine, CONTENTS, BLOBS, between=between)
    assert str(done.failed[NAMES[1]]) == (
        f"{NAMES[1]} was moved to sha256:other in the engine by another process"
    )
    assert done.statuses == ["loaded", "loaded"] and engine.names[NAMES[1]] == "sha256:other"


def test_image_of_another_process_under_the_right_name_proves_nothing(engine):
    def other():
        engine.names[NAMES[0]] = "sha256:other"

    engine.send = lambda *_args: other()
    error = load(engine, CONTENTS[:1], BLOBS).failed[NAMES[0]]
    assert isinstance(error, errors.EngineIncompleteError) and engine.names == {}


def test_blobs_of_an_image_that_fails_to_plan_count_for_the_next(engine):
    def prepare(load_, _open_blob):
        if load_.name == NAMES[0]:
            raise errors.UnsupportedLayerError("a layer that the engine cannot read")
        return load_

    engine.prepare = prepare
    with pytest.raises(errors.UnsupportedLayerError):
        load(engine, CONTENTS[:1], BLOBS)
    assert not load(engine, CONTENTS[1:2], BLOBS).failed


@pytest.mark.parametrize(
    "error", [errors.EngineRefusedError("no"), image_errors.DigestMismatchError("wrong bytes")]
)
def test_forced_load_that_fails_is_not_proven_by_what_the_engine_had(engine, error):
    assert not load(engine, CONTENTS[:1], BLOBS).failed
    before = dict(engine.names)
    engine.script(error, error)
    done = load(engine, CONTENTS[:1], BLOBS, LoadOptions(force=True))
    assert done.failed == {NAMES[0]: error}
    assert engine.names == before
