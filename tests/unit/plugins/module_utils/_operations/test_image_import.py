# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import: what a store gets of an archive, and which archives leave it unchanged."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.archives import (
    docker_archive,
    export,
    import_archive,
    import_outcome,
    oci_archive,
    on_import,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path, names
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    blobs,
    put,
    statuses,
    whole_tree,
)

APP, WEB, TOOL = (f"docker.io/library/{name}:1" for name in ("app", "web", "tool"))
BASE = layer({"base": b"b" * 3000}, None)
IMAGES = {
    APP: image([BASE, layer({"app": b"1"}, None)]),
    WEB: image([BASE, layer({"web": b"1"}, None)]),
    TOOL: demo_image("tool", "1", size=20),
}


def archive(path, data):
    path.write_bytes(data)
    return path


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    for name, item in IMAGES.items():
        put(tmp_path / "source", item, name)
    return tmp_path / "source"


@pytest.mark.parametrize("chunk_size", [None, 4096])
def test_import_gives_the_store_that_was_exported(source, tmp_path, chunk_size):
    export(source, tmp_path / "a.tar", *IMAGES, chunk_size=chunk_size)
    result = import_archive(tmp_path / "store", tmp_path / "a.tar")
    assert blobs(tmp_path / "store") == blobs(source)
    assert_valid_store(tmp_path / "store")
    assert {*statuses(result)} == {"downloaded"}
    assert (result["stats"]["requests"], result["made_manifests"]) == ({}, [])
    before = whole_tree(tmp_path / "store")
    again = import_archive(tmp_path / "store", tmp_path / "a.tar")
    assert (again["changed"], again["stats"]["bytes_fetched"]) == (False, 0)
    assert (whole_tree(tmp_path / "store"), again["fingerprint"]) == (before, result["fingerprint"])


def test_check_mode_writes_nothing_and_returns_the_same(source, tmp_path):
    export(source, tmp_path / "a.tar", *IMAGES)
    checked = on_import(tmp_path / "store", tmp_path / "a.tar", lambda plan: plan)
    assert not (tmp_path / "store").exists()
    done = import_outcome(tmp_path / "store", tmp_path / "a.tar").result()
    assert [one.summary() for one in checked.actions] == done["actions"]


def test_delta_is_completed_by_the_store(source, tmp_path):
    export(source, tmp_path / "one.tar", APP)
    export(source, tmp_path / "two.tar", WEB, have=(tmp_path / "one.tar.sha256").read_text())
    with pytest.raises(LockstepError, match=f"leaves out {BASE.digest}") as caught:
        import_archive(tmp_path / "store", tmp_path / "two.tar")
    assert caught.value.kind == "archive-incomplete"
    assert caught.value.details["digests"] == [BASE.digest]
    assert not (tmp_path / "store").exists()
    import_archive(tmp_path / "store", tmp_path / "one.tar")
    result = import_archive(tmp_path / "store", tmp_path / "two.tar")
    assert result["stats"]["bytes_reused"] >= len(BASE.blob)
    assert_valid_store(tmp_path / "store")


def test_incomplete_image_does_not_keep_others_from_the_store(tmp_path):
    src = archive(
        tmp_path / "a.tar",
        oci_archive({APP: IMAGES[APP], WEB: IMAGES[WEB]}, without=[IMAGES[WEB].layers[1].digest]),
    )
    outcome = import_outcome(tmp_path / "store", src)
    assert ([*outcome.failures], [*names(tmp_path / "store")]) == ([WEB], [APP])


def lock_of(*pairs):
    entries = []
    for name, item in pairs:
        one = {"manifest": item.digest, "config": item.config_digest, "size": item.size}
        entry = {"name": name, "digest": item.digest, "media_type": item.media_type}
        entries.append({**entry, "platforms": {"linux/amd64": one}})
    return {"lockfile_version": 1, "images": entries}


LOCK = lock_of((APP, IMAGES[APP]))


def test_lock_is_what_the_archive_must_be(source, tmp_path):
    export(source, tmp_path / "a.tar", APP)
    assert import_archive(tmp_path / "store", tmp_path / "a.tar", lock=LOCK)["changed"]


@pytest.mark.parametrize(
    ("lock", "text"),
    [
        (
            lock_of((APP, IMAGES[WEB])),
            f"is locked to {IMAGES[WEB].digest}, .* has {IMAGES[APP].digest}",
        ),
        (lock_of((WEB, IMAGES[WEB])), "app:1 is not locked"),
    ],
)
def test_archive_of_another_lock_is_refused(source, tmp_path, lock, text):
    export(source, tmp_path / "a.tar", APP)
    with pytest.raises(LockstepError, match=text) as caught:
        import_archive(tmp_path / "store", tmp_path / "a.tar", lock=lock)
    assert (caught.value.kind, (tmp_path / "store").exists()) == ("invalid-lock", False)


def test_image_that_only_the_lock_has_must_be_in_the_store(source, tmp_path):
    export(source, tmp_path / "a.tar", APP)
    both = lock_of((APP, IMAGES[APP]), (WEB, IMAGES[WEB]))
    with pytest.raises(LockstepError, match=f"{WEB}: leaves out {IMAGES[WEB].digest}"):
        import_archive(tmp_path / "store", tmp_path / "a.tar", lock=both)
    put(tmp_path / "store", IMAGES[WEB], WEB)
    assert len(import_archive(tmp_path / "store", tmp_path / "a.tar", lock=both)["images"]) == 2


def test_name_selects(source, tmp_path):
    export(source, tmp_path / "a.tar", *IMAGES)
    import_archive(tmp_path / "store", tmp_path / "a.tar", wanted=["web:1"])
    assert [*names(tmp_path / "store")] == [WEB]
    for text in ("none:1", f"web:1@{IMAGES[APP].digest}"):
        with pytest.raises(LockstepError) as caught:
            import_archive(tmp_path / "store", tmp_path / "a.tar", wanted=[text])
        assert caught.value.kind == "not-found"


REF = "org.opencontainers.image.ref.name"


@pytest.mark.parametrize("label", ["1", "", "Not/Valid"])
def test_archive_without_full_names_needs_one(tmp_path, label):
    src = archive(tmp_path / "a.tar", oci_archive({label: IMAGES[APP]}, annotation=REF))
    with pytest.raises(LockstepError, match="is not the full name of an image") as caught:
        import_archive(tmp_path / "store", src)
    assert "name" in caught.value.hint
    import_archive(tmp_path / "store", src, wanted=["app:1"])
    assert [*names(tmp_path / "store")] == [APP]


def test_tag_selects_among_several(tmp_path):
    src = archive(
        tmp_path / "a.tar",
        oci_archive({"1": IMAGES[APP], "2": IMAGES[WEB]}, annotation=REF),
    )
    import_archive(tmp_path / "store", src, wanted=["web:2"])
    assert names(tmp_path / "store")["docker.io/library/web:2"]["digest"] == IMAGES[WEB].digest
    with pytest.raises(LockstepError, match=r"does not have docker\.io/library/web:3, it has 1, 2"):
        import_archive(tmp_path / "store", src, wanted=["web:3"])


def test_index_of_another_tool_keeps_the_platforms_that_are_there(tmp_path):
    arm = IMAGES[TOOL].for_platform("linux/arm64")
    without = [arm.digest, *(digest for digest, _raw in arm.blobs())]
    src = archive(tmp_path / "a.tar", oci_archive({TOOL: IMAGES[TOOL]}, without=without))
    import_archive(tmp_path / "store", src)
    assert names(tmp_path / "store")[TOOL]["annotations"]["io.lockstep.platforms"] == "linux/amd64"
    assert_valid_store(tmp_path / "store")
    whole = archive(tmp_path / "b.tar", oci_archive({TOOL: IMAGES[TOOL]}))
    import_archive(tmp_path / "other", whole)
    assert names(tmp_path / "other")[TOOL]["annotations"]["io.lockstep.platforms"] == "all"


def test_docker_archive_is_imported_and_its_digest_doubted(tmp_path):
    src = archive(tmp_path / "a.tar", docker_archive(["app:1"], IMAGES[APP]))
    outcome = import_outcome(tmp_path / "store", src)
    assert outcome.result()["made_manifests"] == [APP]
    assert "not those in a registry" in outcome.warnings()[0]
    assert_valid_store(tmp_path / "store")
    assert not import_archive(tmp_path / "store", src)["changed"]
    again = archive(tmp_path / "b.tar", docker_archive(["app:1"], IMAGES[APP]))
    assert not import_archive(tmp_path / "store", again)["changed"]


def test_docker_archive_with_wrong_layer_is_refused(tmp_path):
    data = docker_archive(["app:1"], IMAGES[APP]).replace(b"b" * 3000, b"c" * 3000)
    with pytest.raises(LockstepError) as caught:
        import_archive(tmp_path / "store", archive(tmp_path / "a.tar", data))
    assert (caught.value.kind, [*names(tmp_path / "store")]) == ("digest-mismatch", [])


def test_docker_archive_without_a_name_needs_one(tmp_path):
    src = archive(tmp_path / "a.tar", docker_archive([], IMAGES[APP]))
    with pytest.raises(LockstepError, match="is not the full name"):
        import_archive(tmp_path / "store", src)
    import_archive(tmp_path / "store", src, wanted=["app:1"])
    assert [*names(tmp_path / "store")] == [APP]


def test_wrong_blob_is_refused_and_others_are_kept(tmp_path):
    data = oci_archive({APP: IMAGES[APP]}).replace(b"b" * 3000, b"c" * 3000)
    with pytest.raises(LockstepError) as caught:
        import_archive(tmp_path / "store", archive(tmp_path / "a.tar", data))
    assert (caught.value.kind, [*names(tmp_path / "store")]) == ("digest-mismatch", [])
    assert BASE.digest not in blobs(tmp_path / "store")
    assert_valid_store(tmp_path / "store")


def test_blob_of_another_size_is_refused(tmp_path):
    other = BASE.blob + bytes(512)
    from ansible_collections.lockstep.images.tests.support import tarballs

    name = f"blobs/sha256/{BASE.digest[7:]}"
    data = oci_archive({APP: IMAGES[APP]}).replace(
        tarballs.entry(name, BASE.blob), tarballs.entry(name, other)
    )
    with pytest.raises(LockstepError, match="its manifest states") as caught:
        import_archive(tmp_path / "store", archive(tmp_path / "a.tar", data))
    assert caught.value.kind == "size-mismatch"


@pytest.fixture(name="chunks")
def fixture_chunks(source, tmp_path):
    export(source, tmp_path / "a.tar", APP, WEB, chunk_size=2048)
    return tmp_path / "a.tar"


def test_wrong_chunk_is_named_not_the_blob(chunks, tmp_path):
    path = tmp_path / "a.tar.003"
    path.write_bytes(path.read_bytes().replace(b"b", b"c"))
    with pytest.raises(LockstepError, match=r"a.tar.003 has other bytes") as caught:
        import_archive(tmp_path / "store", chunks)
    assert (caught.value.kind, caught.value.details["chunks"]) == ("chunk-wrong", ["a.tar.003"])


@pytest.mark.parametrize("first", [0, 1])
def test_swapped_chunks_are_named(chunks, tmp_path, first):
    one, two = (tmp_path / f"a.tar.00{number}" for number in (first, first + 1))
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    with pytest.raises(LockstepError) as caught:
        import_archive(tmp_path / "store", chunks)
    assert caught.value.kind == "chunk-wrong"
    assert not (tmp_path / "store").exists() or not names(tmp_path / "store")


def test_chunk_of_another_archive_is_named(source, chunks, tmp_path):
    export(source, tmp_path / "b.tar", TOOL, chunk_size=2048)
    os.replace(tmp_path / "b.tar.002", tmp_path / "a.tar.002")
    with pytest.raises(LockstepError, match=r"a.tar.002") as caught:
        import_archive(tmp_path / "store", chunks)
    assert caught.value.kind == "chunk-wrong"


def test_content_of_other_chunks_is_kept_until_the_missing_one_comes(chunks, tmp_path):
    os.rename(tmp_path / "a.tar.006", tmp_path / "kept")
    outcome = import_outcome(tmp_path / "store", chunks)
    assert outcome.result()["missing_chunks"] == ["a.tar.006"]
    assert outcome.failure.kind == "chunk-missing"
    assert (len(blobs(tmp_path / "store")), names(tmp_path / "store")) == (6, {})
    os.rename(tmp_path / "kept", tmp_path / "a.tar.006")
    result = import_archive(tmp_path / "store", chunks)
    assert result["stats"]["bytes_resumed"] > 0
    assert [*names(tmp_path / "store")] == [APP, WEB]


def test_missing_first_chunk_hides_everything(chunks, tmp_path):
    os.unlink(tmp_path / "a.tar.000")
    with pytest.raises(LockstepError, match="chunks is missing: a"):
        import_archive(tmp_path / "store", chunks)
    assert not (tmp_path / "store").exists()


def test_missing_last_chunk_without_content_is_a_warning(chunks, tmp_path):
    os.unlink(max(tmp_path.glob("a.tar.0*")))
    outcome = import_outcome(tmp_path / "store", chunks)
    assert outcome.failure is None
    assert "chunks is missing" in outcome.warnings()[0]


def test_stale_chunk_is_named(chunks, tmp_path):
    (tmp_path / "a.tar.099").write_bytes(b"old")
    outcome = import_outcome(tmp_path / "store", chunks)
    assert outcome.result()["stale_chunks"] == ["a.tar.099"]
    assert "a.tar.099 belong to another archive" in outcome.warnings()[0]


def test_full_verification_repairs_the_store(source, tmp_path):
    export(source, tmp_path / "a.tar", APP)
    import_archive(tmp_path / "store", tmp_path / "a.tar")
    path = blob_path(tmp_path / "store", BASE.digest)
    path.write_bytes(bytes(len(BASE.blob)))
    assert not import_archive(tmp_path / "store", tmp_path / "a.tar")["changed"]
    assert import_archive(tmp_path / "store", tmp_path / "a.tar", mode="full")["changed"]
    assert_valid_store(tmp_path / "store")


def test_full_verification_compares_the_file_with_its_list(source, tmp_path):
    export(source, tmp_path / "a.tar", APP)
    with open(tmp_path / "a.tar", "ab") as file:
        file.write(bytes(512))
    assert import_archive(tmp_path / "store", tmp_path / "a.tar")["changed"]
    with pytest.raises(LockstepError) as caught:
        import_archive(tmp_path / "store", tmp_path / "a.tar", mode="full")
    assert caught.value.kind == "chunk-wrong"


def test_archive_without_images_is_refused(tmp_path):
    with pytest.raises(LockstepError, match="names no image"):
        import_archive(tmp_path / "store", archive(tmp_path / "a.tar", oci_archive({})))


def test_existing_names_stay_and_a_moved_name_is_reported(source, tmp_path):
    put(tmp_path / "store", IMAGES[TOOL], TOOL)
    put(tmp_path / "store", IMAGES[WEB], APP)
    export(source, tmp_path / "a.tar", APP)
    result = import_archive(tmp_path / "store", tmp_path / "a.tar")
    assert (statuses(result), result["other_names"]) == (["updated"], 1)
    assert names(tmp_path / "store")[APP]["digest"] == IMAGES[APP].digest


def test_store_that_another_task_prunes_is_not_written(source, tmp_path):
    export(source, tmp_path / "a.tar", APP)
    import_archive(tmp_path / "store", tmp_path / "a.tar")
    before = whole_tree(tmp_path / "store")
    with ImageStore(str(tmp_path / "store")).hold(exclusive=True):
        with pytest.raises(LockstepError) as caught:
            import_archive(tmp_path / "store", tmp_path / "a.tar", lock_timeout=0.05)
    assert caught.value.kind == "store-locked"
    assert whole_tree(tmp_path / "store").keys() == before.keys()


def test_name_that_another_task_moves_in_between_is_a_conflict(source, tmp_path):
    export(source, tmp_path / "a.tar", APP)

    def move_and_execute(plan):
        put(tmp_path / "store", IMAGES[WEB], APP)
        return execute(plan)

    put(tmp_path / "store", IMAGES[TOOL], TOOL)
    outcome = on_import(tmp_path / "store", tmp_path / "a.tar", move_and_execute)
    assert outcome.failure.kind == "store-conflict"
    assert names(tmp_path / "store")[APP]["digest"] == IMAGES[WEB].digest


@pytest.mark.parametrize("damage", [3000, 9000])
def test_truncated_archive_leaves_no_store(source, tmp_path, damage):
    export(source, tmp_path / "a.tar", APP)
    os.truncate(tmp_path / "a.tar", (tmp_path / "a.tar").stat().st_size - damage)
    (tmp_path / "a.tar.sha256").unlink()
    with pytest.raises(LockstepError) as caught:
        import_archive(tmp_path / "store", tmp_path / "a.tar")
    assert (caught.value.kind, (tmp_path / "store").exists()) == ("archive-truncated", False)
