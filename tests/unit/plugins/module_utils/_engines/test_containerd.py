# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads into containerd: what is sent and named in which order, and what remains of a load that fails."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.containerd import (
    ContainerdEngine,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    KnownImage,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.session import (
    Session,
    plan_load,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.chain import chain_ids
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.tests.support import images
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.fakectr import FakeCtr

NAME, OTHER = "registry.example.com/web:1", "registry.example.com/web:2"
BASE, TOP = images.layer({"base": b"b" * 900}), images.layer({"top": b"t" * 700})
WEB = images.image([BASE, TOP])
NEXT = images.image([BASE, images.layer({"next": b"n"})])
MULTI = images.index([WEB, images.image([TOP], "linux/arm64")])
BY_DIGEST = f"registry.example.com/web@{WEB.digest}"
PLAIN = LoadOptions()
PIN = LoadOptions(pin=True)


@pytest.fixture(params=["1.6.20", "2.1.9"])
def ctr(request):
    return FakeCtr(request.param)


def plan(ctr, *items, options=PLAIN, platform="linux/amd64"):
    engine, sent = ContainerdEngine(ctr), set()
    contents = [content_of(item, name, platform) for item, name in items]
    return engine, [plan_load(engine, content, options, sent) for content in contents]


def load(ctr, *items, options=PLAIN, platform="linux/amd64"):
    """Load images; return the status of each, or the error."""
    engine, loads = plan(ctr, *items, options=options, platform=platform)
    due = [one for one in loads if one.status != "present"]
    planned = engine.size_of(due) + ctr.stats["bytes_sent"]
    session = Session(engine, opener(WEB, NEXT, MULTI), options)
    found = session.run(due)
    if not any(found) and "repaired" not in [one.status for one in session.ended.values()]:
        assert ctr.stats["bytes_sent"] == planned
    ended = [session.ended.get(one.name, one).status for one in loads]
    return [error or status for error, status in zip(found or [None] * len(ended), ended)]


def test_content_is_sent_under_its_digest_and_then_named(ctr):
    assert load(ctr, (WEB, NAME)) == ["loaded"]
    content, names = ctr.imports
    assert content.names == [BY_DIGEST]
    assert content.blobs == {WEB.digest, WEB.config_digest, BASE.digest, TOP.digest}
    assert names == (("--no-unpack",), [NAME, BY_DIGEST], set())
    assert ctr.targets == {NAME: WEB.digest, BY_DIGEST: WEB.digest}


def test_loaded_image_needs_nothing_and_three_questions(ctr):
    load(ctr, (WEB, NAME))
    ctr.stats.update(processes=0)
    engine, loads = plan(ctr, (WEB, NAME))
    assert [one.status for one in loads] == ["present"]
    assert engine.held_as(Reference.parse(NAME), Digest.parse(WEB.digest), None, PLAIN)
    assert ctr.stats["processes"] == 3


def test_image_with_only_a_digest_has_one_name(ctr):
    assert load(ctr, (WEB, BY_DIGEST)) == ["loaded"]
    assert ctr.targets == {BY_DIGEST: WEB.digest}


def test_content_that_the_engine_has_is_left_out(ctr):
    load(ctr, (NEXT, OTHER))
    assert load(ctr, (WEB, NAME)) == ["loaded"]
    assert BASE.digest not in ctr.imports[2].blobs


def test_content_of_several_names_is_sent_once(ctr):
    assert load(ctr, (WEB, NAME), (WEB, OTHER)) == ["loaded", "loaded"]
    assert len(ctr.imports) == 2
    assert set(ctr.targets) == {NAME, OTHER, BY_DIGEST}


@pytest.mark.parametrize("lost", [NAME, BY_DIGEST])
def test_lost_name_is_set_without_content(ctr, lost):
    load(ctr, (WEB, NAME))
    del ctr.targets[lost]
    assert load(ctr, (WEB, NAME)) == ["tagged"]
    assert [one.blobs for one in ctr.imports[2:]] == [set()]


def test_moved_name_points_at_the_new_image(ctr):
    load(ctr, (NEXT, NAME))
    assert load(ctr, (WEB, NAME)) == ["moved"]
    assert ctr.targets[NAME] == WEB.digest


@pytest.mark.parametrize("digest", [TOP.digest, WEB.config_digest, WEB.digest])
def test_missing_blob_is_repaired(ctr, digest):
    load(ctr, (WEB, NAME))
    del ctr.blobs[digest]
    assert load(ctr, (WEB, NAME)) == ["repaired"]
    assert ctr.imports[2].blobs == {WEB.digest, WEB.config_digest, digest}


def test_image_that_is_not_unpacked_is_repaired_without_layers(ctr):
    load(ctr, (WEB, NAME))
    ctr.unpacked.clear()
    assert load(ctr, (WEB, NAME)) == ["repaired"]
    assert ctr.imports[2].blobs == {WEB.digest, WEB.config_digest}


def test_forced_load_sends_all_layers_again(ctr):
    load(ctr, (WEB, NAME))
    assert load(ctr, (WEB, NAME), options=LoadOptions(force=True)) == ["loaded"]
    assert {BASE.digest, TOP.digest} <= ctr.imports[2].blobs


def discard_layers(ctr):
    """Remove layers as discard_unpacked_layers does."""
    for layer in (BASE, TOP):
        del ctr.blobs[layer.digest]
    labels = ctr.labels[WEB.digest]
    ctr.labels[WEB.digest] = {key: one for key, one in labels.items() if ".l." not in key}


def test_discarded_layers_are_not_missing(ctr):
    load(ctr, (WEB, NAME))
    discard_layers(ctr)
    assert load(ctr, (WEB, NAME)) == ["present"]


@pytest.mark.parametrize(("name", "options"), [(OTHER, PLAIN), (NAME, PIN)])
def test_discarded_layers_are_sent_with_a_new_name_or_pin(ctr, name, options):
    load(ctr, (WEB, NAME))
    discard_layers(ctr)
    status = "loaded" if name == OTHER else "repaired"
    assert load(ctr, (WEB, name), options=options) == [status]
    assert {BASE.digest, TOP.digest} <= ctr.blobs.keys()
    assert load(ctr, (WEB, name), options=options) == ["present"]


def test_image_of_another_platform_is_imported_with_its_platform(ctr):
    assert load(ctr, (MULTI, NAME), platform="linux/arm64") == ["loaded"]
    platform = ("--platform", "linux/arm64")
    assert [one.options for one in ctr.imports] == [platform, ("--no-unpack", *platform)]


def test_index_without_other_platforms_is_complete(ctr):
    assert load(ctr, (MULTI, NAME)) == ["loaded"]
    reference, root = Reference.parse(NAME), Digest.parse(MULTI.digest)
    engine = ContainerdEngine(ctr)
    here = KnownImage(Digest.parse(WEB.config_digest))
    assert engine.held_as(reference, root, here, PLAIN) == MULTI.digest
    arm = KnownImage(Digest.parse(MULTI.for_platform("linux/arm64").config_digest))
    assert engine.held_as(reference, root, arm, PLAIN) is None
    assert engine.held_as(reference, root, None, PLAIN) is None


@pytest.mark.parametrize("lost", ["name", "blob", "snapshot"])
def test_image_that_lacks_something_is_not_held(ctr, lost):
    load(ctr, (WEB, NAME))
    if lost == "name":
        del ctr.targets[BY_DIGEST]
    elif lost == "blob":
        del ctr.blobs[TOP.digest]
    else:
        ctr.unpacked.clear()
    engine = ContainerdEngine(ctr)
    assert engine.held_as(Reference.parse(NAME), Digest.parse(WEB.digest), None, PLAIN) is None


def test_both_names_are_pinned(ctr):
    assert load(ctr, (WEB, NAME), options=PIN) == ["loaded"]
    assert ctr.pinned == {NAME, BY_DIGEST}
    if ctr.version.startswith("2"):
        assert ctr.imports[1].options[1:] == ("--label", "io.cri-containerd.pinned=pinned")
    assert load(ctr, (WEB, NAME), options=PIN) == ["present"]


def test_image_that_is_not_pinned_is_pinned_without_content(ctr):
    load(ctr, (WEB, NAME))
    engine = ContainerdEngine(ctr)
    assert engine.held_as(Reference.parse(NAME), Digest.parse(WEB.digest), None, PIN) is None
    assert load(ctr, (WEB, NAME), options=PIN) == ["tagged"]


def test_pinned_name_stays_pinned_when_it_moves(ctr):
    load(ctr, (NEXT, NAME), options=PIN)
    load(ctr, (WEB, NAME))
    assert NAME in ctr.pinned
    assert BY_DIGEST not in ctr.pinned


LABEL = ("--label", "io.cri-containerd.pinned=pinned")


def test_names_that_are_pinned_are_imported_apart_with_their_pin():
    ctr = FakeCtr("2.1.9")
    load(ctr, (NEXT, NAME), options=PIN)
    load(ctr, (WEB, NAME))
    imports = [(one.names, LABEL[0] in one.options) for one in ctr.imports[2:]]
    assert imports == [([BY_DIGEST], False), ([BY_DIGEST], False), ([NAME], True)]
    assert not ctr.calls


def moved_name(ctr):
    load(ctr, (NEXT, NAME), options=PIN)


def missing_blob(ctr):
    load(ctr, (WEB, NAME), options=PIN)
    del ctr.blobs[TOP.digest]


def pinned_digest(ctr):
    load(ctr, (WEB, BY_DIGEST), options=PIN)


def image_that_stays_incomplete(ctr):
    load(ctr, (NEXT, NAME), options=PIN)
    original = ctr._import

    def lose(archive, *options):
        original(archive, *options)
        if ctr.targets.get(NAME) == WEB.digest:
            ctr.blobs.pop(TOP.digest, None)

    ctr._import = lose


class Killed(BaseException):
    """The task was killed."""


def kill_at(ctr, number):
    """Kill the task that follows at a step."""
    steps = itertools.count()

    def step():
        if next(steps) == number:
            raise Killed

    ctr.step = step


@pytest.mark.parametrize("version", ["1.6.20", "2.1.9"])
@pytest.mark.parametrize(
    "before", [moved_name, missing_blob, pinned_digest, image_that_stays_incomplete]
)
def test_kill_at_any_step_unpins_nothing(version, before):
    for number in itertools.count():
        ctr = FakeCtr(version)
        before(ctr)
        pinned = set(ctr.pinned)
        kill_at(ctr, number)
        try:
            load(ctr, (WEB, NAME))
        except Killed:
            assert pinned <= ctr.pinned, number
            ctr.step = lambda: None
            load(ctr, (WEB, NAME))
            assert pinned <= ctr.pinned, number
        else:
            break
    assert pinned <= ctr.pinned
    assert number >= 4


@pytest.mark.parametrize("version", ["1.6.20", "2.1.9"])
def test_task_that_was_killed_at_any_step_pins_when_it_is_repeated(version):
    for number in itertools.count():
        ctr = FakeCtr(version)
        kill_at(ctr, number)
        try:
            load(ctr, (WEB, NAME), options=PIN)
        except Killed:
            ctr.step = lambda: None
            load(ctr, (WEB, NAME), options=PIN)
            assert ctr.pinned == {NAME, BY_DIGEST}, number
        else:
            break
    assert number >= 4


def once(event):
    """Return a function that calls ``event`` only the first time."""
    events = [event]
    return lambda: events.pop()() if events else None


def test_layer_that_vanishes_is_sent_and_the_tag_waits_for_it(ctr):
    load(ctr, (NEXT, OTHER))
    ctr.unpacked.clear()
    ctr.before_import = once(lambda: ctr.blobs.pop(BASE.digest))
    assert load(ctr, (WEB, NAME)) == ["repaired"]
    named = [BASE.digest in one.blobs for one in ctr.imports if BY_DIGEST in one.names]
    assert named == [False, True, False]
    assert NAME in ctr.imports[-1].names


def break_imports(ctr, error):
    """Fail after the names are set, as containerd 1.6 does."""

    def unpack(_digest):
        raise error

    ctr._unpack = unpack


@pytest.mark.parametrize("is_moved", [False, True])
def test_names_are_as_before_if_the_image_stays_incomplete(ctr, is_moved):
    if is_moved:
        load(ctr, (NEXT, NAME))
    before = dict(ctr.targets)
    break_imports(ctr, errors.EngineError("ctr images import: failed to extract layer"))
    (error,) = load(ctr, (WEB, NAME))
    assert error.kind == "engine-incomplete"
    assert "failed to extract layer" in str(error)
    assert ctr.targets == before


def test_full_disk_leaves_names_as_before_and_complete_images_named(ctr):
    load(ctr, (NEXT, OTHER))
    del ctr.targets[OTHER]
    del ctr.blobs[NEXT.config_digest]
    before = set(ctr.targets)
    break_imports(ctr, errors.EngineNoSpaceError("no space left on device"))
    assert [one.kind for one in load(ctr, (WEB, NAME))] == ["engine-no-space"]
    assert set(ctr.targets) == before


def test_engine_that_is_gone_is_asked_no_more(ctr):
    def die():
        ctr.names = die
        raise errors.EngineGoneError("error reading from server: EOF")

    ctr.before_import = die
    assert [one.kind for one in load(ctr, (WEB, NAME))] == ["engine-gone"]


def test_name_is_restored_from_the_content_of_the_previous_image(ctr):
    load(ctr, (NEXT, NAME))
    engine, loads = plan(ctr, (WEB, NAME))
    engine.send(loads, opener(WEB), PLAIN)
    assert ctr.targets[NAME] == WEB.digest
    engine.restore(loads[0])
    assert ctr.targets[NAME] == NEXT.digest
    assert BY_DIGEST not in ctr.targets


def test_name_by_digest_that_was_there_is_not_removed(ctr):
    load(ctr, (WEB, OTHER))
    engine, loads = plan(ctr, (WEB, NAME))
    engine.send(loads, opener(WEB), PLAIN)
    engine.restore(loads[0])
    assert set(ctr.targets) == {OTHER, BY_DIGEST}


def test_layers_that_do_not_match_the_configuration_are_refused(ctr):
    config = {"rootfs": {"type": "layers", "diff_ids": [BASE.diff_id]}}
    with pytest.raises(errors.UnsupportedByEngineError, match="lists 1 layers, its manifest 2"):
        plan(ctr, (images.image([BASE, TOP], config=config), NAME))


def test_disk_of_the_content_store_must_have_space(ctr, tmp_path):
    engine = ContainerdEngine(ctr)
    for root in (None, "/nonexistent", str(tmp_path)):
        ctr.root = root
        engine.require_space(1)
    with pytest.raises(errors.EngineNoSpaceError, match=rf"^{tmp_path}: .* needed, .* free"):
        engine.require_space(1 << 60)


def test_new_namespace_is_reported_once(ctr):
    engine, _loads = plan(ctr, (WEB, NAME))
    assert engine.warnings() == ["containerd had no namespace default; the kubelet uses k8s.io"]
    load(ctr, (WEB, NAME))
    engine, _loads = plan(ctr, (WEB, NAME))
    assert not engine.warnings()


def test_images_are_shown_with_their_names_layers_and_state(ctr):
    load(ctr, (WEB, NAME), options=PIN)
    load(ctr, (NEXT, OTHER))
    del ctr.blobs[NEXT.config_digest]
    ctr.targets[WEB.config_digest] = WEB.digest  # as the CRI plugin names it
    engine = ContainerdEngine(ctr)
    held = {one.id: one for one in engine.images(details=True)}
    assert engine.facts() == ("containerd", ctr.version, None, "containerd", None, "default")
    web = held[WEB.digest]
    assert (web.names, web.digests, web.platforms) == ((NAME,), (BY_DIGEST,), ("linux/amd64",))
    chains = chain_ids([Digest.parse(BASE.diff_id), Digest.parse(TOP.diff_id)])
    assert web.layers == tuple(map(str, chains))
    assert (web.size, web.complete, web.pinned) == (7, True, True)
    assert (held[NEXT.digest].complete, held[NEXT.digest].pinned) == (False, False)
