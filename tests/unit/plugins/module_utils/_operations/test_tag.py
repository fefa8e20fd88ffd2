# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tag: names that point at what another name points at."""

from __future__ import annotations

import itertools
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    CorruptStoreError,
    InputError,
    NotInStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.tag import (
    KEEP,
    OVERWRITE,
    plan_tag,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path, names, tree
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    blobs,
    carry_out,
    pull,
    put,
    rewrite,
    stop_after,
    whole_tree,
)

APP, TOOL = "docker.io/library/app:1", "registry.example:5000/tool:1"
PINNED = "registry.example/pinned"
FAMILY = demo_image("app", "1", layers=2, size=300)
TOOL_IMAGE = image([layer({"tool": b"t" * 500})])
NEW, LATEST = "registry.example/base/app:1", "registry.example/base/app:latest"


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(TOOL, TOOL_IMAGE)
    sources[PINNED].publish(TOOL_IMAGE)
    store = ImageStore(str(path))
    pull(store, sources, APP, platforms=[AMD64, ARM64])
    pull(store, sources, TOOL, f"{PINNED}@{TOOL_IMAGE.digest}")
    return store


def tagging(source, *targets, existing=OVERWRITE):
    parsed = [Reference.parse(text) for text in targets]
    return lambda store: plan_tag(store, Reference.parse(source), parsed, existing=existing)


def tag(store, source, *targets, **how):
    """Tag, and return the result as a module would."""
    outcome = carry_out(store, tagging(source, *targets, **how))
    if outcome.failure:
        raise outcome.failure
    return outcome.result()


def told(result):
    return {entry["name"]: entry["status"] for entry in result["images"]}


# -- the five properties


def test_planning_writes_nothing(path, store):
    before = whole_tree(path)
    with store.hold():
        assert tagging(APP, NEW)(store).changed
    assert whole_tree(path) == before


def test_plan_is_empty_after_it_was_applied(path, store):
    assert told(tag(store, APP, NEW, LATEST)) == {NEW: "tagged", LATEST: "tagged"}
    before = whole_tree(path)
    again = tag(store, APP, NEW, LATEST)
    assert (again["changed"], again["actions"]) == (False, [])
    assert told(again) == {NEW: "up_to_date", LATEST: "up_to_date"}
    assert again["diff"] == {"before": {}, "after": {}}
    assert whole_tree(path) == before


def test_store_is_valid_after_any_action_and_the_next_plan_is_the_rest(path, store):
    targets = [f"registry.example/base/app:{number}" for number in range(3)]
    with store.hold():
        wanted = [action.summary() for action in tagging(APP, *targets)(store).actions]
    assert len(wanted) == 3
    before = (path / "index.json").read_bytes()
    for number in range(4):
        (path / "index.json").write_bytes(before)
        stop_after(store, tagging(APP, *targets), number)
        assert_valid_store(path)
        with store.hold():
            rest = [action.summary() for action in tagging(APP, *targets)(store).actions]
        assert rest == [action for action in wanted if action["name"] not in names(path)]
        tag(store, APP, *targets)
        assert set(names(path)) >= set(targets)


@pytest.mark.parametrize("existing", [OVERWRITE, KEEP])
def test_check_mode_reports_the_same_as_the_real_run(store, existing):
    tag(store, TOOL, NEW)
    with store.hold():
        checked = dry_run(tagging(APP, NEW, LATEST, existing=existing)(store)).result()
    assert checked == tag(store, APP, NEW, LATEST, existing=existing)
    assert checked["changed"]


def test_store_does_not_depend_on_the_order_of_names(path, store):
    before, found = (path / "index.json").read_bytes(), set()
    for order in itertools.permutations([NEW, LATEST, "docker.io/library/zz:1"]):
        (path / "index.json").write_bytes(before)
        tag(store, APP, *order)
        found.add((path / "index.json").read_bytes())
    assert len(found) == 1


# -- what a name means


@pytest.mark.parametrize(
    ("source", "digest"),
    [
        ("app:1", FAMILY.digest),
        (f"app:1@{FAMILY.digest}", FAMILY.digest),
        (f"app@{FAMILY.digest}", FAMILY.digest),
        (f"{PINNED}@{TOOL_IMAGE.digest}", TOOL_IMAGE.digest),
        (f"registry.example:5000/tool@{TOOL_IMAGE.digest}", TOOL_IMAGE.digest),
    ],
)
def test_the_source_is_found_by_any_spelling_and_by_digest(path, store, source, digest):
    content = blobs(path)
    result = tag(store, source, NEW)
    assert [entry["digest"] for entry in result["images"]] == [digest]
    assert names(path)[NEW]["digest"] == digest
    assert blobs(path) == content
    assert_valid_store(path)


@pytest.mark.parametrize(
    "source",
    [
        "app",
        "app:2",
        f"app:1@{TOOL_IMAGE.digest}",
        f"app@{TOOL_IMAGE.digest}",
        f"pinned@{TOOL_IMAGE.digest}",
    ],
)
def test_missing_image_is_not_a_source(path, store, source):
    before = whole_tree(path)
    with pytest.raises(NotInStoreError, match="does not hold") as caught:
        tag(store, source, NEW)
    assert str(Reference.parse(source)) in str(caught.value)
    assert whole_tree(path) == before


def test_missing_store_has_no_source_and_is_not_created(path):
    with pytest.raises(NotInStoreError):
        tag(ImageStore(str(path)), APP, NEW)
    assert not path.exists()


def test_new_name_with_a_digest_is_rejected(path, store):
    before = whole_tree(path)
    for target in (f"x@{FAMILY.digest}", f"x:1@{FAMILY.digest}"):
        with pytest.raises(InputError, match="has a tag, not a digest"):
            tag(store, APP, NEW, target)
    assert whole_tree(path) == before


def test_new_names_are_normalized_and_deduplicated(path, store):
    result = tag(store, APP, "copy", "docker.io/copy:latest", "index.docker.io/library/copy")
    assert told(result) == {"docker.io/library/copy:latest": "tagged"}
    assert [action["action"] for action in result["actions"]] == ["set_name"]


def test_new_name_has_the_platforms_of_the_source(path, store):
    tag(store, APP, NEW)
    entry = names(path)[NEW]
    assert entry["annotations"]["io.lockstep.platforms"] == f"{AMD64},{ARM64}"
    assert entry["mediaType"] == FAMILY.media_type


# -- a name that is something else


def test_name_of_another_image_is_moved(path, store):
    tag(store, TOOL, NEW)
    result = tag(store, APP, NEW)
    assert told(result) == {NEW: "tagged"}
    assert result["diff"] == {"before": {NEW: TOOL_IMAGE.digest}, "after": {NEW: FAMILY.digest}}
    assert result["actions"][0]["previous"] == TOOL_IMAGE.digest


def test_name_of_another_image_stays_with_keep(path, store):
    tag(store, TOOL, NEW)
    result = tag(store, APP, NEW, LATEST, existing=KEEP)
    digests = {entry["name"]: entry["digest"] for entry in result["images"]}
    assert told(result) == {NEW: "kept", LATEST: "tagged"}
    assert digests == {NEW: TOOL_IMAGE.digest, LATEST: FAMILY.digest}
    assert names(path)[NEW]["digest"] == TOOL_IMAGE.digest
    assert not tag(store, APP, NEW, LATEST, existing=KEEP)["changed"]


def test_name_moved_by_another_task_is_a_conflict_and_the_others_are_set(path, store):
    """S028"""
    with store.hold():
        made = tagging(APP, NEW, LATEST)(store)
        tag(ImageStore(str(path)), TOOL, NEW)
        outcome = execute(made)
    assert [action.name for action in outcome.done] == [LATEST]
    assert isinstance(outcome.failure, ConflictError)
    result = outcome.result()
    assert [entry["name"] for entry in result["failures"]] == [NEW]
    assert told(result) == {LATEST: "tagged"}
    assert names(path)[NEW]["digest"] == TOOL_IMAGE.digest


# -- stores of other tools


def test_store_of_another_tool_is_tagged_and_keeps_its_fields(path):
    """S025, S026: other annotations, unknown fields, no mediaType."""
    put(path, FAMILY, APP)
    put(path, TOOL_IMAGE, note="mine")
    rewrite(path, lambda entries: entries[0]["annotations"].update({"x.y": "z"}))
    document = json.loads((path / "index.json").read_bytes())
    (path / "index.json").write_text(json.dumps({**document, "annotations": {"a": "b"}}))
    tag(ImageStore(str(path)), APP, NEW)
    document = json.loads((path / "index.json").read_bytes())
    assert document["annotations"] == {"a": "b"}
    assert "mediaType" not in document
    by_name = {
        one.get("annotations", {}).get("x.y", one.get("note")) for one in document["manifests"]
    }
    assert by_name == {"z", "mine", None}
    assert names_of(document) == [None, APP, NEW]


def names_of(document):
    key = "org.opencontainers.image.ref.name"
    found = [one.get("annotations", {}).get(key) for one in document["manifests"]]
    return sorted(found, key=lambda name: name or "")


def test_last_of_two_entries_with_one_name_counts(path):
    """S022"""
    put(path, TOOL_IMAGE, APP)
    put(path, FAMILY, APP)
    tag(ImageStore(str(path)), APP, NEW)
    assert names(path)[NEW]["digest"] == FAMILY.digest


def test_incomplete_image_can_be_tagged(path, store):
    """S023: the next pull heals both."""
    blob_path(path, FAMILY.for_platform(AMD64).layers[0].digest).unlink()
    assert told(tag(store, APP, NEW)) == {NEW: "tagged"}


def test_invalid_entry_is_an_error_if_it_is_the_source(path, store):
    rewrite(path, lambda entries: [entry.update(size=-1) for entry in entries[:1]])
    with pytest.raises(CorruptStoreError, match="size"):
        tag(store, APP, NEW)
    before = tree(path)
    assert tag(store, TOOL, NEW)["changed"]
    assert tree(path).keys() == before.keys()
