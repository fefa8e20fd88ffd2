# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest that is in a store and cannot be read: what needs it is not complete, and nothing is garbage."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import CorruptStoreError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.info import plan_info
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.remove import (
    plan_remove,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.store_info import (
    plan_store_info,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.verify import plan_verify
from ansible_collections.lockstep.images.plugins.module_utils._store.source import StoreSource
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    blobs,
    carry_out,
    pull,
    put,
    rewrite,
)
from ansible_collections.lockstep.images.tests.support.syncing import lock_of, opened, sync

APP, TOOL = "registry.example/app:1", "registry.example/tool:1"
FAMILY = demo_image("app", "1", layers=2, size=300)
NESTED = index([FAMILY])
TOOL_IMAGE = demo_image("tool", "1", layers=1, size=300)
ARM = FAMILY.for_platform(ARM64)
DAMAGE = {
    "flipped": lambda raw: raw[:-1] + b"x",
    "cut": lambda raw: raw[:-9],
    "empty": lambda raw: b"",
}
WANTED = {"all": None, "both": [AMD64, ARM64]}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, FAMILY)
    sources.publish(TOOL, TOOL_IMAGE)
    return sources


def by_another_tool(path, _sources, item):
    put(path, item, APP)
    put(path, TOOL_IMAGE, TOOL)


def by_us(wanted):
    def fill(path, sources, item):
        sources.publish(APP, item)
        pull(ImageStore(str(path)), sources, APP, platforms=WANTED[wanted])
        pull(ImageStore(str(path)), sources, TOOL, platforms=None)

    return fill


FILLED = {"another-tool": by_another_tool, **{wanted: by_us(wanted) for wanted in WANTED}}


@pytest.fixture(name="store", params=[(f, h) for f in FILLED for h in DAMAGE], ids="-".join)
def fixture_store(request, path, sources):
    """A store in which the manifest for arm64 is damaged."""
    filled, how = request.param
    FILLED[filled](path, sources, NESTED if filled == "all" else FAMILY)
    damage(path, ARM.digest, how)
    return ImageStore(str(path))


def damage(path, digest, how):
    place = blob_path(path, digest)
    place.write_bytes(DAMAGE[how](place.read_bytes()))


def images(store, name):
    with store.hold():
        found = plan_info(store, None).facts["images"]
    return [one for one in found if one["name"] == name]


def test_F32_no_image_of_the_name_is_complete_and_the_platform_is_shown(store):
    found = images(store, APP)
    assert [one["complete"] for one in found] == [False, False]
    assert sorted(one["platform"] for one in found) == [AMD64, ARM64]
    assert all(one["complete"] for one in images(store, TOOL))


def test_F32_nothing_counts_as_reclaimable(store):
    with store.hold():
        facts = plan_store_info(store, layers=True).facts
    assert (facts["reclaimable"], facts["unreadable"]) == (0, [ARM.digest])


@pytest.mark.parametrize(
    "build",
    [
        lambda store: plan_prune(store, older_than=0, staging=True),
        lambda store: plan_remove(store, [TOOL], prune=True, keep_newest=0),
    ],
    ids=["prune", "remove"],
)
def test_F32_nothing_is_removed(path, store, build):
    before = blobs(path)
    with pytest.raises(CorruptStoreError, match=r"cannot|does not match"):
        carry_out(store, build, exclusive=True)
    assert blobs(path) == before


def test_F32_quick_mode_finds_it(path, store):
    held = opened(path)
    with held.hold():
        plan = plan_verify(held, mode="quick", workers=1)
    assert [one["digest"] for one in plan.facts["corrupt"]] == [ARM.digest]
    assert plan.facts["corrupt"][0]["names"] == [APP]


def test_F32_sync_fetches_it_again_and_keeps_its_content(path, store, sources):
    name = "registry.example/new:1"
    sources.publish(name, FAMILY)
    sync(path, lock_of(sources, name), sources, exclusive=False)
    assert {blob.digest for one in FAMILY.images for blob in one.layers} <= blobs(path)
    assert all(one["complete"] for one in images(store, name))


# -- sound, but of no kind that we know


def artifact(kind):
    """Return a manifest that refers to a layer in its own way."""
    part = layer({"part": kind.encode()})
    inner = image([part])
    if kind == "schema1":
        raw = {"schemaVersion": 1, "fsLayers": [{"blobSum": part.digest}]}
    elif kind == "artifact":
        raw = {
            "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
            "blobs": [inner.descriptor()],
        }
    else:
        raw = {"schemaVersion": 2, "manifests": [inner.descriptor()], "layers": []}
    return json.dumps(raw).encode(), inner, part


TYPES = {
    "schema1": "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "artifact": "application/vnd.oci.artifact.manifest.v1+json",
    "both": "application/vnd.oci.image.index.v1+json",
}


@pytest.mark.parametrize("kind", TYPES)
def test_F32_content_in_a_manifest_of_unknown_kind_is_not_garbage(path, sources, kind):
    by_another_tool(path, sources, FAMILY)
    raw, inner, part = artifact(kind)
    put(path, inner)
    digest = Digest.of(raw)
    blob_path(path, str(digest)).write_bytes(raw)
    entry = Descriptor(TYPES[kind], digest, len(raw)).as_json()
    rewrite(path, lambda entries: entries.__setitem__(-1, entry))
    store = ImageStore(str(path))
    outcome = carry_out(
        store, lambda held: plan_prune(held, older_than=0, staging=True), exclusive=True
    )
    assert part.digest in blobs(path)
    removed = {one["digest"] for one in outcome.plan.facts["removed"]}
    assert removed == ({inner.digest, inner.config_digest} if kind == "schema1" else set())
    with store.hold():
        assert plan_store_info(store, layers=False).facts["reclaimable"] == 0


def test_F32_omitted_referrers_of_a_store_are_reported(path):
    signature = image(
        [layer({"s": b"s"})], artifactType="application/x", subject=FAMILY.descriptor()
    )
    name = f"registry.example/app@{signature.digest}"
    put(path, FAMILY, APP)
    put(path, signature, name)
    damage(path, signature.digest, "flipped")
    store = ImageStore(str(path))
    source = StoreSource(store, store.names(), Reference.parse(APP), lambda *_args: False)
    with pytest.raises(CorruptStoreError, match="cannot be read"):
        source.referrers(Digest.parse(FAMILY.digest))
