# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An import in groups does what one in a single group does, with less memory and fewer writes of the index."""

from __future__ import annotations

import tracemalloc

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import NoSpaceError
from ansible_collections.lockstep.images.plugins.module_utils._operations import (
    grouped,
    image_import,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.archives import (
    import_archive,
    import_outcome,
    oci_archive,
    on_import,
)
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.layout import names
from ansible_collections.lockstep.images.tests.support.plans import dry_run, interrupt
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    blobs,
    put,
)

BASE = layer({"base": b"b" * 3000}, None)
NAMES = [f"docker.io/library/app{number}:1" for number in range(7)]
IMAGES = {
    name: image([BASE, layer({"own": name.encode()}, None)], config={"author": name})
    for name in NAMES
}
LOST = IMAGES[NAMES[3]].layers[1]


def archive(path, images=None, **how):
    path.write_bytes(oci_archive(images or IMAGES, **how))
    return path


@pytest.fixture(name="src")
def fixture_src(tmp_path):
    return archive(tmp_path / "a.tar")


@pytest.fixture(name="_pairs")
def fixture_pairs(monkeypatch):
    monkeypatch.setattr(grouped, "_GROUP", 2)


def comparable(result, store):
    index = (store / "index.json").read_bytes()
    return {**result, "store": "", "index": index, "blobs": blobs(store)}


@pytest.mark.parametrize("held", [[], NAMES[2:3], NAMES])
@pytest.mark.parametrize("mode", ["quick", "full"])
def test_groups_do_not_change_the_result(src, tmp_path, monkeypatch, held, mode):
    results = []
    for size in (2, 500):
        monkeypatch.setattr(grouped, "_GROUP", size)
        store = tmp_path / f"store-{size}"
        for name in held:
            put(store, IMAGES[name], name)
        checked = on_import(store, src, dry_run, mode=mode).result()
        result = import_archive(store, src, mode=mode)
        assert (checked["actions"], checked["diff"]) == (result["actions"], result["diff"])
        assert checked["fingerprint"] == result["fingerprint"]
        results.append(comparable(result, store))
        assert not import_archive(store, src, mode=mode)["changed"]
        assert_valid_store(store)
    assert results[0] == results[1]


def test_content_that_groups_share_is_fetched_once(src, tmp_path, _pairs):
    result = import_archive(tmp_path / "store", src)
    digests = [one.get("digest") for one in result["actions"] if one["action"] == "fetch_blob"]
    assert len(digests) == len({*digests}) == 1 + len(NAMES)
    assert result["stats"]["bytes_to_fetch"] == result["stats"]["bytes_fetched"]


def test_image_that_fails_does_not_keep_other_groups_from_the_store(tmp_path, _pairs):
    src = archive(tmp_path / "a.tar", without=[LOST.digest])
    outcome = import_outcome(tmp_path / "store", src)
    assert [*outcome.failures] == [NAMES[3]]
    assert sorted(names(tmp_path / "store")) == sorted({*NAMES} - {NAMES[3]})
    assert outcome.brief()["changed"]


def test_wrong_bytes_in_one_group_are_the_failure_of_its_image(src, tmp_path, _pairs):
    data = src.read_bytes()
    src.write_bytes(data.replace(LOST.blob, bytes(len(LOST.blob))))
    outcome = import_outcome(tmp_path / "store", src)
    assert {name: one.kind for name, one in outcome.failures.items()} == {
        NAMES[3]: "digest-mismatch"
    }
    assert len(names(tmp_path / "store")) == len(NAMES) - 1


def test_full_disk_ends_all_groups_and_names_what_is_complete(src, tmp_path, monkeypatch, _pairs):
    write = ImageStore.open_partial

    def full(store, descriptor):
        if str(descriptor.digest) == LOST.digest:
            raise NoSpaceError("no space")
        return write(store, descriptor)

    monkeypatch.setattr(ImageStore, "open_partial", full)
    outcome = import_outcome(tmp_path / "store", src)
    done = sorted(names(tmp_path / "store"))
    assert (outcome.failure.kind, outcome.brief()["changed"]) == ("no-space", True)
    assert done[:2] == NAMES[:2]
    assert sorted(outcome.failures) == sorted({*NAMES} - {*done})


@pytest.mark.parametrize("after", [1, 5, 12])
def test_import_that_stops_between_groups_is_continued(src, tmp_path, _pairs, after):
    on_import(tmp_path / "store", src, lambda plan: interrupt(plan, after))
    assert {*names(tmp_path / "store")} != {*NAMES}
    import_archive(tmp_path / "store", src)
    assert_valid_store(tmp_path / "store")
    assert {*names(tmp_path / "store")} == {*NAMES}


@pytest.mark.parametrize(("rest", "least", "most"), [(0, len(NAMES) // 2, 99), (1e9, 1, 2)])
def test_index_is_written_again_after_a_pause(
    src, tmp_path, monkeypatch, _pairs, rest, least, most
):
    monkeypatch.setattr(grouped, "_REST", rest)
    moves = []
    set_names = ImageStore.set_names

    def count(store, actions):
        moves.append(len(actions))
        set_names(store, actions)

    monkeypatch.setattr(ImageStore, "set_names", count)
    import_archive(tmp_path / "store", src)
    assert (sum(moves), least <= len(moves) <= most) == (len(NAMES), True)


def test_memory_for_each_of_many_images_is_small(tmp_path):
    many = {
        f"docker.io/library/app{number}:1": image([BASE], config={"author": str(number)})
        for number in range(400)
    }
    src = archive(tmp_path / "a.tar", many)
    sizes = []
    for wanted in ([*many][:1], [*many]):
        tracemalloc.start()
        try:
            plan = on_import(
                tmp_path / "store", src, lambda plan: plan, wanted=wanted, details=False
            )
            sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert len(plan.after) == len(wanted)
    # It was 20 KB. 10,000 of them must fit into 64 MiB, with Python, Ansible, and the index of the store.
    assert (sizes[1] - sizes[0]) / len(many) < 2500


@pytest.mark.parametrize(("most", "is_listed"), [(7, True), (6, False)])
def test_details_of_very_many_images_are_returned_only_if_they_are_asked_for(
    src, tmp_path, monkeypatch, most, is_listed
):
    monkeypatch.setattr(image_import, "_DETAILED", most)
    found = import_archive(tmp_path / "store", src, details=None)
    assert ("actions" in found, "layers" in found["images"][0]) == (is_listed, is_listed)
    found = import_archive(tmp_path / "other", src, details=True)
    assert "actions" in found and "layers" in found["images"][0]
