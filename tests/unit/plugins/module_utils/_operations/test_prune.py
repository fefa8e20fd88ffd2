# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prune: content that no name needs, and what dead writers left."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
    InputError,
    LockedError,
    NotALayoutError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
    seconds,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.remove import (
    plan_remove,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.images import (
    Layer,
    demo_image,
    image,
    index,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import blob_path, names, tree
from ansible_collections.lockstep.images.tests.support.plans import dry_run
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
    stop_after,
    whole_tree,
)

APP, TOOL = "registry.example/app:1", "registry.example/tool:1"
FAMILY = demo_image("app", "1", layers=2, size=300)
OLD = demo_image("app", "0", layers=2, size=300)
TOOL_IMAGE = image([layer({"tool": b"t" * 500})])
LOST = image([layer({"lost": b"l" * 500})])
DAY = 86400.0


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


def fill(path):
    """A store with two images, an older one whose tag has moved, and an unreferenced one."""
    sources = FakeSources()
    sources.publish(APP, OLD)
    sources.publish(TOOL, TOOL_IMAGE)
    store = ImageStore(str(path), lock_timeout=0)
    pull(store, sources, APP, TOOL, platforms=[AMD64, ARM64])
    sources.publish(APP, FAMILY)
    pull(store, sources, APP, platforms=[AMD64, ARM64])
    put(path, LOST)
    rewrite(path, lambda entries: entries.pop())
    return store


@pytest.fixture(name="store")
def fixture_store(path):
    return fill(path)


GARBAGE = digests(OLD, LOST) - digests(FAMILY)


def pruning(older_than=0.0, staging=True):
    return lambda store: plan_prune(store, older_than=older_than, staging=staging)


def prune(store, **how):
    """Prune, and return the result as a module would."""
    outcome = carry_out(store, pruning(**how), exclusive=True)
    assert outcome.failure is None
    return outcome.result()


def checked(store, **how):
    with store.hold(exclusive=True):
        return dry_run(pruning(**how)(store)).result()


def gone(result):
    return {entry["digest"] for entry in result["removed"]}


def age(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then), follow_symlinks=False)


# -- the five properties


def test_planning_writes_nothing(path, store):
    before = whole_tree(path)
    assert gone(checked(store)) == GARBAGE
    assert whole_tree(path) == before


def test_plan_is_empty_after_it_was_applied(path, store):
    assert gone(prune(store)) == GARBAGE
    assert blobs(path) == digests(FAMILY, TOOL_IMAGE)
    before = whole_tree(path)
    again = prune(store)
    assert (again["changed"], again["removed"], again["bytes_freed"]) == (False, [], 0)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert whole_tree(path) == before


def test_store_is_valid_after_any_action_and_the_next_plan_is_the_rest(tmp_path):
    undisturbed = fill(tmp_path / "undisturbed")
    wanted = prune(undisturbed)["actions"]
    assert len(wanted) == len(GARBAGE) > 5
    for number in range(len(wanted) + 1):
        path = tmp_path / str(number)
        store = fill(path)
        assert stop_after(store, pruning(), number, exclusive=True) == wanted[:number]
        assert_valid_store(path)
        assert prune(store)["actions"] == wanted[number:]
        assert tree(path) == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("staging", [True, False])
@pytest.mark.parametrize("older_than", [0, 3600.0])
def test_check_mode_reports_the_same_as_the_real_run(path, store, older_than, staging):
    (path / ".staging" / "part-of-the-dead").write_bytes(b"half")
    for digest in sorted(GARBAGE)[::2]:
        age(blob_path(path, digest), 1)
    how = {"older_than": older_than, "staging": staging}
    told = checked(store, **how)
    assert told == prune(store, **how)
    assert told["changed"]


def test_store_does_not_depend_on_the_order_of_names(tmp_path):
    """With removing, in any order, of names or of content first."""

    def tool(store):
        carry_out(
            store,
            lambda held: plan_remove(held, [TOOL], prune=False, keep_newest=0),
            exclusive=True,
        )

    def age_first(store):
        prune(store, older_than=3600.0)

    found = []
    for number, order in enumerate(itertools.permutations([tool, age_first, prune])):
        store = fill(tmp_path / str(number))
        for step in order:
            step(store)
        prune(store)
        found.append(tree(tmp_path / str(number)))
    assert all(one == found[0] for one in found)


def test_bytes_freed_is_the_size_of_the_removed_content(path, store):
    before = sum(place.stat().st_size for place in path.glob("blobs/*/*"))
    freed = prune(store)["bytes_freed"]
    assert freed == before - sum(place.stat().st_size for place in path.glob("blobs/*/*")) > 0


# -- time


def test_younger_content_is_kept(path, store):
    old = set(sorted(GARBAGE)[:3])
    for digest in old:
        age(blob_path(path, digest), 2)
    assert gone(prune(store, older_than=DAY)) == old
    assert gone(prune(store, older_than=DAY)) == set()
    assert gone(prune(store)) == GARBAGE - old


@pytest.mark.parametrize("days", [-2, -10_000, 20_000])
def test_clock_is_not_used_without_an_age(path, store, days):
    """S035"""
    for digest in GARBAGE:
        age(blob_path(path, digest), days)
    assert gone(prune(store)) == GARBAGE


@pytest.mark.parametrize("days", [-2, 20_000])
def test_referenced_content_of_any_age_is_kept(path, store, days):
    """S035"""
    for digest in digests(FAMILY, TOOL_IMAGE):
        age(blob_path(path, digest), days)
    prune(store, older_than=DAY)
    prune(store)
    assert blobs(path) == digests(FAMILY, TOOL_IMAGE)
    assert_valid_store(path)


def test_content_with_a_future_date_stays(path, store):
    for digest in GARBAGE:
        age(blob_path(path, digest), -2)
    assert gone(prune(store, older_than=1.0)) == set()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("2m", 120),
        ("12h", 43200),
        ("7d", 604800),
        (" 2w ", 1209600),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text, wanted):
    assert seconds(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "d", "-1d", "1.5h", "1 d", "1y", "1h30m", "1D", "٣d", "9" * 10]
)
def test_invalid_duration_is_rejected(text):
    with pytest.raises(InputError, match="older_than"):
        seconds(text)


# -- the staging area


def part(path, digest, days, data=b"x" * 5000):
    staging = path / ".staging"
    stem = digest.replace(":", "-")
    for suffix, content in (("part", data), ("journal", b"0 %d\n" % len(data))):
        place = staging / f"{stem}.{suffix}"
        place.write_bytes(content)
        age(place, days)


def test_abandoned_parts_are_removed_with_their_journals(path, store):
    young, old = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    part(path, young, 6)
    part(path, old, 8)
    result = prune(store)
    assert result["staged"] == [f"sha256-{'2' * 64}.part"]
    assert leftovers(path) == [f"sha256-{'1' * 64}.journal", f"sha256-{'1' * 64}.part"]
    assert result["bytes_freed"] > sum(entry["size"] for entry in result["removed"])
    assert prune(store, older_than=5 * DAY)["staged"] == [f"sha256-{'1' * 64}.part"]
    assert leftovers(path) == []


def test_leftovers_of_dead_writers_are_removed_at_any_age(path, store):
    """S035: also from the future."""
    for days, name in ((0, "part-0123"), (-3, "part-4567"), (0, f"sha256-{'3' * 64}.journal")):
        (path / ".staging" / name).write_bytes(b"x")
        age(path / ".staging" / name, days)
    part(path, FAMILY.digest, 0)  # is stored in the meantime
    result = prune(store, older_than=DAY)
    assert len(result["staged"]) == 4
    assert leftovers(path) == []
    assert not prune(store, older_than=DAY)["changed"]


def test_staging_directory_is_kept_without_the_option(path, store):
    (path / ".staging" / "part-0123").write_bytes(b"x")
    part(path, "sha256:" + "2" * 64, 8)
    before = leftovers(path)
    result = prune(store, staging=False)
    assert (result["staged"], gone(result)) == ([], GARBAGE)
    assert leftovers(path) == before


def test_file_being_written_is_kept(path, store):
    place = path / ".staging" / "part-0123"
    place.write_bytes(b"x")
    with place.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        prune(store)
    assert leftovers(path) == ["part-0123"]


def test_fifo_or_link_in_the_staging_directory_does_not_block(path, store, tmp_path):
    (tmp_path / "precious").write_bytes(b"x")
    os.mkfifo(path / ".staging" / "part-fifo")
    os.symlink(tmp_path / "precious", path / ".staging" / "part-link")
    prune(store)
    assert (tmp_path / "precious").read_bytes() == b"x"


# -- what is never removed


def as_layer(data, media_type):
    return Layer(data, media_type, digest_of(data), digest_of(data), None)


def test_content_of_an_entry_without_a_name_is_kept(path, store):
    put(path, OLD)
    assert gone(prune(store)) == digests(LOST)


def test_attestations_and_artifacts_of_another_tool_stay(path, store):
    """M022"""
    proved = demo_image("proved", "1", layers=1, size=50, attestations=True)
    note = as_layer(b"an SBOM", "application/spdx+json")
    artifact = image([note], artifactType="application/x", subject=proved.descriptor())
    put(path, proved, "latest")
    put(path, artifact)
    assert gone(prune(store)) == GARBAGE
    assert digests(proved, artifact) <= blobs(path)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        pytest.param(b"<xml/>", "application/xml", id="no manifest"),
        pytest.param(b"{}", "application/vnd.oci.image.manifest.v1+json", id="M001 empty object"),
        pytest.param(b'{"schemaVersion":1}', "application/json", id="M007 schema 1"),
    ],
)
def test_named_content_that_is_not_a_manifest_is_kept(path, store, data, media_type):
    other = blob(data, media_type)
    store.write(other, [data])
    rewrite(path, lambda entries: entries.append(other.as_json()))
    assert gone(prune(store)) == GARBAGE


def test_blob_that_another_entry_uses_as_a_manifest_is_followed(path, store):
    """The same bytes as a layer of one image and as a manifest of an index."""
    inner = image([layer({"inner": b"i"})])
    outer = image([as_layer(inner.raw, inner.media_type)])
    for order in ([outer, inner], [inner, outer]):
        family = index(order)
        put(path, family)
        prune(store)
        assert digests(family) <= blobs(path)
        rewrite(path, lambda entries: entries.pop())


@pytest.mark.parametrize("wanted", [[AMD64], [ARM64], [AMD64, ARM64], "all"], ids=str)
def test_requested_platforms_of_a_sparse_index_are_kept(tmp_path, wanted):
    """S027: whatever is there beside it."""
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    store = ImageStore(str(tmp_path / "sparse"))
    pull(store, sources, APP, platforms=[AMD64, ARM64] if wanted == "all" else wanted)
    alone = blobs(tmp_path / "sparse")
    put(tmp_path / "sparse", FAMILY)
    rewrite(tmp_path / "sparse", lambda entries: entries.pop())
    if wanted == "all":
        annotate = {"io.lockstep.platforms": "all"}
        rewrite(tmp_path / "sparse", lambda entries: entries[0]["annotations"].update(annotate))
    prune(store)
    assert blobs(tmp_path / "sparse") == alone
    assert_valid_store(tmp_path / "sparse")


def test_stored_content_of_a_foreign_sparse_index_is_kept(path):
    """S027"""
    put(path, FAMILY, "app")
    absent = FAMILY.for_platform(ARM64)
    for digest in digests(absent) - digests(FAMILY.for_platform(AMD64)):
        blob_path(path, digest).unlink()
    before = whole_tree(path)
    assert not prune(ImageStore(str(path)))["changed"]
    assert {name: found for name, found in whole_tree(path).items() if "blobs/" in name} == {
        name: found for name, found in before.items() if "blobs/" in name
    }


@pytest.mark.parametrize("how", ["flipped", "cut", "fifo", "link"])
def test_nothing_is_removed_while_a_manifest_is_unreadable(path, store, tmp_path, how):
    """S017, S018: what it needs is not known."""
    place = blob_path(path, FAMILY.for_platform(AMD64).digest)
    raw = place.read_bytes()
    place.unlink()
    if how == "fifo":
        os.mkfifo(place)
    elif how == "link":
        (tmp_path / "other").write_bytes(raw)
        place.symlink_to(tmp_path / "other")
    else:
        place.write_bytes(raw[:-1] + b"x" * (how == "flipped"))
    before = blobs(path)
    with pytest.raises(CorruptStoreError, match="what it needs is not known") as caught:
        prune(store)
    assert "store_verify" in caught.value.hint
    assert blobs(path) == before


def test_unreferenced_corrupt_blob_is_garbage(path, store):
    for digest in GARBAGE:
        blob_path(path, digest).write_bytes(b"x")
    assert gone(prune(store)) == GARBAGE


def test_foreign_files_stay(path, store):
    """S024"""
    strangers = ["blobs/sha256/oci-put-blob123", "blobs/sha256/.DS_Store", ".umoci-1/x", "ingest/y"]
    strangers += [f"blobs/sha256/{'A' * 64}", "blobs/sha256/abc", f"blobs/md5/{'a' * 32}"]
    for name in strangers:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    prune(store)
    assert all((path / name).read_bytes() == b"x" for name in strangers)


def test_unreferenced_link_is_removed_and_its_target_is_kept(path, store, tmp_path):
    (tmp_path / "precious").write_bytes(b"x")
    place = blob_path(path, "sha256:" + "a" * 64)
    place.symlink_to(tmp_path / "precious")
    prune(store)
    assert not place.is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"x"


def test_sha512_is_pruned_too(path, store):
    data = b"x" * 99
    digest = Digest("sha512", hashlib.sha512(data).hexdigest())
    store.write(blob(data)._replace(digest=digest), [data])
    assert str(digest) in gone(prune(store))


# -- others at work


def test_prune_waits_for_a_pull_until_its_timeout(path, store):
    """S008"""
    before = blobs(path)
    with ImageStore(str(path)).hold(), pytest.raises(LockedError, match="locked"):
        prune(store)
    assert blobs(path) == before


def test_content_of_a_running_pull_is_kept(path, store):
    """S008: its names come last, and it holds the store until then."""
    sources = FakeSources()
    other = demo_image("other", "1", size=100)
    sources.publish("registry.example/other:1", other)
    refused = []

    def try_to_prune():
        try:
            prune(ImageStore(str(path), lock_timeout=0))
        except LockedError:
            refused.append(1)

    for one in other.images:
        for digest, _raw in one.blobs():
            sources["registry.example/other"].script("blob", digest, try_to_prune)
    pull(store, sources, "registry.example/other:1", platforms=[AMD64, ARM64])
    assert len(refused) == len({digest for digest, _raw in other.blobs()})
    assert gone(prune(store)) == GARBAGE
    assert "registry.example/other:1" in names(path)
    assert_valid_store(path)


def test_missing_store_is_not_created(path):
    result = prune(ImageStore(str(path)))
    assert (result["changed"], result["removed"], result["staged"]) == (False, [], [])
    assert not path.exists()


def test_directory_that_is_not_a_store_is_left_alone(path):
    path.mkdir()
    (path / "precious").write_bytes(b"x")
    with pytest.raises(NotALayoutError):
        prune(ImageStore(str(path)))
    assert (path / "precious").read_bytes() == b"x"


def test_image_with_ten_thousand_names_is_followed_once(path, monkeypatch):
    """S030"""
    put(path, FAMILY, "registry.example/many:0")

    def multiply(entries):
        for number in range(1, 10_000):
            name = {"org.opencontainers.image.ref.name": f"registry.example/many:{number}"}
            entries.append({**entries[0], "annotations": name})

    rewrite(path, multiply)
    reads = []
    real = ImageStore.read
    monkeypatch.setattr(ImageStore, "read", lambda *what: reads.append(what) or real(*what))
    assert not prune(ImageStore(str(path)))["changed"]
    assert len(reads) == 3
