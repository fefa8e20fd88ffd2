# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image builder: same arguments, same bytes; documents that hold together."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest
from ansible_collections.lockstep.images.tests.support.bodies import as_body, digest_of
from ansible_collections.lockstep.images.tests.support.faults import Filler
from ansible_collections.lockstep.images.tests.support.images import (
    attestation,
    demo_image,
    image,
    index,
    layer,
)


def sha256(data: bytes) -> str:
    """Return the digest of ``data``, without the code under test."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_layer_is_a_tar_archive_with_fixed_times():
    made = layer({"b": b"2", "a/": b"", "a/c": b"1"})
    tar = gzip.decompress(made.blob)
    assert (sha256(made.blob), sha256(tar)) == (made.digest, made.diff_id)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.getnames() == ["a", "a/c", "b"]
        assert len({member.mtime for member in archive}) == 1
        assert archive.extractfile("b").read() == b"2"
        assert archive.getmember("a").isdir()
    assert layer({"b": b"2", "a/": b"", "a/c": b"1"}) == made


def test_layer_can_be_uncompressed():
    made = layer({"a": b"x"}, compression=None)
    assert made.digest == made.diff_id == sha256(made.blob)
    assert made.media_type.endswith(".tar")


@pytest.mark.parametrize("docker", [False, True])
def test_an_image_describes_its_content(docker):
    layers = [layer({"a": b"x"}), layer({"b": b"y"}, compression=None)]
    made = image(layers, "linux/arm/v7", {"author": "me"}, docker=docker, annotations={"k": "v"})
    assert made.digest == sha256(made.raw)
    view, config = made.view, json.loads(made.config)
    assert view["mediaType"] == made.media_type
    assert view["config"]["digest"] == sha256(made.config) == made.config_digest
    assert [one["digest"] for one in view["layers"]] == [one.digest for one in layers]
    assert [one["size"] for one in view["layers"]] == [len(one.blob) for one in layers]
    assert all(("docker" in one["mediaType"]) == docker for one in view["layers"])
    assert config["rootfs"]["diff_ids"] == [one.diff_id for one in layers]
    assert (config["architecture"], config["variant"]) == ("arm", "v7")
    assert (config["author"], len(config["history"])) == ("me", 2)
    assert view["annotations"] == {"k": "v"}
    assert made.size == len(made.raw) + len(made.config) + sum(len(one.blob) for one in layers)


def test_fields_of_a_manifest_can_be_overridden():
    made = image([], mediaType=None, artifactType="x/y", schemaVersion=3)
    assert "mediaType" not in made.view
    assert (made.view["artifactType"], made.view["schemaVersion"]) == ("x/y", 3)
    assert "history" not in json.loads(image([], history=False).config)
    assert "mediaType" not in index([made], mediaType=None).view


def test_an_index_lists_platforms_and_attestations():
    members = [image([], platform) for platform in ("linux/amd64", "linux/arm64/v8")]
    family = index(members, attestations=True, annotations={"k": "v"})
    entries = family.view["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == [
        "amd64", "arm64", "unknown", "unknown",
    ]  # fmt: skip
    assert entries[2]["annotations"]["vnd.docker.reference.digest"] == members[0].digest
    assert family.images[2] == attestation(members[0])
    assert family.for_platform("linux/arm64/v8") is members[1]
    with pytest.raises(KeyError):
        family.for_platform("linux/386")
    assert [digest for digest, *_dummy in family.manifests()][-1] == family.digest
    assert index([family]).view["manifests"][0]["digest"] == family.digest


def test_another_version_has_one_other_layer():
    one, other = demo_image("app", "1.0"), demo_image("app", "1.1")
    assert one == demo_image("app", "1.0")
    assert len(one.images) == 2
    for old, new in zip(one.images, other.images):
        assert [a == b for a, b in zip(old.layers, new.layers)] == [True, True, False]
    assert len({part.digest for made in one.images for part in made.layers}) == 6
    made = demo_image("app", "1.0", ("linux/386",), layers=1, size=100000, docker=True)
    assert len(made.images[0].layers) == 1
    assert len(made.images[0].layers[0].blob) > 100000
    assert "docker" in made.media_type


def test_every_kind_of_body_has_size_digest_and_ranges(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 20000)
    filler = Filler(200000, b"0123456789")
    for body in (as_body(path), as_body(path.read_bytes()), filler):
        assert body.size == 200000
        assert digest_of(body) == sha256(path.read_bytes())
        assert b"".join(body.chunks(65533, 131079)) == path.read_bytes()[65533:131079]
    assert b"".join(Filler(7, b"ab", b"{{{").chunks(2)) == b"{abab"
    assert b"".join(as_body({"a": 1}).chunks()) == b'{"a": 1}'
    assert as_body("ü").size == 2
