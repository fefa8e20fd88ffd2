# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Info: the description of a store, including stores of other tools."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.info import (
    plan_info,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.images import (
    CREATED,
    demo_image,
    image,
    index,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import blob_path, fingerprint
from ansible_collections.lockstep.images.tests.support.plans import dry_run
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    pull,
    put,
    whole_tree,
)

APP, TOOL = "docker.io/library/app:1", "registry.example:5000/tool:1"
FAMILY = demo_image("app", "1", layers=3, size=300)
MEMBER = FAMILY.for_platform(AMD64)
BASE = MEMBER.layers[0]
TOOL_IMAGE = image(
    [BASE, layer({"tool": b"t" * 500})],
    config={
        "author": "A. Nybody",
        "comment": "made by hand",
        "docker_version": "20.10",
        "variant": "v2",
        "os.version": "1.2",
        "config": {"Env": ["A=b"], "Labels": {"x": "{{ y }}"}},
        "history": [
            {"created": CREATED, "created_by": "ADD base"},
            {"created": CREATED, "created_by": "ENV A=b", "empty_layer": True},
            {"created_by": "COPY tool", "comment": "buildkit"},
        ],
    },
)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(TOOL, TOOL_IMAGE)
    return sources


@pytest.fixture(name="store")
def fixture_store(path, sources):
    store = ImageStore(str(path))
    pull(store, sources, APP, platforms=[AMD64, ARM64])
    pull(store, sources, TOOL)
    return store


def info(store, *names):
    """The facts about some names, about all without any."""
    references = list(names) or None
    with store.hold():
        plan = plan_info(store, references)
    assert (plan.actions, plan.changed) == ((), False)
    return dry_run(plan).result()


def one(store, name):
    (entry,) = info(store, name)["images"]
    return entry


def test_missing_store_counts_as_empty(path):
    result = info(ImageStore(str(path)), APP)
    assert (result["images"], result["missing"], result["store"]) == ([], [APP], str(path))
    assert info(ImageStore(str(path)))["missing"] == []
    assert not path.exists()


def test_reading_changes_nothing(path, store):
    before = whole_tree(path)
    result = info(store)
    assert whole_tree(path) == before
    assert result["diff"] == {"before": {}, "after": {}}


def test_all_names_are_listed_in_order_with_each_platform(path, store):
    result = info(store)
    assert [(entry["name"], entry["platform"]) for entry in result["images"]] == [
        (APP, AMD64),
        (APP, ARM64),
        (TOOL, "linux(1.2)/amd64/v2"),
    ]
    assert [entry["platforms"] for entry in result["images"][:2]] == [[AMD64, ARM64]] * 2
    assert result["fingerprint"] == fingerprint(path)
    assert all(entry["complete"] for entry in result["images"])


def test_image_is_described_by_its_digests_and_sizes(store):
    entry = one(store, TOOL)
    assert entry["digest"] == TOOL_IMAGE.digest
    assert entry["id"] == TOOL_IMAGE.config_digest
    assert (entry["size"], entry["created"]) == (TOOL_IMAGE.size, CREATED)
    told = [(item["digest"], item["size"], item["media_type"]) for item in entry["layers"]]
    assert told == [(item.digest, len(item.blob), item.media_type) for item in TOOL_IMAGE.layers]


def test_chain_ids_match_the_specification(store):
    """config.md: ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln))"""
    diff_ids = [item.diff_id for item in MEMBER.layers]
    wanted = [diff_ids[0]]
    for diff_id in diff_ids[1:]:
        wanted.append("sha256:" + hashlib.sha256(f"{wanted[-1]} {diff_id}".encode()).hexdigest())
    layers = info(store, APP)["images"][0]["layers"]
    assert [item["diff_id"] for item in layers] == diff_ids
    assert [item["chain_id"] for item in layers] == wanted


def test_layers_count_the_images_that_share_them(store, sources):
    shared = {item["digest"]: item["shared_by"] for item in one(store, TOOL)["layers"]}
    assert shared == {BASE.digest: 2, TOOL_IMAGE.layers[1].digest: 1}
    sources.publish("registry.example:5000/tool:same", TOOL_IMAGE)
    pull(store, sources, "registry.example:5000/tool:same")
    again = {item["digest"]: item["shared_by"] for item in one(store, TOOL)["layers"]}
    assert again == shared


def test_history_steps_have_the_size_of_their_layer(store):
    steps = one(store, TOOL)["history"]
    sizes = [len(item.blob) for item in TOOL_IMAGE.layers]
    keys = ("created", "created_by", "size", "empty_layer", "comment")
    assert [tuple(step[key] for key in keys) for step in steps] == [
        (CREATED, "ADD base", sizes[0], False, ""),
        (CREATED, "ENV A=b", 0, True, ""),
        (None, "COPY tool", sizes[1], False, "buildkit"),
    ]
    assert all(step.keys() == set(keys) for step in steps)


@pytest.mark.parametrize(
    "history",
    [None, "x", [1, None], [{}] * 9, [{"empty_layer": "yes"}]],
    ids="M033 {}".format,
)
def test_invalid_history_is_ignored(path, sources, history):
    sources.publish(TOOL, image([BASE], config={"history": history}))
    store = ImageStore(str(path))
    pull(store, sources, TOOL)
    steps = one(store, TOOL)["history"]
    assert sum(step["size"] for step in steps) in (0, len(BASE.blob))


def test_inspect_uses_the_keys_of_docker(store):
    assert one(store, TOOL)["inspect"] == {
        "Id": TOOL_IMAGE.config_digest,
        "RepoTags": ["registry.example:5000/tool:1"],
        "RepoDigests": [f"registry.example:5000/tool@{TOOL_IMAGE.digest}"],
        "Comment": "made by hand",
        "Created": CREATED,
        "DockerVersion": "20.10",
        "Author": "A. Nybody",
        "Config": {"Env": ["A=b"], "Labels": {"x": "{{ y }}"}},
        "Architecture": "amd64",
        "Variant": "v2",
        "Os": "linux",
        "OsVersion": "1.2",
        "Size": TOOL_IMAGE.size,
        "RootFS": {"Type": "layers", "Layers": [item.diff_id for item in TOOL_IMAGE.layers]},
    }


def test_inspect_lists_every_name_of_an_image(store, sources):
    """Docker Hub's images in their short form, digests under every repository."""
    sources.publish("registry.example/x/app:2", FAMILY)
    sources.publish("docker.io/me/app:3", FAMILY)
    pinned = f"registry.example/pin@{FAMILY.digest}"
    sources["registry.example/pin"].publish(FAMILY)
    pull(store, sources, "registry.example/x/app:2", "docker.io/me/app:3", pinned)
    inspect = info(store, APP)["images"][0]["inspect"]
    assert inspect["RepoTags"] == ["app:1", "me/app:3", "registry.example/x/app:2"]
    places = ["app", "me/app", "registry.example/pin", "registry.example/x/app"]
    assert inspect["RepoDigests"] == [f"{place}@{FAMILY.digest}" for place in places]


# -- finding


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("app:1", APP),
        ("docker.io/app:1", APP),
        (f"app:1@{FAMILY.digest}", APP),
        (f"app@{FAMILY.digest}", APP),
        (f"registry.example:5000/tool@{TOOL_IMAGE.digest}", TOOL),
        (f"app:1@{TOOL_IMAGE.digest}", None),
        (f"app:2@{FAMILY.digest}", None),
        (f"other@{FAMILY.digest}", None),
        (f"app@{MEMBER.digest}", None),
        ("app", None),
    ],
)
def test_image_is_found_by_any_spelling_and_by_its_whole_digest(store, name, found):
    result = info(store, name)
    assert {entry["name"] for entry in result["images"]} == ({found} if found else set())
    assert result["missing"] == ([] if found else [str(Reference.parse(name))])


def test_repeated_names_are_listed_once_in_the_requested_order(store):
    result = info(store, TOOL, "none:1", "app:1", TOOL, f"app@{FAMILY.digest}")
    assert [entry["name"] for entry in result["images"]] == [TOOL, APP, APP]
    assert result["missing"] == ["docker.io/library/none:1"]


# -- incomplete


@pytest.mark.parametrize("how", ["gone", "cut"])
@pytest.mark.parametrize("what", ["layer", "config", "manifest", "index"])
def test_a_name_whose_content_is_missing_is_incomplete(path, store, what, how):
    """S023, S017"""
    lost = {
        "layer": MEMBER.layers[2].digest,
        "config": MEMBER.config_digest,
        "manifest": MEMBER.digest,
        "index": FAMILY.digest,
    }[what]
    place = blob_path(path, lost)
    place.unlink() if how == "gone" else place.write_bytes(place.read_bytes()[:-1])
    result = info(store)
    entries = [entry for entry in result["images"] if entry["name"] == APP]
    assert entries
    assert not any(entry["complete"] for entry in entries)
    assert result["missing"] == []
    assert [entry["complete"] for entry in result["images"] if entry["name"] == TOOL] == [True]
    if what == "index":
        assert (entries[0]["id"], entries[0]["layers"], entries[0]["inspect"]) == (None, [], {})


def test_corrupt_configuration_is_not_used(path, store):
    """S017"""
    place = blob_path(path, TOOL_IMAGE.config_digest)
    place.write_bytes(place.read_bytes().replace(b"amd64", b"amd65"))
    entry = one(store, TOOL)
    assert (entry["complete"], entry["inspect"], entry["history"]) == (False, {}, [])
    assert entry["layers"][0]["diff_id"] is None


def test_sparse_index_with_all_requested_platforms_is_complete(path, sources):
    """S027"""
    store = ImageStore(str(path))
    pull(store, sources, APP, platforms=[ARM64])
    entry = one(store, APP)
    assert (entry["platform"], entry["platforms"], entry["complete"]) == (ARM64, [ARM64], True)
    assert not blob_path(path, MEMBER.digest).exists()


PROVED = "registry.example/proved:1"
PROVED_FAMILY = demo_image("proved", "1", layers=1, size=50, attestations=True)
PROOF = next(one for one in PROVED_FAMILY.images if one.platform["os"] == "unknown")


def test_name_with_all_platforms_is_complete_and_attestations_are_not_images(path, sources):
    sources.publish(PROVED, PROVED_FAMILY)
    store = ImageStore(str(path))
    pull(store, sources, PROVED, platforms=None)
    told = [
        (entry["platform"], entry["platforms"], entry["complete"])
        for entry in info(store)["images"]
    ]
    assert told == [(AMD64, ["all"], True), (ARM64, ["all"], True)]


@pytest.mark.parametrize(
    "lost",
    [
        PROVED_FAMILY.for_platform(ARM64).digest,
        PROVED_FAMILY.for_platform(ARM64).layers[0].digest,
        PROOF.digest,
        PROOF.layers[0].digest,
    ],
    ids=["image", "layer", "attestation", "layer of an attestation"],
)
def test_name_with_all_platforms_needs_all_content(path, sources, lost):
    sources.publish(PROVED, PROVED_FAMILY)
    store = ImageStore(str(path))
    pull(store, sources, PROVED, platforms=None)
    blob_path(path, lost).unlink()
    assert not any(entry["complete"] for entry in info(store)["images"])


@pytest.mark.parametrize("lost", ["of another type", "of a nested index"])
def test_all_platforms_are_more_than_images(path, sources, lost):
    extra = {"mediaType": "text/plain", **blob(b"extra", "text/plain").as_json()}
    inner = index([MEMBER])
    whole = index([inner], manifests=[inner.descriptor(), extra])
    sources.publish("registry.example/mixed:1", whole)
    sources["registry.example/mixed"].content[extra["digest"]] = b"extra"
    store = ImageStore(str(path))
    pull(store, sources, "registry.example/mixed:1", platforms=None)
    assert one(store, "registry.example/mixed:1")["complete"]
    blob_path(path, extra["digest"] if lost == "of another type" else MEMBER.digest).unlink()
    assert not one(store, "registry.example/mixed:1")["complete"]


@pytest.mark.parametrize("platforms", [(AMD64,), None], ids=["a platform", "all"])
def test_missing_foreign_layer_leaves_an_image_complete(path, sources, platforms):
    windows = layer(
        {"win": b"w"}, media_type="application/vnd.oci.image.layer.nondistributable.v1.tar"
    )
    member = image([windows, BASE])
    sources.publish("registry.example/win:1", index([member]))
    store = ImageStore(str(path))
    pull(store, sources, "registry.example/win:1", platforms=platforms)
    assert not blob_path(path, windows.digest).exists()
    assert one(store, "registry.example/win:1")["complete"]
    blob_path(path, BASE.digest).unlink()
    assert not one(store, "registry.example/win:1")["complete"]


# -- stores of other tools


def rewrite(path, change):
    """Change index.json as another tool would."""
    document = json.loads((path / "index.json").read_bytes())
    change(document["manifests"])
    (path / "index.json").write_text(json.dumps(document, indent=2))


def call(path, name, new):
    """Rename an entry and remove our annotations."""

    def change(entries):
        for entry in entries:
            if entry["annotations"]["org.opencontainers.image.ref.name"] == name:
                entry["annotations"] = {"org.opencontainers.image.ref.name": new} if new else {}

    rewrite(path, change)


def test_index_without_our_annotation_is_listed_as_far_as_it_is_stored(path, sources):
    """S027: other tools do not say which platforms they left out on purpose."""
    store = ImageStore(str(path))
    pull(store, sources, APP, platforms=[ARM64])
    call(path, APP, APP)
    entry = one(store, APP)
    assert (entry["platform"], entry["platforms"], entry["complete"]) == (ARM64, [ARM64], True)


def test_F12_unnamed_entry_is_listed_by_its_digest(path, store):
    call(path, APP, None)
    assert {entry["name"] for entry in info(store)["images"]} == {TOOL, FAMILY.digest}
    assert {entry["name"] for entry in info(store, FAMILY.digest)["images"]} == {FAMILY.digest}


@pytest.mark.parametrize("name", ["latest", "1.0 (final)", "App"])
def test_F12_name_of_another_tool_is_found_by_text_and_by_digest(path, store, name):
    call(path, TOOL, name)
    for text in (name, TOOL_IMAGE.digest):
        assert [entry["name"] for entry in info(store, text)["images"]] == [name]


def test_F12_several_entries_with_one_tag_are_listed_with_their_digests(path, store):
    for item in (FAMILY, TOOL_IMAGE):
        put(path, item, "latest")
    labels = {f"latest@{item.digest}" for item in (FAMILY, TOOL_IMAGE)}
    assert labels <= {entry["name"] for entry in info(store)["images"]}
    assert info(store, "latest")["missing"] == ["docker.io/library/latest:latest"]
    for label in labels:
        assert {entry["name"] for entry in info(store, label)["images"]} == {label}


@pytest.mark.parametrize("name", ["latest", "1.0 (final)", "App", "a+b", "app", "../../x"])
def test_names_that_are_not_references_are_listed_literally(path, store, name):
    """skopeo and buildah name an image as the user likes."""
    call(path, TOOL, name)
    entry = next(entry for entry in info(store)["images"] if entry["name"] == name)
    assert entry["complete"]
    assert (entry["inspect"]["RepoTags"], entry["inspect"]["RepoDigests"]) == ([name], [])


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        pytest.param(b"<xml/>", "application/xml", id="no manifest"),
        pytest.param(b"{}", "application/vnd.oci.image.manifest.v1+json", id="M001 empty object"),
        pytest.param(b'{"schemaVersion":1}', "application/json", id="M007 schema 1"),
    ],
)
def test_name_of_other_content_hides_no_image(path, store, data, media_type):
    other = blob(data, media_type)
    store.write(other, [data])
    named = {"annotations": {"org.opencontainers.image.ref.name": "registry.example/odd:1"}}
    rewrite(path, lambda entries: entries.append({**other.as_json(), **named}))
    complete = {entry["name"]: entry["complete"] for entry in info(store)["images"]}
    assert complete == {APP: True, TOOL: True, "registry.example/odd:1": False}


def test_invalid_configuration_hides_no_other_image(path, store, sources):
    """M030"""
    odd = image([BASE], config={"os": 5})
    for digest, data in (*odd.blobs(), (odd.digest, odd.raw)):
        Path(store.blob_path(Digest.parse(digest))).write_bytes(data)
    named = {"annotations": {"org.opencontainers.image.ref.name": "registry.example/odd:1"}}
    rewrite(path, lambda entries: entries.append({**odd.descriptor(), **named}))
    complete = {entry["name"]: entry["complete"] for entry in info(store)["images"]}
    assert complete == {APP: True, TOOL: True, "registry.example/odd:1": False}


def test_attestations_in_a_foreign_layout_are_not_images(path, sources):
    """M022"""
    family = demo_image("proved", "1", layers=1, size=50, attestations=True)
    sources.publish("registry.example/proved:1", family)
    store = ImageStore(str(path))
    pull(store, sources, "registry.example/proved:1", platforms=[AMD64, ARM64])
    for member in family.images:
        for digest, data in (*member.blobs(), (member.digest, member.raw)):
            blob_path(path, digest).write_bytes(data)
    call(path, "registry.example/proved:1", "registry.example/proved:1")
    told = [entry["platform"] for entry in info(store)["images"]]
    assert told == [AMD64, ARM64]
