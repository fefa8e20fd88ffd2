# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store info: a store as a whole."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import CorruptStoreError
from ansible_collections.lockstep.images.plugins.module_utils._operations.store_info import (
    plan_store_info,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.transit import (
    TransitStore,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path, fingerprint
from ansible_collections.lockstep.images.tests.support.plans import dry_run
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    blobs,
    digests,
    pull,
    put,
    rewrite,
    whole_tree,
)

APP, NEXT = "registry.example/app:1", "registry.example/app:2"
FAMILY = demo_image("app", "1", layers=2, size=300)
SECOND = demo_image("app", "2", layers=2, size=300)
MEMBER, OTHER = FAMILY.for_platform(AMD64), SECOND.for_platform(AMD64)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(NEXT, SECOND)
    return sources


@pytest.fixture(name="store")
def fixture_store(path, sources):
    store = ImageStore(str(path))
    pull(store, sources, APP, platforms=[AMD64, ARM64])
    pull(store, sources, NEXT)
    return store


def info(store, layers=False):
    """The facts about a store."""
    with store.hold():
        plan = plan_store_info(store, layers=layers)
    outcome = dry_run(plan)
    assert (plan.actions, plan.changed, outcome.failure) == ((), False, None)
    return outcome.result()


def bytes_of(path, wanted):
    return sum(blob_path(path, digest).stat().st_size for digest in wanted)


def test_missing_store_counts_as_empty_and_is_not_created(path):
    result = info(ImageStore(str(path)), layers=True)
    numbers = ("names", "images", "blobs", "bytes", "shared", "reclaimable")
    assert [result[name] for name in numbers] == [0] * 6
    assert (result["layers"], result["staged"]) == ([], {"blobs": 0, "bytes": 0})
    assert result["store"] == str(path)
    assert result["file_system"]["size"] > 0
    assert not path.exists()


def test_reading_changes_nothing_and_returns_the_same_twice(path, store):
    before = whole_tree(path)
    first, second = info(store, layers=True), info(store, layers=True)
    for result in (first, second):
        assert result["file_system"].pop("free") > 0
    assert first == second
    assert whole_tree(path) == before
    assert first["diff"] == {"before": {}, "after": {}}


def test_result_does_not_depend_on_the_order_of_pulls(tmp_path, path, store, sources):
    other = ImageStore(str(tmp_path / "other"))
    pull(other, sources, NEXT)
    pull(other, sources, APP, platforms=[ARM64, AMD64])
    own = {"store", "file_system"}
    told, again = info(store, layers=True), info(other, layers=True)
    assert {k: v for k, v in told.items() if k not in own} == {
        k: v for k, v in again.items() if k not in own
    }


def test_names_images_and_bytes_are_counted(path, store):
    result = info(store)
    assert (result["names"], result["images"]) == (2, 3)
    there = blobs(path)
    assert (result["blobs"], result["bytes"]) == (len(there), bytes_of(path, there))
    assert result["fingerprint"] == fingerprint(path)
    assert (result["reclaimable"], "layers" in result) == (0, False)


def test_shared_bytes_are_those_that_several_images_use(path, store):
    common = {one.digest for one in MEMBER.layers} & {one.digest for one in OTHER.layers}
    assert len(common) == 1
    assert info(store)["shared"] == bytes_of(path, common)


def test_an_image_with_two_names_shares_nothing_with_itself(path, sources):
    store = ImageStore(str(path))
    sources.publish("registry.example/copy:1", FAMILY)
    pull(store, sources, APP, "registry.example/copy:1")
    result = info(store)
    assert (result["names"], result["images"], result["shared"]) == (2, 1, 0)


def test_a_layer_that_an_image_has_twice_is_not_shared(path):
    twice = layer({"a": b"a"})
    put(path, image([twice, twice]), "x")
    assert info(ImageStore(str(path)))["shared"] == 0


def test_reclaimable_bytes_are_those_of_unreferenced_content(path, store, sources):
    """What store_prune would remove, of platforms that are not asked for too."""
    lost = demo_image("lost", "1", size=100)
    for item in (lost, SECOND):
        put(path, item)
        rewrite(path, lambda entries: entries.pop())
    needless = digests(lost, SECOND) - digests(FAMILY, OTHER) - {SECOND.digest}
    assert info(store)["reclaimable"] == bytes_of(path, needless) > 0


def test_content_of_an_entry_without_a_name_is_not_reclaimable(path, store):
    put(path, demo_image("other", "1", size=100))
    result = info(store)
    assert (result["reclaimable"], result["names"], result["images"]) == (0, 2, 5)


def test_partial_downloads_are_counted(path, store):
    digest = "1" * 64
    (path / ".staging" / f"sha256-{digest}.part").write_bytes(b"x" * 9000)
    result = info(store)
    assert result["staged"]["blobs"] == 1
    assert result["staged"]["bytes"] >= 9000
    assert result["blobs"] == len(blobs(path))


def test_leftovers_of_an_unfinished_load_are_staged(path, store):
    transit = TransitStore(store)
    transit.prepare()
    data = b"x" * 9000
    transit.write(blob(data), [data])
    Path(transit.path, ".staging", f"sha256-{'1' * 64}.part").write_bytes(data)
    result = info(store)
    assert result["staged"]["blobs"] == 2
    assert result["staged"]["bytes"] >= 18000
    assert result["blobs"] == len(blobs(path))


def test_content_that_is_missing_is_not_counted(path, store):
    """S023"""
    before = info(store)
    lost = blob_path(path, MEMBER.layers[1].digest)
    size = lost.stat().st_size
    lost.unlink()
    after = info(store)
    assert (after["blobs"], after["bytes"]) == (before["blobs"] - 1, before["bytes"] - size)
    assert after["images"] == before["images"]


def test_invalid_index_is_an_error(path, store):
    rewrite(path, lambda entries: entries.append({"size": 1}))
    with pytest.raises(CorruptStoreError, match="mediaType"):
        info(store)


# -- layers


def chain_of(diff_ids):
    """config.md: ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln))"""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def test_layers_are_listed_once_per_chain_they_end(path, store):
    wanted = {}
    for member in (MEMBER, FAMILY.for_platform(ARM64), OTHER):
        diff_ids = [one.diff_id for one in member.layers]
        for number, one in enumerate(member.layers):
            entry = wanted.setdefault(
                chain_of(diff_ids[: number + 1]), (one.digest, one.diff_id, len(one.blob), [])
            )
            entry[3].append(member.digest)
    layers = info(store, layers=True)["layers"]
    assert [entry["chain_id"] for entry in layers] == sorted(wanted)
    for entry in layers:
        digest, diff_id, size, users = wanted[entry["chain_id"]]
        told = (entry["digest"], entry["diff_id"], entry["size"], entry["images"])
        assert told == (digest, diff_id, size, sorted(users))
        assert entry["present"]
    assert len(layers) == 5


def test_same_layer_on_other_layers_is_another_chain(path):
    low, high = layer({"low": b"l"}), layer({"high": b"h"})
    put(path, image([low, high]), "x")
    put(path, image([high]), "y")
    layers = info(ImageStore(str(path)), layers=True)["layers"]
    assert len(layers) == 3
    assert len([one for one in layers if one["digest"] == high.digest]) == 2


@pytest.mark.parametrize("how", ["gone", "flipped", "does not fit"])
def test_image_without_its_configuration_has_layers_without_chains(path, how):
    low = layer({"low": b"l"})
    item = image([low], config={"rootfs": {"type": "layers", "diff_ids": []}})
    if how != "does not fit":
        item = image([low])
    put(path, item, "x")
    place = blob_path(path, item.config_digest)
    if how == "gone":
        place.unlink()
    elif how == "flipped":
        place.write_bytes(place.read_bytes()[:-1] + b" ")
    (entry,) = info(ImageStore(str(path)), layers=True)["layers"]
    assert (entry["chain_id"], entry["diff_id"]) == (None, None)
    assert (entry["digest"], entry["images"]) == (low.digest, [item.digest])


def test_layer_that_is_missing_or_not_a_file_is_not_present(path, store):
    lost, odd = (blob_path(path, one.digest) for one in MEMBER.layers)
    for place in (lost, odd):
        place.unlink()
    os.mkfifo(odd)
    present = {entry["digest"]: entry["present"] for entry in info(store, layers=True)["layers"]}
    assert [present[one.digest] for one in MEMBER.layers] == [False, False]
    assert sum(present.values()) == len(present) - 2


# -- many


def test_each_manifest_of_ten_thousand_names_is_read_once(path, monkeypatch):
    """S030: operations are counted, not time."""
    images = [image([layer({"base": b"b"}), layer({"n": b"%d" % number})]) for number in range(100)]
    for item in images:
        put(path, item, "x")

    def multiply(entries):
        entries[:] = [
            {
                **entries[number % 100],
                "annotations": {
                    "org.opencontainers.image.ref.name": f"registry.example/x:{number}"
                },
            }
            for number in range(10_000)
        ]

    rewrite(path, multiply)
    reads, parsed = [], []
    real, real_json = ImageStore.read, json.loads
    monkeypatch.setattr(ImageStore, "read", lambda *what: reads.append(what) or real(*what))
    monkeypatch.setattr(json, "loads", lambda *a, **b: parsed.append(1) or real_json(*a, **b))
    result = info(ImageStore(str(path)), layers=True)
    assert (result["names"], result["images"], len(result["layers"])) == (10_000, 100, 101)
    assert len(reads) == 200
    assert len(parsed) < 250
