# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the images of a load come from: what registries show of images that an engine has, and how much is sent at once."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    NotFoundError,
    NotInStoreError,
    UnreachableError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Manifest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.load_origins import (
    Origin,
    RegistryOrigin,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources, blob
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.plans import fetch_options
from ansible_collections.lockstep.images.tests.support.stores import pull

APP = Reference.parse("registry.example/app:1")
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
FAMILY = demo_image("app", "1", layers=2)
MIB = 1024 * 1024


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(str(APP), FAMILY)
    return sources


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    return ImageStore(str(tmp_path / "store"))


@pytest.fixture(name="origin")
def fixture_origin(store, sources):
    return RegistryOrigin(store, sources, fetch_options({"workers": 2}))


def digests_of(item):
    return [Digest.parse(digest) for digest, _type, _raw in item.manifests()]


def known(origin, item):
    return [origin.read_manifest(digest) is not None for digest in digests_of(item)]


def test_manifests_of_the_platform_become_known(origin, sources):
    origin.learn(APP, Digest.parse(FAMILY.digest), AMD64)
    assert known(origin, FAMILY) == [True, False, True]
    asked = [what for verb, what in sources.reads if verb == "manifest"]
    assert asked == [FAMILY.digest, str(digests_of(FAMILY)[0])]


def test_image_without_an_index_becomes_known(origin, sources):
    item = image([layer({"file": b"x"})])
    sources.publish(str(APP), item)
    origin.learn(APP, Digest.parse(item.digest), ARM64)
    assert known(origin, item) == [True]


@pytest.mark.parametrize("error", [NotFoundError("gone"), UnreachableError("no answer")])
def test_image_that_the_registry_does_not_give_stays_unknown(origin, sources, error):
    sources[APP.name].script("manifest", FAMILY.digest, error)
    origin.learn(APP, Digest.parse(FAMILY.digest), AMD64)
    assert known(origin, FAMILY) == [False, False, False]


def test_manifests_of_the_store_are_known_without_a_registry(origin, store, sources):
    pull(store, sources, str(APP))
    sources.forget()
    assert isinstance(origin.read_manifest(Digest.parse(FAMILY.digest)), Manifest)
    assert sources.reads == []


def load_of(*sizes):
    blobs = [
        dataclasses.replace(blob(b"%d" % number), size=size) for number, size in enumerate(sizes)
    ]
    content = SimpleNamespace(reference=APP, manifest=SimpleNamespace(layers=blobs))
    return SimpleNamespace(name=str(APP), image=content, blobs=blobs, bytes_sent=sum(sizes))


@pytest.mark.parametrize(
    ("sizes", "batch"),
    [([], 0), ([10], 0), ([50 * MIB], 2 * MIB), ([2000 * MIB, 3000 * MIB], 64 * MIB)],
)
def test_batch_is_a_small_part_of_all_and_limited(origin, monkeypatch, sizes, batch):
    monkeypatch.setattr(ImageStore, "require_space", lambda *_arguments: None)
    origin.plan([load_of(*sizes)])
    assert origin.batch == batch


def test_store_sends_without_a_limit_and_has_what_it_lists(store, sources):
    pull(store, sources, str(APP))
    origin = Origin(store)
    assert (origin.batch, origin.has_news, list(origin.warnings)) == (None, False, [])
    with pytest.raises(NotInStoreError, match="does not hold sha256"):
        origin.require(load_of(7))
    with pytest.raises(NotInStoreError, match="does not hold sha256"):
        origin.open(load_of(7).blobs[0])
