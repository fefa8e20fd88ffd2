# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sync: whatever was in a store, it ends as all others of the same lock."""

from __future__ import annotations

import concurrent.futures
import json
import os
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    CorruptStoreError,
    LockedError,
    LockError,
    LockstepError,
    NotFoundError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import (
    FULL,
    RepairStore,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import Cut, FakeSources
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import (
    blob_path,
    fingerprint,
    names,
    tree,
)
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    blobs,
    carry_out,
    digests,
    leftovers,
    pull,
    put,
    rewrite,
    set_name,
    statuses,
    stop_after,
    umask,
    whole_tree,
)
from ansible_collections.lockstep.images.tests.support.syncing import (
    BOTH,
    QUICK,
    attempt,
    checked,
    lock_of,
    lock_value,
    opened,
    sync,
    syncing,
)

APP, TOOL = "registry.example/app:1", "other.example:5000/tool:1"
EXTRA, PINNED = "registry.example/extra:1", "registry.example/pinned"
FAMILY = demo_image("app", "1", layers=2, size=2500)
MEMBER = FAMILY.for_platform(AMD64)
OLD = demo_image("app", "0", layers=2, size=2500)
TOOL_IMAGE = image([layer({"tool": b"t" * 500})])
EXTRA_IMAGE = image([layer({"extra": b"e" * 700})])
PIN = f"{PINNED}@{TOOL_IMAGE.digest}"
LOCKED = (APP, TOOL, PIN)
PARTS = {
    "index": FAMILY.digest,
    "manifest": MEMBER.digest,
    "config": MEMBER.config_digest,
    "layer": MEMBER.layers[1].digest,
    "only manifest": TOOL_IMAGE.digest,
}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    return all_sources()


def all_sources():
    """What the registries hold."""
    sources = FakeSources()
    sources.publish(APP, OLD)
    sources.publish(APP, FAMILY)
    sources.publish(TOOL, TOOL_IMAGE)
    sources[PINNED].publish(TOOL_IMAGE)
    sources.publish(EXTRA, EXTRA_IMAGE)
    return sources


@pytest.fixture(name="lock", scope="module")
def fixture_lock():
    return lock_of_all(all_sources())


def lock_of_all(sources, **how):
    """The tool has one platform, and the pin is the same content."""
    lock = lock_of(sources, APP, platforms=BOTH, **how)
    one = lock_of(sources, TOOL, PIN, platforms=[AMD64], **how)
    images = tuple(sorted((*lock.images, *one.images), key=lambda image: image.name))
    return type(lock)(images, lock.place, {**lock.manifests, **one.manifests})


@pytest.fixture(name="wanted", scope="module")
def fixture_wanted(tmp_path_factory, lock):
    """The files that every store of the lock has."""
    path = tmp_path_factory.mktemp("wanted")
    sync(path, lock, all_sources())
    assert_valid_store(path)
    assert blobs(path) == digests(FAMILY, TOOL_IMAGE)
    return tree(path)


def asked(sources):
    """What was read of all repositories, in order."""
    return [what for _verb, what in sources.reads]


def told(result):
    """Return the keys that check mode and the real run must share."""
    return {key: value for key, value in result.items() if key != "stats"}


# -- whatever was there


def had_nothing(path, sources):
    """No store."""


def had_an_empty_store(path, sources):
    with ImageStore(str(path)).hold() as store:
        store.prepare()


def had_an_empty_directory(path, sources):
    path.mkdir()


def had_all(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=BOTH)
    pull(ImageStore(str(path)), sources, TOOL, PIN, platforms=[AMD64])


def had_some_images(path, sources):
    pull(ImageStore(str(path)), sources, TOOL)


def had_one_platform(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=[ARM64])


def had_all_platforms(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=None)


def had_some_blobs(path, sources):
    had_an_empty_store(path, sources)
    for digest in (MEMBER.digest, MEMBER.layers[0].digest, TOOL_IMAGE.config_digest):
        blob_path(path, digest).write_bytes(sources[APP[:-2]].content.get(digest, b""))
    blob_path(path, TOOL_IMAGE.config_digest).write_bytes(TOOL_IMAGE.config)


def had_staged_parts(path, sources):
    repository, lost = sources[APP[:-2]], MEMBER.layers[0].digest
    repository.script("blob", lost, Cut(1500), TruncatedError("x"))
    patience, repository.patience = repository.patience, 0
    with pytest.raises(TruncatedError):
        pull(ImageStore(str(path)), sources, APP)
    repository.patience = patience
    assert leftovers(path) != []


def had_more_images(path, sources):
    had_all(path, sources)
    pull(ImageStore(str(path)), sources, EXTRA, f"{EXTRA[:-2]}@{EXTRA_IMAGE.digest}")


def had_only_others(path, sources):
    pull(ImageStore(str(path)), sources, EXTRA)


def had_a_moved_tag(path, sources):
    had_all(path, sources)
    sources[APP[:-2]].tagged["1"] = OLD.digest
    pull(ImageStore(str(path)), sources, APP, platforms=BOTH)
    sources[APP[:-2]].tagged["1"] = FAMILY.digest


def had_names_crosswise(path, sources):
    put(path, TOOL_IMAGE, APP)
    put(path, FAMILY, TOOL)


def had_entries_without_a_name(path, sources):
    had_all(path, sources)
    put(path, EXTRA_IMAGE)
    put(path, TOOL_IMAGE)


def had_a_name_of_another_tool(path, sources):
    put(path, EXTRA_IMAGE, "latest")
    put(path, FAMILY, "app")


def had_foreign_annotations(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: [one["annotations"].update(x="y") for one in entries])


def had_a_foreign_field_in_an_entry(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: [one.update(platform={"os": "linux"}) for one in entries])


def had_foreign_keys(path, sources):
    had_all(path, sources)
    index = json.loads((path / "index.json").read_bytes())
    (path / "index.json").write_text(json.dumps({**index, "annotations": {"a": "b"}, "x-y": 1}))


def had_duplicates(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: entries.extend(entries[:]))


def had_a_stale_duplicate(path, sources):
    had_all(path, sources)
    old = {**OLD.descriptor(), "annotations": {"org.opencontainers.image.ref.name": APP}}
    rewrite(path, lambda entries: entries.insert(0, old))


def had_other_formatting(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: entries.reverse())


def had_what_skopeo_writes(path, sources):
    put(path, TOOL_IMAGE, TOOL)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')


def had_another_layout_file_alone(path, sources):
    had_all(path, sources)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.1.0", "x": 1}')


def had_orphans(path, sources):
    had_all(path, sources)
    put(path, EXTRA_IMAGE)
    rewrite(path, lambda entries: entries.pop())
    (path / "blobs" / "sha512").mkdir()
    (path / "blobs" / "sha512" / ("a" * 128)).write_bytes(b"")
    blob_path(path, f"sha256:{'b' * 64}").symlink_to("/nonexistent")
    blob_path(path, f"sha256:{'c' * 64}").mkdir()
    (blob_path(path, f"sha256:{'c' * 64}") / "file").write_bytes(b"x")


STATES = [value for name, value in list(globals().items()) if name.startswith("had_")]
every_state = pytest.mark.parametrize("had", STATES, ids=lambda one: one.__name__)


@every_state
def test_every_previous_state_ends_in_the_same_store(path, sources, lock, wanted, had):
    had(path, sources)
    before = whole_tree(path)
    for mode in (QUICK, FULL):
        expected = checked(path, lock, sources, mode=mode)
        assert whole_tree(path) == before, "planning writes nothing"
    size = sum(place.lstat().st_size for place in path.glob("blobs/sha*/*"))
    lost = {place.name for place in path.glob("blobs/sha*/*")}
    assert expected["changed"] is (had is not had_all)
    assert bool(expected["differences"]) is expected["changed"]

    real = sync(path, lock, sources)
    assert told(real) == told(expected)
    assert tree(path) == wanted
    assert real["fingerprint"] == fingerprint(path) == opened(path).fingerprint()
    assert leftovers(path) == []
    assert_valid_store(path)
    kept = lost & {place.name for place in path.glob("blobs/sha*/*")}
    left = sum(place.stat().st_size for place in path.glob("blobs/sha*/*") if place.name in kept)
    assert real["bytes_freed"] == size - left

    sources.forget()
    done = whole_tree(path)
    for mode in (QUICK, FULL):
        again = sync(path, lock, sources, mode=mode)
        assert (again["changed"], again["actions"], again["differences"]) == (False, [], [])
        assert (again["dropped"], again["bytes_freed"]) == ([], 0)
        assert again["fingerprint"] == real["fingerprint"]
        assert set(statuses(again)) == {"up_to_date"}
    assert asked(sources) == []
    assert whole_tree(path) == done


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_store_does_not_depend_on_the_umask(path, tmp_path, sources, lock, mask):
    def modes(directory):
        found = whole_tree(directory).items()
        return {name: mode for name, (mode, _time, _data) in found if ".staging" not in name}

    sync(tmp_path / "usual", lock, sources)
    with umask(mask):
        had_more_images(path, sources)
        sync(path, lock, sources)
    assert tree(path) == tree(tmp_path / "usual")
    assert modes(path) == modes(tmp_path / "usual")


@pytest.mark.parametrize("workers", [1, 6])
@pytest.mark.parametrize("step", [1, -1])
def test_store_does_not_depend_on_order_or_threads(path, sources, lock, wanted, workers, step):
    turned = type(lock)(lock.images[::step], lock.place, lock.manifests)
    had_some_images(path, sources)
    sync(path, turned, sources, workers=workers)
    assert tree(path) == wanted


@pytest.mark.parametrize("exclusive", [True, False])
def test_empty_lock_removes_all_images_only_if_exclusive(path, sources, lock, exclusive):
    sync(path, lock, sources)
    before = tree(path)
    none = type(lock)((), lock.place)
    result = sync(path, none, sources, exclusive=exclusive)
    assert [one["name"] for one in result["dropped"]] == (sorted(LOCKED) if exclusive else [])
    if exclusive:
        assert (names(path), blobs(path)) == ({}, set())
    else:
        assert (result["changed"], tree(path)) == (False, before)
    assert result["fingerprint"] == fingerprint(path)


def test_empty_lock_creates_no_store(path, sources, lock):
    result = sync(path, type(lock)(()), sources)
    assert not result["changed"]
    assert not path.exists()
    assert result["fingerprint"] == ImageStore(str(path)).fingerprint()


# -- damage


def replace_with(place, how):
    raw = place.read_bytes()
    place.unlink()
    if how == "directory":
        place.mkdir()
    elif how == "full directory":
        (place / "inner").mkdir(parents=True)
        (place / "inner" / "file").write_bytes(raw)
    elif how == "link":
        place.symlink_to("/etc/hostname")
    elif how == "link to the right bytes":
        beside = place.parents[3] / f"beside-{place.name}"
        beside.write_bytes(raw)
        place.symlink_to(beside)
    elif how == "fifo":
        os.mkfifo(place)
    elif how != "missing":
        flipped = raw[:9] + bytes([raw[9] ^ 4]) + raw[10:]
        data = {"flipped": flipped, "truncated": raw[:-1], "longer": raw + b"x", "empty": b""}
        place.write_bytes(data[how])


REASONS = {
    "missing": "is missing",
    "truncated": "bytes instead of",
    "longer": "bytes instead of",
    "empty": "has 0 bytes instead of",
    "directory": "is not a regular file",
    "full directory": "is not a regular file",
    "link": "is not a regular file",
    "link to the right bytes": "is not a regular file",
    "fifo": "is not a regular file",
    "flipped": "does not match its digest",
}


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("lost", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("how", REASONS)
def test_corrupt_content_is_fetched_again(path, sources, lock, wanted, lost, how, exclusive):
    sync(path, lock, sources)
    sources.forget()
    replace_with(blob_path(path, lost), how)
    before = whole_tree(path)
    # What must be read anyway is known without looking at every byte.
    read = ("index", "manifest", "config", "only manifest")
    if how == "flipped" and lost not in [PARTS[one] for one in read]:
        assert not checked(path, lock, sources, exclusive=exclusive)["changed"]
    modes = [FULL] if how == "flipped" and lost == PARTS["layer"] else [QUICK, FULL]
    for mode in modes:
        expected = checked(path, lock, sources, mode=mode, exclusive=exclusive)
        users = [TOOL, PIN] if lost == TOOL_IMAGE.digest else [APP]
        assert [one["name"] for one in expected["differences"]] == sorted(users)
        for one in expected["differences"]:
            assert one["found"] == f"{one['wanted']}, incomplete"
            assert one["message"].startswith(f"{one['name']} is incomplete: {lost} ")
            assert REASONS[how] in one["message"]
            assert one["message"].isprintable()
        assert [one["digest"] for one in expected["actions"]] == [lost]
    assert whole_tree(path) == before
    sources.forget()
    real = sync(path, lock, sources, mode=modes[0], exclusive=exclusive)
    assert told(real) == told(expected)
    assert set(asked(sources)) == {lost}
    assert tree(path) == wanted
    assert not blob_path(path, lost).is_symlink()
    assert not checked(path, lock, sources, mode=FULL, exclusive=exclusive)["changed"]


def test_corrupt_unreferenced_blob_does_no_harm(path, sources, lock, wanted):
    had_more_images(path, sources)
    replace_with(blob_path(path, EXTRA_IMAGE.layers[0].digest), "flipped")
    result = sync(path, lock, sources, mode=FULL)
    assert {action["action"] for action in result["actions"]} == {"write_index", "remove_content"}
    assert tree(path) == wanted


def test_invalid_entry_of_the_index_is_an_error_that_names_it(path, sources, lock):
    had_all(path, sources)
    rewrite(path, lambda entries: entries[0].update(digest="x"))
    before = whole_tree(path)
    with pytest.raises(CorruptStoreError, match=r"index\.json"):
        sync(path, lock, sources)
    assert whole_tree(path) == before


def test_foreign_files_are_kept_and_are_not_a_difference(path, sources, lock, wanted):
    sync(path, lock, sources)
    others = {".DS_Store": b"x", "blobs/sha256/oci-put-blob1": b"y", "blobs/other": b"z"}
    for name, data in others.items():
        (path / name).write_bytes(data)
    assert not sync(path, lock, sources, mode=FULL)["changed"]
    assert tree(path) == {**wanted, **others}


# -- stopped


def had_much_to_do(path, sources):
    """Some images, some blobs, a moved tag, dropped names, and unreferenced content."""
    had_a_moved_tag(path, sources)
    pull(ImageStore(str(path)), sources, EXTRA)
    put(path, image([layer({"orphan": b"o" * 50})]))
    blob_path(path, TOOL_IMAGE.layers[0].digest).unlink()


@pytest.mark.parametrize("had", [had_nothing, had_much_to_do], ids=lambda one: one.__name__)
def test_run_after_an_interruption_applies_only_the_remaining_actions(
    tmp_path, sources, lock, wanted, had
):
    had(tmp_path / "undisturbed", sources)
    everything = sync(tmp_path / "undisturbed", lock, sources)["actions"]
    assert len(everything) > 10
    kinds = list(dict.fromkeys(action["action"] for action in everything))
    assert kinds.index("set_name") > kinds.index("fetch_blob")
    assert had is had_nothing or kinds[-2:] == ["write_index", "remove_content"]
    for number in range(len(everything) + 1):
        path = tmp_path / str(number)
        had(path, sources)
        before = names(path)
        done = stop_after(opened(path), syncing(lock, sources), number)
        assert_valid_names(path, before)
        rest = sync(path, lock, sources)
        left = [one for one in everything if one not in done]
        assert [one for one in rest["actions"] if one not in left] == []
        # A thread was ahead of the reported actions, and names are set together; last actions have not started.
        more = [one for one in left if one not in rest["actions"]]
        assert {one["action"] for one in more} & {"write_index", "remove_content"} == set()
        assert tree(path) == wanted
        assert rest["fingerprint"] == fingerprint(path)


def assert_valid_names(path, before):
    """What was whole is whole; the tool had lost a layer before anybody began."""
    lost = blob_path(path, TOOL_IMAGE.layers[0].digest)
    if TOOL in before and not lost.exists():
        lost.write_bytes(TOOL_IMAGE.layers[0].blob)
        assert_valid_store(path)
        lost.unlink()
    else:
        assert_valid_store(path)


# -- failures


def lose_at_the_plan(sources):
    for content in (sources[TOOL[:-2]].content,):
        content.pop(TOOL_IMAGE.digest)


def lose_on_the_way(sources):
    for content in (sources[TOOL[:-2]].content,):
        content.pop(TOOL_IMAGE.layers[0].digest)


@pytest.mark.parametrize("workers", [1, 6])
@pytest.mark.parametrize("lose", [lose_at_the_plan, lose_on_the_way], ids=lambda one: one.__name__)
def test_failed_image_stops_no_other_and_nothing_is_removed(
    path, sources, lock, wanted, lose, workers
):
    """The content of the failed image is also in other repositories, which are not asked for it."""
    only = Lock(tuple(one for one in lock.images if one.name != PIN), lock.place)
    had_only_others(path, sources)
    put(path, image([layer({"orphan": b"o" * 50})]))
    before, kept = names(path), blobs(path)
    whole = dict(sources[TOOL[:-2]].content)
    lose(sources)
    for _attempt in range(2):
        outcome = attempt(path, only, sources, workers=workers)
        assert list(outcome.failures) == [TOOL]
        assert isinstance(outcome.failure, NotFoundError)
        assert set(names(path)) == {EXTRA, APP}
        assert names(path)[EXTRA] == before[EXTRA]
        assert kept <= blobs(path)
        result = outcome.result()
        assert {"dropped", "bytes_freed", "fingerprint"} & result.keys() == set()
        assert result["diff"]["after"].keys() == {EXTRA, APP}
        assert {one["name"] for one in result["images"]} == {APP}
    assert len(outcome.failures) == 1
    assert not outcome.plan.changed or lose is lose_on_the_way
    assert_valid_store(path)

    sources[TOOL[:-2]].content.update(whole)
    sync(path, lock, sources)
    assert tree(path) == wanted


@pytest.mark.parametrize("name", [APP, TOOL, PIN])
def test_digest_missing_in_the_registry_is_reported_with_its_line(path, sources, lock, name):
    sources[name.partition("@")[0].rpartition("/")[0] + "/" + _last_part(name)].content.clear()
    outcome = attempt(path, lock, sources)
    (line,) = [one.place for one in lock.images if one.name == name]
    assert line.startswith("images.lock.yml, line ")
    assert list(outcome.failures) == [name]
    assert isinstance(outcome.failure, NotFoundError)
    assert str(outcome.failures[name]).startswith(f"{line}: ")
    assert str(next(one.digest for one in lock.images if one.name == name)) in str(outcome.failure)
    assert set(names(path)) == {*LOCKED} - {name}


def _last_part(name):
    return name.rpartition("/")[2].partition(":")[0].partition("@")[0]


def test_existing_image_needs_no_request_after_it_left_the_registry(path, sources, lock, wanted):
    had_more_images(path, sources)
    for repository in sources.repositories.values():
        repository.content.clear()
        repository.tagged.clear()
    sources.forget()
    sync(path, lock, sources)
    assert tree(path) == wanted
    assert asked(sources) == []


# -- nothing by tag, nothing twice


def test_a_tag_that_moves_changes_nothing(path, sources, lock, wanted):
    sources[APP[:-2]].tagged["1"] = OLD.digest
    sources[TOOL[:-2]].tagged.clear()
    sync(path, lock, sources)
    assert tree(path) == wanted
    assert {verb for verb, _what in sources.reads} == {"manifest", "blob"}
    assert not sync(path, lock, sources)["changed"]


def test_embedded_manifests_are_not_requested(path, sources, wanted):
    carried = lock_of_all(sources, embed=True)
    assert len(carried.manifests) == 4
    sources.forget()
    expected = checked(path, carried, sources)
    # A configuration is read to see what an image is for.
    assert {verb for verb, _what in sources.reads} <= {"blob"}
    assert told(sync(path, carried, sources)) == told(expected)
    assert {verb for verb, _what in sources.reads} == {"blob"}
    assert tree(path) == wanted
    assert expected["fingerprint"] == fingerprint(path)


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_corrupt_manifest_is_replaced_from_the_lock(path, sources, wanted, how):
    carried = lock_of_all(sources, embed=True)
    sync(path, carried, sources)
    for lost in ("index", "manifest", "only manifest"):
        replace_with(blob_path(path, PARTS[lost]), how)
    sources.forget()
    sync(path, carried, sources)
    assert asked(sources) == []
    assert tree(path) == wanted


def test_bytes_that_are_not_a_manifest_are_not_embedded(sources):
    value = lock_value(sources, APP, embed=True)
    value["manifests"][FAMILY.digest] += " "
    with pytest.raises(LockError, match=f"{FAMILY.digest} does not match its bytes"):
        Lock.parse(value)


# -- beside others


def share(path, sources):
    """A store of several: one name that is locked and has moved, one that is not."""
    sources[APP[:-2]].tagged["1"] = OLD.digest
    pull(ImageStore(str(path)), sources, APP, EXTRA, platforms=BOTH)
    sources[APP[:-2]].tagged["1"] = FAMILY.digest
    orphan = image([layer({"orphan": b"o" * 50})])
    put(path, orphan)
    put(path, image([layer({"lost": b"l" * 50})]))
    rewrite(path, lambda entries: entries.pop())
    return digests(orphan, image([layer({"lost": b"l" * 50})]))


def test_without_exclusive_only_content_of_moved_names_is_removed(path, sources, lock):
    orphans = share(path, sources)
    expected = checked(path, lock, sources, exclusive=False)
    real = sync(path, lock, sources, exclusive=False)
    assert told(real) == told(expected)
    assert set(names(path)) == {*LOCKED, EXTRA}
    assert blobs(path) == digests(FAMILY, TOOL_IMAGE, EXTRA_IMAGE) | orphans
    assert real["dropped"] == []
    removed = {a["digest"] for a in real["actions"] if a["action"] == "remove_content"}
    assert removed == digests(OLD) - digests(FAMILY)
    assert real["bytes_freed"] == sum(
        one["size"] for one in real["actions"] if one["action"] == "remove_content"
    )
    assert real["fingerprint"] == fingerprint(path) == opened(path).fingerprint()
    assert [one["name"] for one in real["differences"]] == sorted(LOCKED)
    assert_valid_store(path)
    before = whole_tree(path)
    again = sync(path, lock, sources, exclusive=False)
    assert (again["changed"], again["differences"], again["bytes_freed"]) == (False, [], 0)
    assert again["fingerprint"] == real["fingerprint"]
    assert whole_tree(path) == before


def test_without_exclusive_foreign_entries_of_the_index_stay(path, sources, lock):
    had_foreign_annotations(path, sources)
    put(path, EXTRA_IMAGE)
    index_of = json.loads((path / "index.json").read_bytes())
    (path / "index.json").write_text(json.dumps({**index_of, "x-y": 1}))
    blob_path(path, PARTS["layer"]).unlink()
    before = (path / "index.json").read_bytes()
    result = sync(path, lock, sources, exclusive=False)
    assert [one["action"] for one in result["actions"]] == ["fetch_blob"]
    assert (path / "index.json").read_bytes() == before
    assert result["fingerprint"] == opened(path).fingerprint()
    assert digests(EXTRA_IMAGE) <= blobs(path)


def test_content_that_a_moved_name_shares_is_kept(path, sources, lock):
    """By layers, and by a manifest of an entry without a name."""
    copy = f"{EXTRA[:-2]}:old"
    sources.publish(copy, OLD)
    share(path, sources)
    pull(ImageStore(str(path)), sources, copy, platforms=[AMD64])
    put(path, OLD.for_platform(ARM64))
    rewrite(path, lambda entries: [one.pop("annotations", None) for one in entries[-1:]])
    sync(path, lock, sources, exclusive=False)
    assert digests(OLD) <= blobs(path)
    assert_valid_store(path)


@pytest.mark.parametrize("mode", [QUICK, FULL])
def test_nothing_is_removed_while_a_manifest_of_another_name_is_unreadable(
    path, sources, lock, mode
):
    copy = f"{EXTRA[:-2]}:old"
    sources.publish(copy, OLD)
    share(path, sources)
    pull(ImageStore(str(path)), sources, copy, platforms=[AMD64])
    replace_with(blob_path(path, OLD.for_platform(AMD64).digest), "flipped")
    before = whole_tree(path)
    with pytest.raises(CorruptStoreError, match="what it needs is not known"):
        sync(path, lock, sources, mode=mode, exclusive=False)
    assert whole_tree(path) == before


# -- platforms


def test_sync_can_select_fewer_platforms_than_are_locked(path, tmp_path, sources):
    lock = lock_of(sources, APP)
    sync(path, lock, sources)
    both = fingerprint(path)
    result = sync(path, lock, sources, platforms=[ARM64])
    assert blobs(path) == {FAMILY.digest} | digests(FAMILY.for_platform(ARM64))
    assert names(path)[APP]["annotations"]["io.lockstep.platforms"] == ARM64
    assert result["bytes_freed"] > 0
    assert result["fingerprint"] == fingerprint(path) != both
    assert [one["platform"] for one in result["images"]] == [ARM64]
    sync(tmp_path / "fresh", lock, sources, platforms=[ARM64])
    assert tree(tmp_path / "fresh") == tree(path)
    assert sync(path, lock, sources, platforms=[])["fingerprint"] == both
    assert not sync(path, lock, sources, platforms=[ARM64, AMD64, ARM64])["changed"]


def test_every_kind_of_index_entry_can_be_locked(path, tmp_path, sources):
    everything = demo_image("proven", "1", layers=1, size=300, attestations=True)
    sources.publish("registry.example/proven:1", everything)
    lock = lock_of(sources, "registry.example/proven:1", platforms=["all"])
    sync(path, lock, sources)
    assert blobs(path) == digests(everything)
    assert not sync(path, lock, sources, platforms=["all"])["changed"]
    with pytest.raises(LockError, match="is not locked for linux/amd64, only for all"):
        sync(path, lock, sources, platforms=[AMD64])


@pytest.mark.parametrize(
    ("asked_for", "named"),
    [(["linux/s390x"], "linux/s390x"), ([AMD64, "linux/s390x"], "linux/s390x"), (["all"], "all")],
    ids=str,
)
def test_platform_outside_the_lock_is_an_error_before_any_change(
    path, sources, lock, asked_for, named
):
    had_more_images(path, sources)
    before = whole_tree(path)
    sources.forget()
    with pytest.raises(LockError) as error:
        sync(path, lock, sources, platforms=asked_for)
    assert f"is not locked for {named}, only for" in str(error.value)
    assert str(error.value).startswith("images.lock.yml, line ")
    assert (whole_tree(path), asked(sources)) == (before, [])


# -- edited by hand

OTHER = f"sha256:{'d' * 64}"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
EDITS = {
    "manifest": (lambda entry: entry["platforms"][AMD64].update(manifest=OTHER), "manifest for"),
    "config": (lambda entry: entry["platforms"][AMD64].update(config=OTHER), "config for"),
    "no config": (lambda entry: entry["platforms"][AMD64].update(config=None), "config for"),
    "size": (lambda entry: entry["platforms"][AMD64].update(size=1), "size for"),
    "an index": (
        lambda entry: entry.update(media_type="application/vnd.oci.image.index.v1+json"),
        "media_type",
    ),
    "docker": (lambda entry: entry.update(media_type=DOCKER), "media_type"),
    "other type": (lambda entry: entry.update(media_type="text/plain"), "media_type"),
    "schema 1": (
        lambda entry: entry.update(
            media_type="application/vnd.docker.distribution.manifest.v1+json"
        ),
        "media_type",
    ),
    "digest": (lambda entry: entry.update(digest=EXTRA_IMAGE.digest), "manifest for"),
}


@pytest.mark.parametrize("embed", [False, True])
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_edited_lock_is_reported_with_its_line(path, sources, edit, is_there, embed):
    """On hosts that have the image as on those that have not."""
    sources[TOOL[:-2]].publish(EXTRA_IMAGE)
    value = lock_value(sources, APP, TOOL, EXTRA, platforms=[AMD64], embed=embed)
    if is_there:
        had_all(path, sources)
        pull(ImageStore(str(path)), sources, EXTRA)
    change, word = EDITS[edit]
    (entry,) = [one for one in value["images"] if one["name"] == TOOL]
    change(entry)
    before = names(path)
    outcome = attempt(path, Lock.parse(value), sources)
    error = outcome.failures[TOOL]
    assert (list(outcome.failures), type(error)) == ([TOOL], LockError)
    assert str(error).startswith(f"images.lock.yml, line {entry['line']}: {TOOL}: {word}")
    assert "image_lock" in error.hint
    assert names(path).get(TOOL) == before.get(TOOL)
    assert APP in names(path)


@pytest.mark.parametrize("part", ["manifest", "config", "size"])
def test_each_platform_of_an_index_is_compared(path, sources, part):
    value = lock_value(sources, APP)
    value["images"][0]["platforms"][ARM64][part] = 1 if part == "size" else OTHER
    lock = Lock.parse(value)
    assert not attempt(path, lock, sources, platforms=[AMD64]).failures
    failure = attempt(path, lock, sources).failure
    assert isinstance(failure, LockError)
    assert f"{part} for {ARM64} is " in str(failure)


# -- foreign layers


@pytest.mark.parametrize("foreign", [False, True])
def test_foreign_layers_do_not_depend_on_the_previous_store(path, tmp_path, sources, foreign):
    far = layer(
        {"far": b"f" * 300},
        media_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    )
    item = image([layer({"near": b"n" * 300}), far])
    sources.publish(TOOL, item)
    sources.foreign = lambda reference, _blob: sources.repository(reference)
    lock = lock_of(sources, TOOL, platforms=[AMD64])
    sync(path, lock, sources, foreign=not foreign)
    result = sync(path, lock, sources, foreign=foreign)
    assert result["changed"]
    assert blobs(path) == digests(item) - (set() if foreign else {far.digest})
    fresh = sync(tmp_path / "fresh", lock, sources, foreign=foreign)
    assert fresh["stats"]["bytes_reused"] == 0
    assert tree(path) == tree(tmp_path / "fresh")
    assert not sync(path, lock, sources, foreign=foreign)["changed"]


# -- the report of differences

BOTH_SHOWN = f"{FAMILY.digest} ({AMD64}, {ARM64})"
ONE_LAYER, OTHER_LAYER = MEMBER.layers[0].digest, MEMBER.layers[1].digest


def row(name, wanted, found, text):
    return {"name": name, "wanted": wanted, "found": found, "message": f"{name} {text}"}


def lost_two_layers(path, sources):
    had_all(path, sources)
    for lost in (ONE_LAYER, OTHER_LAYER):
        blob_path(path, lost).unlink()


def had_a_short_layer(path, sources):
    had_all(path, sources)
    blob_path(path, ONE_LAYER).write_bytes(b"short")


def had_one_orphan(path, sources):
    had_all(path, sources)
    blob_path(path, OTHER).write_bytes(b"orphan")


def test_each_difference_is_reported_by_name(path, sources, lock, wanted):
    tool, missing = TOOL_IMAGE.digest, "is missing"
    new = [
        row(TOOL, tool, "none", missing),
        row(APP, BOTH_SHOWN, "none", missing),
        row(PIN, tool, "none", missing),
    ]
    old = f"{OLD.digest} ({AMD64}, {ARM64})"
    one = f"{FAMILY.digest} ({ARM64})"
    layers = sorted([ONE_LAYER, OTHER_LAYER])
    size = len(MEMBER.layers[0].blob)
    half = f"{BOTH_SHOWN}, incomplete"
    index_text = "has entries without a name, or another form than this collection writes"
    form = row("index.json", "the names of the lock alone", "other entries", index_text)
    extra = EXTRA_IMAGE.digest
    gone = [
        row(EXTRA, "none", extra, "is not in the lock"),
        row(f"{EXTRA[:-2]}@{extra}", "none", extra, "is not in the lock"),
    ]
    table = [
        (had_nothing, new),
        (had_some_images, new[1:]),
        (had_a_moved_tag, [row(APP, BOTH_SHOWN, old, f"is {old} instead of {BOTH_SHOWN}")]),
        (
            had_one_platform,
            [new[0], row(APP, BOTH_SHOWN, one, f"is {one} instead of {BOTH_SHOWN}"), new[2]],
        ),
        (
            lost_two_layers,
            [row(APP, BOTH_SHOWN, half, "is incomplete: {} is missing, and 1 more")],
        ),
        (
            had_a_short_layer,
            [
                row(
                    APP,
                    BOTH_SHOWN,
                    half,
                    f"is incomplete: {ONE_LAYER} has 5 bytes instead of {size}",
                )
            ],
        ),
        (had_more_images, gone),
        (had_foreign_annotations, [form]),
        (had_other_formatting, [form]),
        (
            had_one_orphan,
            [row("blobs", "none", "1 (6 bytes)", "that no name needs: 1 (6 bytes)")],
        ),
    ]
    for number, (had, rows) in enumerate(table):
        store = path / str(number)
        had(store, sources)
        found = checked(store, lock, sources)["differences"]
        expected = [
            [{**one, "message": one["message"].format(lost)} for one in rows] for lost in layers
        ]
        assert found in expected, had.__name__
        assert sync(store, lock, sources)["differences"] == found
        assert tree(store) == wanted


def test_differences_of_a_name_and_of_unreferenced_content_are_separate(path, sources, lock):
    had_entries_without_a_name(path, sources)
    told_of = checked(path, lock, sources)["differences"]
    assert [one["name"] for one in told_of] == ["index.json", "blobs"]


# -- together with others


def at_once(*functions):
    """Each in a thread of its own, all from the same moment; what they return or raise."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait(20)
        try:
            return function()
        except LockstepError as exc:
            return exc

    with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


def planned_together(path, *builds):
    """Each carried out by a task of its own, none of which begins before all have planned."""
    planned = threading.Barrier(len(builds))

    def task(build):
        with opened(path, 20).hold() as store:
            plan = build(store)
            planned.wait(20)
            outcome = execute(plan)
            assert len(outcome.done) == len(plan.actions)
        return outcome.result()

    return at_once(*(lambda build=build: task(build) for build in builds))


@pytest.mark.parametrize(
    "had", [had_nothing, had_much_to_do, had_only_others], ids=lambda one: one.__name__
)
def test_two_concurrent_syncs_to_one_lock_succeed(path, sources, lock, wanted, had):
    had(path, sources)
    one, other = planned_together(path, *[syncing(lock, sources, workers=3)] * 2)
    assert told(one) == told(other)
    assert one["fingerprint"] == fingerprint(path)
    assert tree(path) == wanted
    assert_valid_store(path)
    assert leftovers(path) == []


def test_two_syncs_with_plans_made_at_the_same_time_succeed(path, sources, lock, wanted):
    had_much_to_do(path, sources)
    results = at_once(*[lambda: sync(path, lock, sources, workers=3)] * 4)
    assert [result["fingerprint"] for result in results] == [fingerprint(path)] * 4
    assert tree(path) == wanted


def test_sync_whose_names_were_moved_by_another_sync_fails(path, sources, lock, wanted):
    had_much_to_do(path, sources)
    other = lock_of(sources, EXTRA, TOOL, platforms=[AMD64])
    done, refused = planned_together(path, syncing(lock, sources), syncing(other, sources))
    assert isinstance(refused, ConflictError)
    assert done["fingerprint"] == fingerprint(path)
    assert tree(path) == wanted
    assert sync(path, other, sources)["fingerprint"] == fingerprint(path)
    assert set(names(path)) == {EXTRA, TOOL}
    assert_valid_store(path)


@pytest.mark.parametrize("exclusive", [True, False])
def test_content_that_a_running_pull_needs_is_not_removed(path, sources, lock, exclusive):
    """It finds content there that the sync takes for garbage, and names it."""
    copy = f"{EXTRA[:-2]}:old"
    sources.publish(copy, OLD)
    had_a_moved_tag(path, sources)
    puller = ImageStore(str(path), 20)
    with opened(path, 20).hold() as store:
        plan = syncing(lock, sources, exclusive=exclusive)(store)
        assert [one for one in plan.last if str(one.digest) == OLD.digest]
        pull(puller, sources, copy, platforms=BOTH)
        with pytest.raises(ConflictError, match="names were changed by another process"):
            execute(plan)
    assert digests(OLD, FAMILY) <= blobs(path)
    assert set(names(path)) == {*LOCKED, copy}
    assert_valid_store(path)
    result = sync(path, lock, sources, exclusive=exclusive)
    assert result["changed"] is exclusive
    assert (copy in names(path)) is not exclusive
    assert result["fingerprint"] == fingerprint(path)
    assert_valid_store(path)


def test_nothing_is_removed_while_a_pull_holds_the_lock(path, sources, lock, wanted):
    had_much_to_do(path, sources)
    with ImageStore(str(path)).hold():
        with opened(path, 0).hold() as store, pytest.raises(LockedError):
            execute(syncing(lock, sources)(store))
        assert {*LOCKED, EXTRA} == set(names(path))
        assert digests(OLD, EXTRA_IMAGE) <= blobs(path)
    assert_valid_store(path)
    sync(path, lock, sources)
    assert tree(path) == wanted


def test_a_sync_waits_for_a_pull_that_ends(path, sources, lock, wanted):
    had_much_to_do(path, sources)
    ended = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with ImageStore(str(path)).hold(), opened(path, 20).hold() as store:
            plan = syncing(lock, sources)(store)
            done = pool.submit(lambda: ended.extend(execute(plan).done))
        # Whether it already waits or not: the pull is over.
        done.result(20)
    assert tuple(ended[-len(plan.last) :]) == plan.last
    assert tree(path) == wanted


class Interrupted(RepairStore):
    """A store in which something happens while nobody holds it: between the plan's hold and its own."""

    def __init__(self, path, happens):
        super().__init__(path, 20)
        self.happens = happens

    def upgrade_lock(self, is_as_planned):
        self._lock._held.close()
        self.happens()
        super().upgrade_lock(is_as_planned)


def test_concurrent_prune_removes_nothing_that_the_sync_needs(path, sources, lock, wanted):
    had_much_to_do(path, sources)

    def prune():
        store = ImageStore(str(path), 20)
        carry_out(store, lambda held: plan_prune(held, older_than=0, staging=True), exclusive=True)
        assert_valid_store(path)

    carry_out(Interrupted(str(path), prune), syncing(lock, sources))
    assert tree(path) == wanted


def move(path, name, item):
    """Somebody points a name at an image that is there."""
    store = ImageStore(str(path))
    with store.hold():
        there = store.names()
        target = Descriptor(item.media_type, Digest.parse(item.digest), len(item.raw))
        set_name(store, name, IndexEntry(target), there.get(name))


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("name", [APP, EXTRA, "docker.io/library/new:1"])
def test_name_that_moves_during_the_sync_is_a_conflict_that_the_next_run_resolves(
    path, sources, lock, wanted, name, exclusive
):
    had_much_to_do(path, sources)
    count = len(blobs(path))

    def moving():
        move(path, name, OLD)

    store = Interrupted(str(path), moving)
    with pytest.raises(ConflictError) as error:
        carry_out(store, syncing(lock, sources, exclusive=exclusive))
    assert str(error.value) == f"{path}: names were changed by another process"
    assert error.value.hint == "Run again."
    assert len(blobs(path)) >= count
    assert name in names(path)
    assert_valid_store(path)
    sync(path, lock, sources)
    assert tree(path) == wanted


def test_foreign_names_are_not_a_conflict_without_exclusive(path, sources, lock):
    share(path, sources)
    mine, other = f"{EXTRA[:-2]}:mine", lock_of(sources, EXTRA, platforms=[AMD64])
    sources.publish(mine, EXTRA_IMAGE)

    def others():
        pull(ImageStore(str(path), 20), sources, mine)
        sync(path, other, sources, exclusive=False)

    store = Interrupted(str(path), others)
    outcome = carry_out(store, syncing(lock, sources, exclusive=False))
    assert [one for one in outcome.plan.last if str(one.digest) == OLD.digest]
    assert not blobs(path) & (digests(OLD) - digests(FAMILY))
    assert set(names(path)) == {*LOCKED, EXTRA, mine}
    assert_valid_store(path)


def test_locked_name_that_moves_during_the_transfer_fails_alone(path, sources, lock, wanted):
    had_much_to_do(path, sources)
    with opened(path).hold() as store:
        plan = syncing(lock, sources)(store)
        move(path, APP, TOOL_IMAGE)
        outcome = execute(plan)
    assert list(outcome.failures) == [APP]
    assert isinstance(outcome.failure, ConflictError)
    assert EXTRA in names(path)
    assert digests(OLD) <= blobs(path)
    assert_valid_store(path)
    sync(path, lock, sources)
    assert tree(path) == wanted


def test_store_without_a_lock_file_is_locked_from_its_first_change(path, sources, lock, wanted):
    """As skopeo leaves it: nobody could be kept out while it was looked at."""
    had_what_skopeo_writes(path, sources)
    put(path, EXTRA_IMAGE, EXTRA)
    with opened(path).hold() as store:
        plan = syncing(lock, sources)(store)
        pull(ImageStore(str(path)), sources, f"{EXTRA[:-2]}@{EXTRA_IMAGE.digest}")
        with pytest.raises(ConflictError):
            execute(plan)
    assert_valid_store(path)
    sync(path, lock, sources)
    assert tree(path) == wanted
