# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify: what is wrong with a store is found, and brought again exactly."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
    NotFoundError,
    UnreachableError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.verify import (
    plan_verify,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import files, repair
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import (
    FULL,
    RepairStore,
)
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path, names, tree
from ansible_collections.lockstep.images.tests.support.plans import dry_run
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    blobs,
    carry_out,
    digests,
    pull,
    put,
    rewrite,
    stop_after,
    whole_tree,
)

QUICK = "quick"
APP, TOOL = "registry.example/app:1", "other.example/tool:1"
COPY = "registry.example/copy:1"
FAMILY = demo_image("app", "1", layers=2, size=2500)
MEMBER = FAMILY.for_platform(AMD64)
TOOL_IMAGE = image([layer({"tool": b"t" * 500})])
PARTS = {
    "index": FAMILY.digest,
    "manifest": MEMBER.digest,
    "config": MEMBER.config_digest,
    "low layer": MEMBER.layers[0].digest,
    "high layer": MEMBER.layers[1].digest,
    "only manifest": TOOL_IMAGE.digest,
}
every_part = pytest.mark.parametrize("lost", PARTS.values(), ids=PARTS)
REASONS = {
    "flipped": "does not match its digest",
    "other": "does not match its digest",
    "cut": "bytes instead of",
    "empty": "has 0 bytes instead of",
    "longer": "bytes instead of",
    "fifo": "is not a regular file",
    "link": "is not a regular file",
    "gone": "is missing",
}
every_damage = pytest.mark.parametrize("how", REASONS)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(COPY, FAMILY)
    sources.publish(TOOL, TOOL_IMAGE)
    return sources


def fill(path, sources):
    store = RepairStore(str(path), lock_timeout=5)
    pull(store, sources, APP, TOOL, platforms=[AMD64, ARM64])
    sources.forget()
    return store


@pytest.fixture(name="store")
def fixture_store(path, sources):
    return fill(path, sources)


def damage(path, digest, how):
    place = blob_path(path, digest)
    raw = place.read_bytes()
    place.unlink()
    if how == "fifo":
        os.mkfifo(place)
    elif how == "link":
        beside = path.parent / f"linked-{place.name}"
        beside.write_bytes(raw)
        place.symlink_to(beside)
    elif how != "gone":
        flipped = raw[:9] + bytes([raw[9] ^ 4]) + raw[10:]
        data = {"flipped": flipped, "other": b"x" * len(raw), "cut": raw[:-1]}
        place.write_bytes({**data, "empty": b"", "longer": raw + b"x"}[how])


def verifying(mode=FULL, sources=None, workers=1):
    return lambda store: plan_verify(store, mode=mode, workers=workers, sources=sources)


def verify(store, mode=FULL, sources=None, workers=1):
    """Verify, and repair with ``sources``; return the outcome, and its result."""
    outcome = carry_out(store, verifying(mode, sources, workers))
    return outcome, outcome.result()


def is_sound(path, mode=FULL):
    outcome, result = verify(RepairStore(str(path)), mode)
    assert (outcome.failure is None) == result["ok"]
    return result["ok"]


def asked(sources):
    """What was read of all repositories, but tags."""
    return {what for verb, what in sources.reads if verb in ("manifest", "blob")}


# -- the five properties


def test_planning_writes_nothing(path, store, sources):
    for lost, how in zip(PARTS.values(), REASONS):
        damage(path, lost, how)
    before = whole_tree(path)
    with store.hold():
        assert verifying(FULL, sources)(store).changed
        assert not verifying(FULL)(store).changed
    assert whole_tree(path) == before


def test_intact_store_is_ok_without_actions_and_requests(path, store, sources):
    before = whole_tree(path)
    for mode in (QUICK, FULL):
        outcome, result = verify(store, mode, sources)
        assert (outcome.failure, result["changed"], result["ok"], result["mode"]) == (
            None,
            False,
            True,
            mode,
        )
        assert (result["corrupt"], result["missing"], result["foreign"]) == ([], [], [])
        assert result["blobs"] == len(blobs(path))
        assert result["bytes"] == sum(place.stat().st_size for place in path.glob("blobs/*/*"))
    assert sources.reads == []
    assert whole_tree(path) == before


def test_plan_is_empty_after_the_repair(path, store, sources):
    whole = tree(path)
    for lost in PARTS.values():
        damage(path, lost, "flipped")
    outcome, result = verify(store, FULL, sources)
    assert (outcome.failure, result["ok"], result["changed"]) == (None, False, True)
    assert tree(path) == whole
    before = whole_tree(path)
    outcome, again = verify(RepairStore(str(path)), FULL, sources)
    assert (outcome.failure, again["ok"], again["actions"]) == (None, True, [])
    assert whole_tree(path) == before


def test_plan_after_an_interruption_has_the_remaining_actions(tmp_path, sources):
    store = fill(tmp_path / "whole", sources)
    whole = tree(tmp_path / "whole")
    lost = list(PARTS.values())
    for one in lost:
        damage(tmp_path / "whole", one, "cut")
    _made, result = verify(store, FULL, sources)
    wanted = [action["digest"] for action in result["actions"]]
    assert sorted(wanted) == sorted(lost)
    for number in range(len(wanted) + 1):
        path = tmp_path / str(number)
        store = fill(path, sources)
        for one in lost:
            damage(path, one, "cut")
        done = stop_after(store, verifying(FULL, sources), number)
        _made, rest = verify(RepairStore(str(path)), FULL, sources)
        left = [action["digest"] for action in rest["actions"]]
        assert not {action["digest"] for action in done} & set(left)
        assert tree(path) == whole
        assert_valid_store(path)


@every_damage
def test_check_mode_reports_the_same_as_the_real_run(path, store, sources, how):
    for lost in PARTS.values():
        damage(path, lost, how)
    with store.hold():
        checked = dry_run(verifying(FULL, sources)(store)).result()
    outcome, real = verify(store, FULL, sources, workers=3)
    assert outcome.failure is None
    own = {"stats"}
    assert {k: v for k, v in checked.items() if k not in own} == {
        k: v for k, v in real.items() if k not in own
    }
    assert is_sound(path)


# -- what is found


@every_damage
@every_part
def test_every_damage_to_every_part_is_found_and_repaired_exactly(path, store, sources, lost, how):
    """S017, S018, S023"""
    whole = tree(path)
    damage(path, lost, how)
    outcome, result = verify(store)
    kind, other = ("missing", "corrupt") if how == "gone" else ("corrupt", "missing")
    (found,) = result[kind]
    assert (found["digest"], result[other], result["ok"]) == (lost, [], False)
    assert found["path"] == f"blobs/{lost.replace(':', '/')}"
    assert REASONS[how] in found["reason"]
    assert found["names"] == [TOOL if lost == TOOL_IMAGE.digest else APP]
    assert isinstance(outcome.failure, CorruptStoreError)
    assert lost in str(outcome.failure)
    assert "repair" in outcome.failure.hint
    assert not result["changed"]
    assert sources.reads == []

    outcome, result = verify(store, FULL, sources)
    assert (outcome.failure, result["ok"]) == (None, False)
    assert [action["digest"] for action in result["actions"]] == [lost]
    assert asked(sources) == {lost}
    assert tree(path) == whole
    assert not blob_path(path, lost).is_symlink()
    assert is_sound(path)


@pytest.mark.parametrize("how", ["flipped", "other"])
@every_part
def test_quick_mode_checks_the_bytes_of_manifests_only(path, store, lost, how):
    damage(path, lost, how)
    manifests = {FAMILY.digest, MEMBER.digest, TOOL_IMAGE.digest}
    assert is_sound(path, QUICK) == (lost not in manifests)
    assert not is_sound(path, FULL)


@pytest.mark.parametrize("how", ["cut", "longer", "empty", "fifo", "link", "gone"])
@every_part
def test_quick_mode_finds_all_other_damage(path, store, sources, lost, how):
    damage(path, lost, how)
    assert not is_sound(path, QUICK)
    outcome, _result = verify(store, QUICK, sources)
    assert outcome.failure is None
    assert is_sound(path, FULL)


def test_unreadable_content_is_corrupt_and_is_repaired(path, store, sources, monkeypatch):
    """Root may read everything, so the error is simulated."""
    lost = MEMBER.layers[0].digest
    real = repair.read_chunks

    def refuse(place):
        if place == str(blob_path(path, lost)):
            with files.access(place):
                raise PermissionError(13, "Permission denied")
        yield from real(place)

    monkeypatch.setattr(repair, "read_chunks", refuse)
    outcome, result = verify(store, FULL, sources)
    (found,) = result["corrupt"]
    assert "Permission denied" in found["reason"]
    assert (outcome.failure, asked(sources)) == (None, {lost})


def test_all_faults_are_found_in_one_run_largest_first_and_listed_in_order(path, store):
    for lost, how in zip(PARTS.values(), ("flipped", "cut", "gone", "fifo", "gone", "other")):
        damage(path, lost, how)
    outcome, result = verify(store, FULL, workers=4)
    found = [one["digest"] for one in result["corrupt"]]
    assert found == sorted(found)
    # The content of the corrupt manifests is unknown until they are repaired.
    assert set(found) == {PARTS[one] for one in ("index", "manifest", "low layer", "only manifest")}
    assert "and 3 more" in str(outcome.failure)


def test_foreign_files_are_listed_and_cause_a_warning(path, store):
    """S024"""
    for name in ("blobs/sha256/oci-put-blob1", ".DS_Store", "ingest"):
        (path / name).write_bytes(b"x")
    outcome, result = verify(store)
    assert result["foreign"] == [".DS_Store", "blobs/sha256/oci-put-blob1", "ingest"]
    assert (outcome.failure, result["ok"]) == (None, True)
    assert outcome.warnings() == [f"{path}: 3 files do not belong to the store"]


def test_missing_store_is_ok_and_is_not_created(path, sources):
    outcome, result = verify(RepairStore(str(path)), FULL, sources)
    assert (outcome.failure, result["ok"], result["blobs"]) == (None, True, 0)
    assert not path.exists()


def test_content_of_two_names_is_reported_for_both_and_fetched_once(path, store, sources):
    """Also when they are for different platforms, so that two plans bring it."""
    pull(store, sources, COPY, platforms=[AMD64])
    sources.forget()
    lost = [FAMILY.digest, MEMBER.digest, MEMBER.config_digest, MEMBER.layers[0].digest]
    for one in lost:
        damage(path, one, "flipped")
    outcome, result = verify(store, FULL, sources, workers=4)
    assert outcome.failure is None
    layers = [what for verb, what in sources.reads if what == MEMBER.layers[0].digest]
    assert len(layers) == 1
    assert sorted(action["digest"] for action in result["actions"]) == sorted(lost)
    assert {tuple(one["names"]) for one in result["corrupt"] if one["digest"] == FAMILY.digest} == {
        (APP, COPY)
    }
    assert is_sound(path)


# -- what is needed


@pytest.mark.parametrize("wanted", [[AMD64], [ARM64], [AMD64, ARM64], None], ids=str)
def test_only_requested_platforms_of_an_index_are_needed(path, sources, wanted):
    """S027"""
    store = RepairStore(str(path))
    pull(store, sources, APP, platforms=wanted or [AMD64, ARM64])
    if wanted is None:
        annotate = {"io.lockstep.platforms": "all"}
        rewrite(path, lambda entries: entries[0]["annotations"].update(annotate))
    assert is_sound(path)
    for platform in [AMD64, ARM64]:
        member = FAMILY.for_platform(platform)
        for lost in (member.layers[1].digest, member.digest):
            place = blob_path(path, lost)
            is_wanted = wanted is None or platform in wanted
            assert place.exists() == is_wanted
            place.unlink(missing_ok=True)
            assert is_sound(path) != is_wanted
            sources.forget()
            outcome, result = verify(RepairStore(str(path)), FULL, sources)
            assert outcome.failure is None
            assert asked(sources) == ({lost} if is_wanted else set())
            assert [one["digest"] for one in result["missing"]] == ([lost] if is_wanted else [])


@pytest.mark.parametrize("platform", [AMD64, ARM64])
@pytest.mark.parametrize("what", ["index", "manifest", "config", "layer"])
@pytest.mark.parametrize("how", ["flipped", "cut", "fifo"])
def test_stored_content_of_a_foreign_index_is_needed(path, sources, platform, what, how):
    """S027: whatever platform this host is."""
    put(path, FAMILY, APP)
    kept, left_out = (
        FAMILY.for_platform(platform),
        FAMILY.for_platform(ARM64 if platform == AMD64 else AMD64),
    )
    for digest in digests(left_out) - digests(kept):
        blob_path(path, digest).unlink()
    assert is_sound(path)
    whole = {name: raw for name, raw in tree(path).items() if name.startswith("blobs/")}
    lost = {
        "index": FAMILY.digest,
        "manifest": kept.digest,
        "config": kept.config_digest,
        "layer": kept.layers[1].digest,
    }[what]
    damage(path, lost, how)
    outcome, result = verify(RepairStore(str(path)))
    assert [one["names"] for one in result["corrupt"]] == [[APP]]
    outcome, result = verify(RepairStore(str(path)), FULL, sources)
    assert outcome.failure is None
    assert asked(sources) == {lost}
    assert {name: raw for name, raw in tree(path).items() if name.startswith("blobs/")} == whole
    assert names(path).keys() == {APP}
    assert is_sound(path)


def test_foreign_layers_are_not_missing(path, sources):
    """M028"""
    foreign = layer(
        {"w": b"w"}, media_type="application/vnd.oci.image.layer.nondistributable.v1.tar"
    )
    windows = image([foreign, layer({"own": b"own"})])
    sources.publish(APP, windows)
    pull(RepairStore(str(path)), sources, APP)
    assert not blob_path(path, foreign.digest).exists()
    assert is_sound(path)


@pytest.mark.parametrize("repair", [True, False])
def test_image_for_another_platform_is_repaired_without_a_warning(path, store, sources, repair):
    other = image([layer({"other": b"o" * 90})], platform="linux/s390x")
    sources.publish("registry.example/other:1", other)
    pull(store, sources, "registry.example/other:1")
    damage(path, other.digest, "flipped")
    outcome, _result = verify(RepairStore(str(path)), FULL, sources if repair else None)
    assert (outcome.failure is None) == repair
    assert outcome.warnings() == []


def test_content_that_is_not_a_manifest_is_hashed(path, store):
    other = blob(b"<xml></xml>", "application/xml")
    store.write(other, [b"<xml></xml>"])
    named = {"annotations": {"org.opencontainers.image.ref.name": "registry.example/odd:1"}}
    rewrite(path, lambda entries: entries.append({**other.as_json(), **named}))
    assert is_sound(path)
    damage(path, str(other.digest), "cut")
    _made, result = verify(store)
    assert [one["names"] for one in result["corrupt"]] == [["registry.example/odd:1"]]


# -- what no name needs


def test_unreferenced_corrupt_content_is_reported_and_not_repaired(path, store, sources):
    lost = demo_image("lost", "1", size=100)
    put(path, lost)
    rewrite(path, lambda entries: entries.pop())
    damage(path, lost.images[0].layers[0].digest, "flipped")
    outcome, result = verify(store, FULL, sources)
    (found,) = result["corrupt"]
    assert (found["names"], result["changed"], sources.reads) == ([], False, [])
    assert isinstance(outcome.failure, CorruptStoreError)
    assert "store_prune" in outcome.failure.hint


def test_corrupt_content_of_an_entry_without_a_name_is_reported(path, store, sources):
    lost = demo_image("lost", "1", size=100)
    put(path, lost)
    damage(path, lost.images[0].layers[0].digest, "flipped")
    outcome, result = verify(store, FULL, sources)
    assert result["corrupt"][0]["names"] == [lost.digest]
    assert "image_tag" in outcome.failure.hint


def test_referenced_content_is_repaired_next_to_unreferenced_content(path, store, sources):
    lost = "sha256:" + "a" * 64
    blob_path(path, lost).write_bytes(b"x")
    damage(path, TOOL_IMAGE.digest, "cut")
    outcome, result = verify(store, FULL, sources)
    assert [action["digest"] for action in result["actions"]] == [TOOL_IMAGE.digest]
    assert lost in str(outcome.failure)
    assert is_sound(path, QUICK)


# -- a repair that fails


def test_content_missing_in_the_registry_is_reported_and_the_rest_is_repaired(path, store, sources):
    lost = MEMBER.layers[0].digest
    del sources["registry.example/app"].content[lost]
    damage(path, lost, "flipped")
    damage(path, TOOL_IMAGE.layers[0].digest, "cut")
    outcome, result = verify(store, FULL, sources)
    assert isinstance(outcome.failure, NotFoundError)
    assert [entry["name"] for entry in result["failures"]] == [APP]
    assert {one["digest"] for one in result["corrupt"]} == {lost, TOOL_IMAGE.layers[0].digest}
    _made, again = verify(RepairStore(str(path)))
    assert ([one["digest"] for one in again["missing"]], again["corrupt"]) == ([lost], [])
    sources["registry.example/app"].publish(FAMILY)
    outcome, _result = verify(RepairStore(str(path)), FULL, sources)
    assert outcome.failure is None
    assert is_sound(path)


@pytest.mark.parametrize("what", ["index", "manifest", "config"])
def test_unreachable_registry_fails_only_its_names(path, store, sources, what):
    lost = PARTS[what]
    verb = "blob" if what == "config" else "manifest"
    sources["registry.example/app"].script(verb, lost, UnreachableError("registry.example: gone"))
    damage(path, lost, "flipped")
    damage(path, TOOL_IMAGE.layers[0].digest, "cut")
    outcome, result = verify(store, FULL, sources)
    assert isinstance(outcome.failure, UnreachableError)
    assert [entry["name"] for entry in result["failures"]] == [APP]
    assert {one["digest"] for one in result["corrupt"]} == {lost, TOOL_IMAGE.layers[0].digest}
    _made, again = verify(RepairStore(str(path)))
    assert [one["digest"] for one in again["corrupt"]] == [lost]


@pytest.mark.parametrize("name", ["latest", "tool", "1.0 (final)", "App", "../../x"])
def test_name_that_is_not_a_reference_has_no_registry(path, sources, name):
    """skopeo and buildah name an image as the user likes: nobody else is asked for it."""
    put(path, TOOL_IMAGE, name)
    assert is_sound(path)
    damage(path, TOOL_IMAGE.layers[0].digest, "flipped")
    outcome, result = verify(RepairStore(str(path)), FULL, sources)
    assert isinstance(outcome.failure, CorruptStoreError)
    assert "names no registry" in str(outcome.failure)
    assert [entry["name"] for entry in result["failures"]] == [name]
    assert [one["names"] for one in result["corrupt"]] == [[name]]
    assert (sources.reads, result["changed"]) == ([], False)


def test_name_with_a_digest_is_repaired(path, sources):
    name = f"other.example/tool@{TOOL_IMAGE.digest}"
    pull(RepairStore(str(path)), sources, name)
    sources.forget()
    damage(path, TOOL_IMAGE.layers[0].digest, "cut")
    outcome, _result = verify(RepairStore(str(path)), FULL, sources)
    assert (outcome.failure, asked(sources)) == (None, {TOOL_IMAGE.layers[0].digest})
    assert is_sound(path)


def test_a_tag_that_has_moved_is_repaired_by_its_digest(path, store, sources):
    sources.publish(APP, demo_image("app", "2", layers=2, size=2500))
    before = names(path)
    damage(path, MEMBER.digest, "cut")
    outcome, _result = verify(store, FULL, sources)
    assert (outcome.failure, asked(sources)) == (None, {MEMBER.digest})
    assert ("resolve", "1") not in sources.reads
    assert names(path) == before


# -- many


def test_ten_thousand_names_are_verified_with_few_reads(path, monkeypatch):
    """S030: operations are counted, not time."""
    put(path, TOOL_IMAGE, "registry.example/many:0")

    def multiply(entries):
        for number in range(1, 10_000):
            name = {"org.opencontainers.image.ref.name": f"registry.example/many:{number}"}
            entries.append({**entries[0], "annotations": name})

    rewrite(path, multiply)
    damage(path, TOOL_IMAGE.layers[0].digest, "flipped")
    reads, parsed = [], []
    real, real_json = RepairStore.read, json.loads
    monkeypatch.setattr(RepairStore, "read", lambda *what: reads.append(what) or real(*what))
    monkeypatch.setattr(json, "loads", lambda *a, **b: parsed.append(1) or real_json(*a, **b))
    _made, result = verify(RepairStore(str(path)))
    assert [len(one["names"]) for one in result["corrupt"]] == [10_000]
    assert len(reads) < 10_050
    assert len(parsed) < 10_050
