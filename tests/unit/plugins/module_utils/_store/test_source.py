# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store as a source: its names, its manifests and the bytes of its blobs."""

from __future__ import annotations

import random

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import NotInStoreError
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._store.source import StoreSource
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.stores import AMD64, pull

NAME = "registry.example/app"
BLOB = random.Random(3).randbytes(400_000)
ONE = image([layer({"file": BLOB}, compression=None)])
APP = demo_image("app", "1", size=300)
SIGNATURE = image([], subject=ONE.descriptor())
UNKNOWN = Digest.parse(f"sha256:{'0' * 64}")


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    """Return a store with two tags, one of them an incomplete index, and a signature."""
    sources, store = FakeSources(), ImageStore(str(tmp_path / "store"))
    for tag, item in (("1", ONE), ("2", APP)):
        sources.publish(f"{NAME}:{tag}", item)
    sources[NAME].publish(SIGNATURE)
    sources.publish("registry.example/application:9", APP)
    pull(store, sources, f"{NAME}:1", f"{NAME}:2", platforms=[AMD64], referrers=True)
    pull(store, sources, "registry.example/application:9", platforms=[AMD64])
    return StoreSource(store, store.names(), Reference.parse(f"{NAME}:1"), lambda *_args: True)


def descriptor(blob_layer):
    return Descriptor("", Digest.parse(blob_layer.digest), len(blob_layer.blob))


def test_tag_is_resolved_by_the_names_of_the_store(source):
    assert str(source.resolve("1")) == ONE.digest
    assert str(source.resolve("2")) == APP.digest
    with pytest.raises(NotInStoreError, match=r"does not hold registry.example/app:3"):
        source.resolve("3")


def test_tags_are_those_of_one_repository(source):
    assert source.tags() == ["1", "2"]


@pytest.mark.parametrize("identifier", ["1", Digest.parse(ONE.digest)], ids=str)
def test_a_manifest_is_read_by_tag_and_by_digest(source, identifier):
    found, manifest = source.read_manifest(identifier)
    assert (str(found.digest), found.size, found.media_type) == (
        ONE.digest,
        len(ONE.raw),
        ONE.media_type,
    )
    assert manifest.raw == ONE.raw


def test_missing_manifest_is_reported_with_a_hint(source):
    for digest in (UNKNOWN, Digest.parse(APP.images[1].digest)):
        with pytest.raises(NotInStoreError, match=str(digest)) as caught:
            source.read_manifest(digest)
        assert "platform=all" in caught.value.hint


SIZE = len(ONE.layers[0].blob)
SPANS = [None, (0, 1), (5, 10), (300_000, 400_000), (1, SIZE), (400_000, SIZE)]


@pytest.mark.parametrize("span", SPANS)
def test_requested_span_of_a_blob_is_read(source, span):
    served, chunks = source.read_blob(descriptor(ONE.layers[0]), span)
    first, end = span or (0, SIZE)
    assert served == (first, end)
    assert b"".join(chunks) == ONE.layers[0].blob[first:end]


def test_blob_that_is_missing_or_has_another_size_is_reported(source):
    part = descriptor(ONE.layers[0])
    wrong = Descriptor("", part.digest, part.size + 1)
    for one in (Descriptor("", UNKNOWN, 5), wrong, descriptor(APP.images[1].layers[0])):
        with pytest.raises(NotInStoreError, match=str(one.digest)):
            source.read_blob(one)


def test_referrers_are_those_that_the_store_holds(source):
    assert [str(one.digest) for one in source.referrers(Digest.parse(ONE.digest))] == [
        SIGNATURE.digest
    ]
    assert source.referrers(UNKNOWN) == []


def test_store_source_has_no_ranges_and_no_mirror(source):
    assert not source.has_ranges(descriptor(ONE.layers[0]))
    assert not source.report_corrupt(descriptor(ONE.layers[0]))
    assert source.backoff(1)
