# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers as blobs."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import sys
import zlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import zstd
from ansible_collections.lockstep.images.plugins.module_utils._build import compress
from ansible_collections.lockstep.images.plugins.module_utils._build.compress import (
    compressed,
    compressor_of,
    convert_type,
    diff_id_of,
    joined,
    measured,
    media_type_of_layer,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DependencyError,
    InputError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

SIZES = [0, 1, 65534, 65535, 65536, 131070, 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1000, 65535, 100_000])
def test_stored_blocks_depend_on_the_bytes_alone(size, step):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    pieces = [data[at : at + step] for at in range(0, size, step)]
    found = b"".join(compressed(pieces, "stored"))
    assert found == b"".join(compressed([data], "stored"))
    assert gzip.decompress(found) == data
    # RFC 1952: the header and the trailer; RFC 1951, 3.2.4: five bytes for each block.
    assert len(found) == 10 + size + 5 * max(1, -(-size // 65535)) + 8


def test_stored_bytes_are_those_of_the_specification():
    found = b"".join(compressed([b"abc"], "stored"))
    assert found.hex() == "1f8b08000000000000ff" + "01" + "0300fcff" + "616263" + "c2412435" + "03000000"


def test_gzip_is_read_by_zlib():
    found = b"".join(compressed([b"a" * 1000], "gzip"))
    assert zlib.decompress(found, 31) == b"a" * 1000
    assert compressor_of("gzip").startswith("zlib ")
    assert compressor_of("stored") == ""


def test_zstd_without_a_library_is_an_error(monkeypatch):
    monkeypatch.setattr(compress, "zstd_library", lambda: None)
    assert compressor_of("zstd") == ""
    with pytest.raises(DependencyError):
        compressed([b""], "zstd")


LIBRARIES = ("compression.zstd", "backports.zstd", "zstandard")


@pytest.mark.parametrize("library", LIBRARIES)
def test_zstd_of_a_real_library_is_read_again_and_depends_on_the_bytes_alone(library, monkeypatch):
    pytest.importorskip(library)
    for other in LIBRARIES:
        if other != library:
            monkeypatch.setitem(sys.modules, other, None)
    data = b"".join(hashlib.sha256(b"%d" % number).digest()[:9] * 5 for number in range(20_000))
    found = {
        b"".join(compressed([data[at : at + step] for at in range(0, len(data), step)], "zstd"))
        for step in (997, 65_536, 400_000, len(data))
    }
    (blob,) = found
    assert len(blob) < len(data) // 2
    assert re.fullmatch(r"zstd 1\.[0-9]+\.[0-9]+", compressor_of("zstd"))
    layer = measured([data], "zstd", "oci")[1]
    assert layer == Descriptor(layer.media_type, Digest.of(blob), len(blob))
    with zstd.decompressed(layer, io.BytesIO(blob)) as file:
        assert b"".join(iter(lambda: file.read(10_000), b"")) == data


def test_archive_is_measured():
    diff_id, blob = measured([b"a", b"b"], "none", "docker")
    assert str(diff_id) == str(blob.digest) == f"sha256:{hashlib.sha256(b'ab').hexdigest()}"
    assert (blob.size, blob.media_type) == (2, "application/vnd.docker.image.rootfs.diff.tar")
    assert diff_id_of([b"a", b"b"]) == diff_id == measured([b"ab"], "stored", "oci")[0]


def test_small_pieces_are_joined():
    assert [len(one) for one in joined([b"x" * 1000] * 600)] == [263_000, 263_000, 74_000]


def test_format_without_a_media_type_is_an_error():
    with pytest.raises(InputError):
        media_type_of_layer("zstd", "docker")


@pytest.mark.parametrize(
    ("media_type", "form", "expected"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "oci", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("application/vnd.oci.image.layer.v1.tar", "docker", "application/vnd.docker.image.rootfs.diff.tar"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "oci", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("application/x", "docker", "application/x"),
    ],
)  # fmt: skip
def test_media_type_of_a_base_is_converted(media_type, form, expected):
    assert convert_type(media_type, form) == expected
