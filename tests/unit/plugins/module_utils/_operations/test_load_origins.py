# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the images of a load come from: what registries show of images that an engine has, and how much is sent at once."""

from __future__ import annotations

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


def unknown(_digest, _media_type):
    return None


def test_manifests_of_the_platform_become_known(origin, sources):
    origin.learn(APP, Digest.parse(FAMILY.digest), AMD64, unknown)
    assert known(origin, FAMILY) == [True, False, True]
    asked = [what for verb, what in sources.reads if verb == "manifest"]
    assert asked == [FAMILY.digest, str(digests_of(FAMILY)[0])]


def test_manifests_that_are_at_hand_are_not_read(origin, sources):
    raws = {Digest.parse(digest): raw for digest, _type, raw in FAMILY.manifests()}

    def at_hand(digest, media_type):
        return Manifest.parse(raws[digest], media_type, str(digest))

    origin.learn(APP, Digest.parse(FAMILY.digest), AMD64, at_hand)
    assert known(origin, FAMILY) == [True, False, True]
    assert [what for verb, what in sources.reads if verb == "manifest"] == []


def test_image_without_an_index_becomes_known(origin, sources):
    item = image([layer({"file": b"x"})])
    sources.publish(str(APP), item)
    origin.learn(APP, Digest.parse(item.digest), ARM64, unknown)
    assert known(origin, item) == [True]


@pytest.mark.parametrize("error", [NotFoundError("gone"), UnreachableError("no answer")])
def test_image_that_the_registry_does_not_give_stays_unknown(origin, sources, error):
    sources[APP.name].script("manifest", FAMILY.digest, error)
    origin.learn(APP, Digest.parse(FAMILY.digest), AMD64, unknown)
    assert known(origin, FAMILY) == [False, False, False]


def test_manifests_of_the_store_are_known_without_a_registry(origin, store, sources):
    pull(store, sources, str(APP))
    sources.forget()
    assert isinstance(origin.read_manifest(Digest.parse(FAMILY.digest)), Manifest)
    assert sources.reads == []


@pytest.mark.parametrize(
    ("size", "lanes", "limit"),
    [
        (0, 1, 0),
        (80, 1, 20),
        (80, 2, 20),
        (5 * MIB, 1, MIB // 2),
        (50 * MIB, 1, 2 * MIB),
        (50 * MIB, 2, MIB),  # as much as before is on its way
        (5000 * MIB, 1, 64 * MIB),
    ],
)
def test_batch_of_a_registry_is_a_small_part_of_all(origin, size, lanes, limit):
    assert origin.limit(size, lanes) == limit


def test_batch_of_a_store_is_not_limited(store):
    assert Origin(store).limit(50 * MIB, 2) is None


def test_store_has_what_it_lists(store, sources):
    pull(store, sources, str(APP))
    origin = Origin(store)
    assert (origin.has_news, list(origin.warnings)) == (False, [])
    with pytest.raises(NotInStoreError, match="does not hold sha256"):
        origin.require(SimpleNamespace(image=SimpleNamespace(reference=APP), blobs=[blob(b"7")]))
    with pytest.raises(NotInStoreError, match="does not hold sha256"):
        origin.open(blob(b"7"))
