# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""zstd layers for Docker 20.10: sent without compression, or refused in one sentence."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import zstd
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker import DockerEngine
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import LoadOptions
from ansible_collections.lockstep.images.plugins.module_utils._engines.session import plan_load
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
)
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.fakedocker import fake_docker
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.loading import load

pytest.importorskip("zstandard")
BASE = layer({"base": b"base" * 500})
PACKED = layer({"app": b"app" * 9000}, compression="zstd")
ITEM, SECOND = image([BASE, PACKED]), image([PACKED])
NAME, OTHER = "registry.example.com/web:1", "registry.example.com/web:2"


@pytest.fixture(name="docker")
def fixture_docker(tmp_path):
    with fake_docker(tmp_path / "d") as docker:
        yield docker


def engine_of(docker):
    return DockerEngine(str(docker.path), 5.0, 5.0, lambda _digest: None)


def path_of(digest):
    return f"blobs/{digest.replace(':', '/')}"


def test_layer_arrives_under_its_diff_id(docker):
    engine = engine_of(docker)
    done = load(engine, [content_of(ITEM, NAME)], opener(ITEM))
    assert not done.failed and docker.names == {NAME: ITEM.config_digest}
    members = docker.loads[0]
    assert path_of(PACKED.diff_id) in members and path_of(PACKED.digest) not in members
    assert engine.stats["bytes_sent"] == done.announced
    plain = members[path_of(PACKED.diff_id)]
    assert plain > 27000 > len(PACKED.blob)
    assert done.ended[0].bytes_sent == len(BASE.blob) + plain


def test_layer_of_two_images_is_sent_once(docker):
    contents = [content_of(ITEM, NAME), content_of(SECOND, OTHER)]
    engine = engine_of(docker)
    engine.lanes = 1  # so that one archive has both images
    done = load(engine, contents, opener(ITEM))
    assert not done.failed and set(docker.names) == {NAME, OTHER}
    # Each image brings it, as it is on other layers in the second one. The archive has it once.
    assert [len(one.blobs) for one in done.ended] == [2, 1]
    assert engine.stats["bytes_sent"] == done.announced < 2 * 27000


def test_layer_that_the_engine_has_is_not_read(docker):
    load(engine_of(docker), [content_of(SECOND, OTHER)], opener(SECOND))
    done = load(engine_of(docker), [content_of(SECOND, NAME)], opener())
    assert done.statuses == ["tagged"]


def test_newer_docker_gets_the_layer_as_it_is(docker):
    docker.api = "1.42"
    engine = engine_of(docker)
    planned = plan_load(engine, content_of(ITEM, NAME), LoadOptions(), set(), None)
    assert planned.bytes_sent == len(BASE.blob) + len(PACKED.blob)


def test_without_a_library_the_image_is_refused_in_the_plan(docker, monkeypatch):
    monkeypatch.setattr(zstd, "_library", lambda: None)
    with pytest.raises(errors.UnsupportedLayerError) as info:
        load(engine_of(docker), [content_of(ITEM, NAME)], opener(ITEM))
    assert str(info.value) == (
        f"{NAME}: layer {PACKED.digest} is compressed with zstd, which this engine cannot read"
    )
    assert info.value.hint == (
        "Upgrade the engine, or install the Python library zstandard on the host."
    )
    assert info.value.kind == "layer-unsupported" and docker.loads == []


def test_layer_that_cannot_be_read_before_the_load_is_refused(docker):
    with pytest.raises(errors.UnsupportedLayerError) as info:
        plan_load(engine_of(docker), content_of(ITEM, NAME), LoadOptions(), set(), None)
    assert "decompressed only from a store" in str(info.value)
    assert "set source to store" in info.value.hint


def test_layer_that_is_not_what_the_configuration_says(docker):
    raw = json.loads(ITEM.config)
    raw["rootfs"]["diff_ids"][1] = BASE.diff_id
    wrong = image([BASE, PACKED], config={"rootfs": raw["rootfs"]})
    with pytest.raises(
        DigestMismatchError, match=f"layer {PACKED.digest}: without its compression"
    ):
        load(engine_of(docker), [content_of(wrong, NAME)], opener(wrong))
    assert docker.loads == []
