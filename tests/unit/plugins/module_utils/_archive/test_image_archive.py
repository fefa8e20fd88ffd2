# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in one archive: the same bytes everywhere, and what other tools read in it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.image_archive import (
    Entry,
    image_archive,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.images import image, index, layer
from ansible_collections.lockstep.images.tests.support.stores import umask

from .test_archive import Sink

# Uncompressed, so that no library decides over the bytes.
BASE, APP, NEW = (layer({name: name.encode()}, compression=None) for name in ("base", "app", "new"))
FIRST, SECOND = image([BASE, APP]), image([BASE, NEW])
MULTI = index([FIRST, image([NEW], "linux/arm64")])
WEB, NEXT = "registry.example.com/web:1", "registry.example.com/web:2"


def written(archive):
    sink = Sink()
    archive.write_to(sink)
    assert len(sink.data) == archive.size
    return sink.data


def whole(item, *names):
    content = content_of(item, names[0])
    return Entry(content, names, content.manifest.layers)


def archive_of(*entries):
    return image_archive(entries, opener(FIRST, SECOND))


def files_of(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}


def test_bytes_are_the_same_everywhere(monkeypatch):
    entries = [whole(FIRST, WEB), whole(SECOND, NEXT)]
    once = written(archive_of(*entries))
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with umask(0o077):
        assert written(archive_of(*entries)) == once
    monkeypatch.undo()
    time.tzset()
    expected = "eeb65cf039dbbafd78ae9a9b5b9a105e16328c6ff08c0393b1cbf41e7cc4c613"
    assert hashlib.sha256(once).hexdigest() == expected


def test_bytes_do_not_depend_on_the_order_of_keys():
    entry = whole(FIRST, WEB)
    turned = dict(reversed(entry.image.__dict__.items()))
    other = type(entry.image)(**turned)
    assert written(archive_of(entry._replace(image=other))) == written(archive_of(entry))


def test_files_come_before_layers_and_each_once():
    found = files_of(written(archive_of(whole(FIRST, WEB), whole(SECOND, NEXT))))
    names = list(found)
    assert names[:3] == ["index.json", "manifest.json", "oci-layout"]
    paths = [f"blobs/sha256/{one.digest[7:]}" for one in (BASE, APP, NEW)]
    assert names[-3:] == paths
    assert names[3:-3] == sorted(names[3:-3]) and len(set(names)) == len(names)
    for name, data in found.items():
        assert name[:6] != "blobs/" or name.endswith(hashlib.sha256(data).hexdigest())


def test_layout_names_what_the_name_points_at():
    found = files_of(written(archive_of(whole(MULTI, WEB, NEXT))))
    entries = json.loads(found["index.json"])["manifests"]
    assert [one["digest"] for one in entries] == [MULTI.digest, MULTI.digest]
    assert [one["annotations"] for one in entries] == [
        {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        for name in (WEB, NEXT)
    ]
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    # The manifest of the other platform is not there: the archive is sparse.
    assert f"blobs/sha256/{FIRST.digest[7:]}" in found
    assert f"blobs/sha256/{MULTI.images[1].digest[7:]}" not in found


def test_docker_archive_names_all_layers_even_those_that_are_left_out():
    entry = whole(FIRST, WEB, f"registry.example.com/web@{FIRST.digest}")
    left = entry._replace(blobs=entry.blobs[1:])
    found = files_of(written(archive_of(left)))
    assert json.loads(found["manifest.json"]) == [
        {
            "Config": f"blobs/sha256/{FIRST.config_digest[7:]}",
            "RepoTags": [WEB],
            "Layers": [f"blobs/sha256/{one.digest[7:]}" for one in (BASE, APP)],
        }
    ]
    assert f"blobs/sha256/{BASE.digest[7:]}" not in found


def test_archive_for_containerd_alone_has_no_docker_archive():
    found = files_of(written(image_archive([whole(FIRST, WEB)], opener(FIRST), docker=False)))
    assert "manifest.json" not in found


def test_digest_of_sha512_is_a_name_of_its_own():
    data = b"a layer"
    digest = Digest.of(data, "sha512")
    blob = Descriptor("application/vnd.oci.image.layer.v1.tar", digest, len(data))
    entry = whole(FIRST, WEB)._replace(blobs=(blob,))
    found = files_of(written(image_archive([entry], lambda _blob: io.BytesIO(data))))
    assert found[f"blobs/sha512/{digest.encoded}"] == data


def test_layer_without_its_compression_has_the_name_of_its_content():
    zstandard = pytest.importorskip("zstandard")
    packed = layer({"app": b"app" * 1000}, compression="zstd")
    plain = zstandard.ZstdDecompressor().decompress(packed.blob)
    item = image([BASE, packed])
    entry = whole(item, WEB)
    sent = Descriptor(
        "application/vnd.oci.image.layer.v1.tar", Digest.parse(packed.diff_id), len(plain)
    )
    entry.image.plain[Digest.parse(packed.digest)] = sent
    found = files_of(written(image_archive([entry], opener(item))))
    name = f"blobs/sha256/{packed.diff_id[7:]}"
    assert found[name] == plain and f"blobs/sha256/{packed.digest[7:]}" not in found
    assert json.loads(found["manifest.json"])[0]["Layers"][1] == name


def test_file_is_closed_after_it_was_sent(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(BASE.blob)
    opened = []

    def open_blob(_blob):
        opened.append(path.open("rb"))
        return opened[-1]

    entry = whole(FIRST, WEB)
    written(image_archive([entry._replace(blobs=entry.blobs[:1])], open_blob))
    assert [file.closed for file in opened] == [True]
    assert os.stat(path).st_size == len(BASE.blob)
