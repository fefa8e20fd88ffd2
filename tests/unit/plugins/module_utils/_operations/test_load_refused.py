# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a store that no engine is given: each is refused in one sentence, the others are loaded, nothing else changes."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker import DockerEngine
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import LoadOptions
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ReferenceError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.load import (
    LoadPlanner,
    requests_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.load_origins import Origin
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.fakedocker import fake_docker
from ansible_collections.lockstep.images.tests.support.images import image, index, layer, to_json
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.plans import execute, fetch_options
from ansible_collections.lockstep.images.tests.support.stores import put, whole_tree

GOOD, BAD = "registry.example.com/shop/good:1", "registry.example.com/shop/bad:1"
APP, OTHER = layer({"app": b"app"}), layer({"other": b"other"})
FOREIGN = layer(
    {"w": b"w"}, media_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
)


def refused(tmp_path, item, lose=()):
    """Load a good image and another one; return the error of that, after a look at the engine and the store."""
    path = tmp_path / "store"
    put(path, image([OTHER]), GOOD)
    put(path, item, BAD)
    for digest in lose:
        blob_path(path, digest).unlink()
    before = whole_tree(path)
    store = ImageStore(str(path), 1.0)
    with fake_docker(tmp_path / "d") as docker, store.hold():
        engine = DockerEngine(str(docker.path), 5.0, 5.0, store.manifest)
        planner = LoadPlanner(engine, Origin(store), LoadOptions(), fetch_options({}))
        references = [Reference.parse(one) for one in (BAD, GOOD)]
        requests = requests_of(references, None, Platform.parse("linux/amd64"))
        outcome = execute(planner.plan(requests))
        assert list(docker.names) == [GOOD]
    assert {key: value for key, value in whole_tree(path).items() if ".staging" not in key} == {
        key: value for key, value in before.items() if ".staging" not in key
    }
    error = outcome.failures[BAD]
    return error.kind, error.full_message()


def test_platform_that_is_not_in_the_index(tmp_path):
    item = index([image([APP], "linux/arm64"), image([APP], "linux/riscv64")])
    kind, text = refused(tmp_path, item)
    assert kind == "platform-not-found" and BAD in text


def test_manifest_of_the_platform_that_is_not_in_the_store(tmp_path):
    wanted = image([APP])
    item = index([wanted, image([OTHER], "linux/arm64")])
    kind, text = refused(tmp_path, item, lose=[wanted.digest])
    assert kind == "not-in-store" and wanted.digest in text


def test_layer_that_is_not_in_the_store(tmp_path):
    kind, text = refused(tmp_path, image([APP]), lose=[APP.digest])
    assert kind == "not-in-store" and APP.digest in text
    assert text.endswith("Pull it first, for the platform that is loaded.")


def test_foreign_layer_that_is_not_in_the_store(tmp_path):
    kind, text = refused(tmp_path, image([FOREIGN]), lose=[FOREIGN.digest])
    assert kind == "not-in-store" and FOREIGN.digest in text


def test_configuration_for_another_platform(tmp_path):
    kind, text = refused(tmp_path, image([APP], "linux/arm64"))
    assert kind == "platform-not-found" and "linux/arm64" in text


def test_artifact(tmp_path):
    config = dict(image([APP]).view["config"], mediaType="application/vnd.example.config.v1+json")
    raw = to_json({**image([APP]).view, "config": config})
    item = dataclasses.replace(image([APP]), raw=raw, digest=digest_of(raw))
    kind, text = refused(tmp_path, item)
    assert kind == "unsupported-content"
    assert text.startswith(f"{BAD}: is an artifact, which no container engine can run")


def test_number_of_layers_that_is_not_that_of_the_configuration(tmp_path):
    item = image([APP], config={"rootfs": {"type": "layers", "diff_ids": []}})
    kind, text = refused(tmp_path, item)
    assert kind == "engine-unsupported" and text.startswith(f"{BAD}: its configuration lists 0")


@pytest.mark.parametrize(
    "name", ["registry.example.com/Shop/bad:1", "registry.example.com/shop/bad:"]
)
def test_name_that_docker_cannot_have(name):
    with pytest.raises(ReferenceError):
        Reference.parse(name)
