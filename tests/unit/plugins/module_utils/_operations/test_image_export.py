# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export: which images and blobs an archive has, and what it reports."""

from __future__ import annotations

import json
import os
import time
import tracemalloc

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    InputError,
    LockError,
    LockstepError,
    NoSpaceError,
    NotInStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations import image_export
from ansible_collections.lockstep.images.tests.support.archives import export, plan_export
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, index, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.stores import put, umask, whole_tree

APP, WEB, TOOL = (f"docker.io/library/{name}:1" for name in ("app", "web", "tool"))
BASE = layer({"base": b"b" * 3000})
IMAGES = {
    APP: image([BASE, layer({"app": b"1"})]),
    WEB: image([BASE, layer({"web": b"1"})]),
    TOOL: demo_image("tool", "1", size=20),
}


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    for name, item in IMAGES.items():
        put(tmp_path / "store", item, name)
    return tmp_path / "store"


def members(path):
    import tarfile

    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}


def blobs_of(path):
    return {f"sha256:{name[13:]}" for name in members(path) if name.startswith("blobs/")}


def content_of(item):
    return {digest for digest, _raw in item.blobs()} | {
        digest for digest, _type, _raw in item.manifests()
    }


def lock_of(item, label, **changes):
    entry = {"name": label, "digest": item.digest, "media_type": item.media_type}
    one = {"manifest": item.digest, "config": item.config_digest, "size": item.size}
    entry["platforms"] = {"linux/amd64": one}
    return {"lockfile_version": 1, "images": [{**entry, **changes}]}


def test_archive_has_exactly_the_content_of_its_images(store, tmp_path):
    result = export(store, tmp_path / "a.tar", APP, WEB)
    assert blobs_of(tmp_path / "a.tar") == content_of(IMAGES[APP]) | content_of(IMAGES[WEB])
    assert [one["name"] for one in result["images"]] == [APP, WEB]
    assert result["stats"]["bytes_archive"] == os.path.getsize(tmp_path / "a.tar")
    assert result["stats"]["bytes_whole"] == sum(
        {d: len(raw) for one in (APP, WEB) for d, raw in IMAGES[one].blobs()}.values()
    ) + sum(len(IMAGES[one].raw) for one in (APP, WEB))


def test_same_images_give_the_same_bytes(store, tmp_path, monkeypatch):
    export(store, tmp_path / "a.tar", APP, WEB, TOOL)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        with umask(0o077):
            export(store, tmp_path / "b.tar", "tool:1", "web:1", "app:1", "app:1")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_store_is_unchanged(store, tmp_path):
    before = whole_tree(store)
    export(store, tmp_path / "a.tar", APP)
    assert whole_tree(store) == before


def test_second_export_has_no_action(store, tmp_path):
    export(store, tmp_path / "a.tar", APP)
    plan = plan_export(store, tmp_path / "a.tar", APP)
    assert (plan.actions, plan.before == plan.after) == ((), True)
    moved = plan_export(store, tmp_path / "a.tar", WEB)
    assert ([*moved.before], [*moved.after], len(moved.actions)) == ([APP], [WEB], 1)


def test_lock_selects_and_is_compared(store, tmp_path):
    lock = lock_of(IMAGES[APP], APP)
    export(store, tmp_path / "a.tar", lock=lock)
    assert json.loads(members(tmp_path / "a.tar")["lock.json"]) == lock
    export(store, tmp_path / "b.tar", APP)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"digest": IMAGES[WEB].digest}, NotInStoreError, "Sync the store"),
        ({"name": WEB}, NotInStoreError, "Sync the store"),
        ({"name": "docker.io/library/none:1"}, NotInStoreError, "does not hold"),
        ({"media_type": IMAGES[TOOL].media_type}, LockError, "media_type is"),
    ],
)
def test_store_that_is_not_as_locked_is_refused(store, tmp_path, changes, kind, text):
    with pytest.raises(kind) as caught:
        export(store, tmp_path / "a.tar", lock=lock_of(IMAGES[APP], APP, **changes))
    assert text in caught.value.full_message()
    assert not (tmp_path / "a.tar").exists()


def test_name_that_is_not_locked_is_refused(store, tmp_path):
    with pytest.raises(LockError, match="is not locked"):
        export(store, tmp_path / "a.tar", WEB, lock=lock_of(IMAGES[APP], APP))


def test_platforms_are_selected(store, tmp_path):
    for number, platform in enumerate(("linux/amd64", "linux/arm64")):
        export(store, tmp_path / f"{number}.tar", TOOL, platforms=[platform])
        kept = IMAGES[TOOL].for_platform(platform)
        assert blobs_of(tmp_path / f"{number}.tar") == content_of(kept) | {IMAGES[TOOL].digest}
        (entry,) = json.loads(members(tmp_path / f"{number}.tar")["index.json"])["manifests"]
        assert entry["annotations"]["io.lockstep.platforms"] == platform
        (docker,) = json.loads(members(tmp_path / f"{number}.tar")["manifest.json"])
        assert docker["RepoTags"] == [TOOL]


def test_image_for_several_platforms_is_not_for_docker(store, tmp_path):
    outcome = plan_export(store, tmp_path / "a.tar", TOOL)
    assert "has several platforms" in outcome.warnings()[0]
    with pytest.raises(InputError, match="has several platforms") as caught:
        plan_export(store, tmp_path / "a.tar", TOOL, form="docker")
    assert "one platform" in caught.value.hint
    assert plan_export(store, tmp_path / "a.tar", TOOL, form="oci").warnings() == []


def test_content_that_the_target_has_is_left_out(store, tmp_path):
    export(store, tmp_path / "one.tar", APP)
    held = (tmp_path / "one.tar.sha256").read_text()
    result = export(store, tmp_path / "two.tar", WEB, have=held)
    assert content_of(IMAGES[WEB]) - blobs_of(tmp_path / "two.tar") == {BASE.digest}
    assert result["images"][0]["left_out"] == 1
    assert result["stats"]["bytes_left_out"] == len(BASE.blob)
    # Its list says what the target has after it.
    assert BASE.digest in (tmp_path / "two.tar.sha256").read_text()


def test_delta_of_a_small_layer_is_small(store, tmp_path):
    result = export(store, tmp_path / "two.tar", WEB, have=[BASE.digest])
    new = len(IMAGES[WEB].layers[1].blob)
    assert result["stats"]["bytes_archive"] <= new * 1.01 + 64 * 1024


def test_referrers_in_the_store_are_exported(store, tmp_path):
    app = IMAGES[APP]
    subject = {"mediaType": app.media_type, "digest": app.digest, "size": len(app.raw)}
    proof = image([layer({"sbom": b"s"})], subject=subject)
    signature = image([layer({"sig": b"s"})])
    repository, hexadecimal = APP.rpartition(":")[0], app.digest[7:]
    put(store, proof, f"{repository}@{proof.digest}")
    put(store, signature, f"{repository}:sha256-{hexadecimal}.sig")
    put(store, signature, f"docker.io/library/other:sha256-{hexadecimal}.sig")
    second = f"{repository}:sha256-{proof.digest[7:]}.sig"
    put(store, signature, second)
    result = export(store, tmp_path / "a.tar", APP, referrers=True)
    assert [one["name"] for one in result["images"]] == sorted(
        [APP, f"{repository}:sha256-{hexadecimal}.sig", f"{repository}@{proof.digest}", second]
    )
    assert len(export(store, tmp_path / "b.tar", APP)["images"]) == 1


def test_index_of_another_tool_is_exported_as_far_as_it_is_there(store, tmp_path):
    arm = IMAGES[TOOL].for_platform("linux/arm64")
    os.unlink(blob_path(store, arm.digest))
    (one,) = export(store, tmp_path / "a.tar", TOOL)["images"]
    assert one["platforms"] == ["linux/amd64"]


@pytest.mark.parametrize(
    ("names", "kind", "text"),
    [
        (["none:1"], "not-in-store", "does not hold docker.io/library/none:1"),
        (["a b"], "invalid-reference", "a b"),
        ([APP, "none:1", "other:1"], "not-in-store", "2 of 3 images failed"),
    ],
)
def test_missing_image_is_named(store, tmp_path, names, kind, text):
    with pytest.raises(LockstepError, match=text) as caught:
        export(store, tmp_path / "a.tar", *names)
    assert (caught.value.kind, os.listdir(tmp_path)) == (kind, ["store"])


def test_entry_without_a_full_name_is_refused(store, tmp_path):
    put(store, image([layer({"x": b"x"})]), "latest-of-another-tool")
    with pytest.raises(InputError, match="not the full name") as caught:
        export(store, tmp_path / "a.tar", image([layer({"x": b"x"})]).digest)
    assert "image_tag" in caught.value.hint


def test_missing_blob_and_missing_manifest_are_named(store, tmp_path):
    os.unlink(blob_path(store, BASE.digest))
    with pytest.raises(NotInStoreError, match=f"does not hold {BASE.digest} of {APP}"):
        export(store, tmp_path / "a.tar", APP)
    os.unlink(blob_path(store, IMAGES[APP].digest))
    with pytest.raises(NotInStoreError, match=f"does not hold {IMAGES[APP].digest} of {APP}"):
        export(store, tmp_path / "a.tar", APP)


def test_corrupt_blob_fails_and_leaves_no_archive(store, tmp_path):
    path = blob_path(store, BASE.digest)
    path.write_bytes(bytes(len(BASE.blob)))
    with pytest.raises(LockstepError, match=BASE.digest) as caught:
        export(store, tmp_path / "a.tar", APP)
    assert caught.value.kind == "store-corrupt"
    assert sorted(os.listdir(tmp_path)) == ["a.tar.sha256.part", "store"]


def test_full_disk_is_found_before_anything_is_written(store, tmp_path, monkeypatch):
    monkeypatch.setattr(image_export, "free_bytes", lambda _path: 100)
    with pytest.raises(NoSpaceError, match="needed, 100 B free"):
        export(store, tmp_path / "a.tar", APP)
    assert os.listdir(tmp_path) == ["store"]


def test_attestations_do_not_keep_an_image_from_docker(store, tmp_path):
    name = "docker.io/library/built:1"
    put(store, index([image([BASE], "linux/amd64")], attestations=True), name)
    export(store, tmp_path / "a.tar", name)
    (docker,) = json.loads(members(tmp_path / "a.tar")["manifest.json"])
    assert docker["RepoTags"] == [name]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"chunk_size": 1000}, "chunk_size must be at least 1 MiB"),
        ({"dest": "/tmp/"}, "dest: /tmp/ is a directory"),
        ({"platform": ["x"]}, "platform"),
    ],
)
def test_options_are_checked(changes, text):
    params = {
        "dest": "/tmp/a.tar",
        "format": "both",
        "chunk_size": None,
        "platform": None,
        "referrers": False,
        "have": None,
    }
    with pytest.raises(InputError, match=text):
        image_export.ExportOptions.of({**params, **changes})


def test_memory_for_each_of_many_images_is_small(tmp_path):
    names = [f"docker.io/library/app{number}:1" for number in range(60)]
    for name in names:
        put(tmp_path / "store", image([BASE], config={"author": name}), name)
    plan_export(tmp_path / "store", tmp_path / "a.tar", *names[:1])
    tracemalloc.start()
    try:
        kept = plan_export(tmp_path / "store", tmp_path / "a.tar", *names)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(kept.after) == len(names)
    # It was 7 KB. 10,000 of them must fit into 64 MiB, with Python, Ansible, and the index of the store.
    assert size / len(names) < 2500
