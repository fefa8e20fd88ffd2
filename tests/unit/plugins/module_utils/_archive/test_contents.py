# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of an archive: those of an image layout, and those of a docker-archive."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import contents
from ansible_collections.lockstep.images.plugins.module_utils._archive.contents import ImageArchive
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.tests.support import tarballs as tar
from ansible_collections.lockstep.images.tests.support.archives import (
    NAME,
    docker_archive,
    json_entry,
    oci_archive,
)
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.malformed import (
    APP,
    CONTENTS,
    GZIP,
    IMAGE,
    index,
)


def read(path, data, ask=lambda archive: archive.images):
    (path / "a.tar").write_bytes(data)
    with open_media(str(path / "a.tar")) as media:
        return ask(ImageArchive(media))


@pytest.mark.parametrize(
    ("notes", "label", "name"),
    [
        ({NAME: APP}, APP, APP),
        ({NAME: APP, "org.opencontainers.image.ref.name": "1"}, APP, APP),
        ({"org.opencontainers.image.ref.name": APP}, APP, APP),
        ({"org.opencontainers.image.ref.name": "latest"}, "latest", None),
        ({"org.opencontainers.image.ref.name": "Not/Valid"}, "Not/Valid", None),
        ({}, IMAGE.digest, None),
    ],
)
def test_name_is_that_of_the_annotations(tmp_path, notes, label, name):
    entry = {**IMAGE.descriptor(), "annotations": notes}
    data = tar.archive(json_entry("index.json", {"schemaVersion": 2, "manifests": [entry]}))
    (found,) = read(tmp_path, data)
    assert (found.label, found.reference and found.reference.store_name) == (label, name)
    assert (str(found.root.digest), found.is_made) == (IMAGE.digest, False)


def test_docker_archive_gets_the_same_manifest_each_time(tmp_path):
    first, second = (read(tmp_path, docker_archive(["app:1", "app:2"], IMAGE)) for _n in "12")
    assert first == second
    assert [one.reference.store_name for one in first] == [APP, "docker.io/library/app:2"]
    assert {one.is_made for one in first} == {True}
    raw = read(
        tmp_path,
        docker_archive(["app:1"], IMAGE),
        lambda archive: archive.read(archive.images[0].root.digest, ""),
    )
    assert json.loads(raw) == IMAGE.view


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layer_of_a_docker_archive_keeps_its_bytes(tmp_path, compression):
    pytest.importorskip("zstandard")
    item = image([layer({"a": b"1"}, compression)])
    raw = read(
        tmp_path,
        docker_archive(["app:1"], item),
        lambda archive: archive.read(archive.images[0].root.digest, ""),
    )
    assert json.loads(raw) == item.view


def test_archive_of_crane_is_read(tmp_path):
    """It names the configuration by its digest, and the layers by that of their compressed bytes."""
    config = digest_of(GZIP.config)
    layers = {f"{one.digest[7:]}.tar.gz": one.blob for one in GZIP.layers}
    entry = {"Config": config, "RepoTags": [APP], "Layers": [*layers]}
    data = tar.archive(
        tar.entry(config, GZIP.config),
        *(tar.entry(*pair) for pair in layers.items()),
        json_entry("manifest.json", [entry]),
    )
    (found,) = read(tmp_path, data)
    assert (str(found.root.digest), found.label) == (GZIP.digest, APP)


@pytest.mark.parametrize("case", CONTENTS)
def test_malformed_contents_are_refused(tmp_path, case):
    data, kind, reason = CONTENTS[case]
    with pytest.raises(LockstepError, match=reason) as caught:
        read(tmp_path, data)
    assert (caught.value.kind, str(tmp_path) in str(caught.value)) == (kind, True)


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"Layers": []}, "archive-malformed", "lists 0 layers, its configuration 2 diff ids"),
        ({"Layers": ["a", "b"]}, "archive-truncated", 'has no "a"'),
        ({"Config": f"{digest_of(IMAGE.layers[0].blob)[7:]}/layer.tar"}, "archive-malformed", ""),
    ],
)
def test_malformed_docker_archive_is_refused(tmp_path, changes, kind, reason):
    with pytest.raises(LockstepError, match=reason or "JSON|UTF-8") as caught:
        read(tmp_path, docker_archive(["app:1"], IMAGE, **changes))
    assert caught.value.kind == kind


@pytest.mark.parametrize("magic", [b"BZh9", b"\xfd7zXZ\0"])
def test_compression_that_no_store_knows_is_unsupported(tmp_path, magic):
    path = f"{'1' * 64}/layer.tar"
    config = json.loads(IMAGE.config)
    config["rootfs"]["diff_ids"] = [IMAGE.digest]
    raw = json.dumps(config).encode()
    entries = [
        tar.entry(path, magic + bytes(100)),
        tar.entry(f"{digest_of(raw)[7:]}.json", raw),
        json_entry("manifest.json", [{"Config": f"{digest_of(raw)[7:]}.json", "Layers": [path]}]),
    ]
    with pytest.raises(LockstepError, match="is compressed with") as caught:
        read(tmp_path, tar.archive(*entries))
    assert caught.value.kind == "archive-unsupported"


def test_content_is_verified_and_bounded(tmp_path):
    wrong = tar.entry(f"blobs/sha256/{'0' * 64}", b"x")
    large = tar.entry(f"blobs/sha256/{'1' * 64}", bytes(5 * 1024 * 1024))

    def ask(archive):
        for digest, text in zip(sorted(archive.blobs), ("is not sha256:0", "is larger than")):
            with pytest.raises(LockstepError, match=text):
                archive.read(digest, APP)
        return archive.has(next(iter(archive.blobs)))

    assert read(tmp_path, tar.archive(index(IMAGE.descriptor()), wrong, large), ask)


def test_content_that_is_left_out_is_named(tmp_path):
    data = oci_archive({APP: IMAGE}, without=[IMAGE.digest])

    def ask(archive):
        with pytest.raises(LockstepError, match=f"{APP}: leaves out {IMAGE.digest}") as caught:
            archive.read(archive.images[0].root.digest, APP)
        return caught.value

    error = read(tmp_path, data, ask)
    assert (error.kind, error.details["digests"]) == ("archive-incomplete", [IMAGE.digest])


@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_size_of_json_is_limited(tmp_path, monkeypatch, name):
    monkeypatch.setattr(contents, "_MAX_JSON", 10)
    with pytest.raises(LockstepError, match=f"{name} is larger than 10 B") as caught:
        read(tmp_path, tar.archive(tar.entry(name, b"[" * 11)))
    assert caught.value.kind == "archive-malformed"
