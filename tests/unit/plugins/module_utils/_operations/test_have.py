# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a target has, in all forms in which a user can say it."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.chain import chain_ids
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._operations.have import Have
from ansible_collections.lockstep.images.plugins.module_utils._operations.info import plan_info
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import put

NAME = "docker.io/library/app:1"
ITEM = demo_image("app", "1", size=20)
AMD64, ARM64 = (ITEM.for_platform(one) for one in ("linux/amd64", "linux/arm64"))


def layers(*images):
    return {one.digest for item in images for one in item.layers}


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    put(tmp_path / "store", ITEM, NAME)
    return StoreReader(str(tmp_path / "store"))


def held(store, value):
    have = Have(store)
    have.add(value)
    return {str(one) for one in have.digests} & layers(AMD64, ARM64)


def lock(**platforms):
    entry = {"name": NAME, "digest": ITEM.digest, "media_type": ITEM.media_type}
    return {"lockfile_version": 1, "images": [{**entry, "platforms": platforms}]}


def locked(item):
    return {"manifest": item.digest, "config": None, "size": 1}


LOCK = lock(**{"linux/amd64": locked(AMD64)})
ENGINE = {"engine": {"kind": "containerd"}}
FORMS = {
    "digest of a layer": (AMD64.layers[0].digest, {AMD64.layers[0].digest}),
    "digest of an image": (AMD64.digest, layers(AMD64)),
    "digest of an index": (ITEM.digest, set()),
    "list of digests": ([AMD64.digest, ARM64.digest], layers(AMD64, ARM64)),
    "list of files": (f"# holds {AMD64.layers[1].digest}\n", {AMD64.layers[1].digest}),
    "lock file": (LOCK, layers(AMD64)),
    "lock file for all": (lock(all=locked(ITEM)), layers(AMD64, ARM64)),
    "lock files": ([LOCK, lock(**{"linux/arm64": locked(ARM64)})], layers(AMD64, ARM64)),
    "engine by digest": (
        {**ENGINE, "images": [{"id": AMD64.digest, "complete": True, "layers": None}]},
        layers(AMD64),
    ),
    "engine, incomplete": ({**ENGINE, "images": [{"id": AMD64.digest, "complete": False}]}, set()),
    "engine, not said": ({**ENGINE, "images": [{"id": AMD64.digest, "complete": None}]}, set()),
    "empty list": ([], set()),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(store, form):
    value, expected = FORMS[form]
    assert held(store, value) == expected


def test_result_of_image_info_counts_if_the_image_is_complete(store):
    result = plan_info(store, None).facts
    assert held(store, result) == layers(AMD64, ARM64)
    for image in result["images"]:
        image["complete"] = image["platform"] == "linux/amd64"
    assert held(store, result) == layers(AMD64)


def diff_ids(*parts):
    return [Digest.parse(one.diff_id) for one in parts]


def test_layers_of_a_graph_driver_are_known_by_their_chain(store):
    have = Have(store)
    chains = chain_ids(diff_ids(*AMD64.layers))
    have.add({"engine": {}, "images": [{"layers": [str(chain) for chain in chains[:2]]}]})
    manifest = store.manifest(Digest.parse(AMD64.digest))
    have.learn(manifest.layers, diff_ids(*AMD64.layers))
    assert {str(one) for one in have.digests} == {one.digest for one in AMD64.layers[:2]}
    # On another base, the second layer is needed again.
    have.learn(manifest.layers[1:], diff_ids(*AMD64.layers[1:]))
    assert {str(one) for one in have.digests} == {AMD64.layers[0].digest}


@pytest.mark.parametrize(
    "value", ["", "site.lock.yml", {}, {"images": 1}, {"images": ["x"]}, 7, [7], True]
)
def test_value_that_says_nothing_is_refused(store, value):
    with pytest.raises(InputError, match="the option have: ") as caught:
        held(store, value)
    assert "Give a lock file" in caught.value.hint
