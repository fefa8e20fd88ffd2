# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers in zstd: what is one, its size without compression, and damage."""

from __future__ import annotations

import io
import sys
import types

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import zstd
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

OCI = "application/vnd.oci.image.layer.v1.tar"
PLAIN = bytes(range(256)) * 5000


class Reversed:
    """A library for a compression that turns bytes around, with the interface of Python 3.14."""

    class ZstdError(Exception):
        pass

    class ZstdFile(io.BytesIO):
        def __init__(self, file):
            super().__init__(file.read()[::-1])

        def read(self, size=-1):
            if self.getvalue()[:4] == b"evil":
                raise Reversed.ZstdError("bad magic")
            return super().read(size)

        def fileno(self):
            raise AssertionError("the file below is not the content")


@pytest.fixture(name="library")
def fixture_library(monkeypatch):
    """Install the library as one that Python has, as a backport, or not at all."""

    def install(name):
        for module in (
            "compression",
            "compression.zstd",
            "backports",
            "backports.zstd",
            "zstandard",
        ):
            monkeypatch.setitem(sys.modules, module, None)
        if name:
            package = types.ModuleType(name)
            package.zstd = Reversed
            monkeypatch.setitem(sys.modules, name, package)

    return install


def blob_of(data, media_type=f"{OCI}+zstd"):
    return Descriptor(media_type, Digest.of(data), len(data))


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (f"{OCI}+zstd", True),
        (f"{OCI}+ZSTD; x=y", True),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", True),
        (f"{OCI}+gzip", False),
        (OCI, False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False),
    ],
)
def test_media_type_says_what_is_zstd(media_type, expected):
    assert zstd.is_zstd(blob_of(b"", media_type)) is expected


@pytest.mark.parametrize("name", ["compression", "backports"])
def test_size_is_measured_with_any_library(library, name):
    library(name)
    data = PLAIN[::-1]
    assert zstd.is_available()
    assert zstd.measure(blob_of(data), Digest.of(PLAIN), io.BytesIO(data)) == len(PLAIN)


def test_no_library(library):
    library(None)
    assert not zstd.is_available()
    with pytest.raises(errors.DependencyError) as info:
        zstd.measure(blob_of(b""), Digest.of(b""), io.BytesIO())
    assert info.value.details["library"] == "zstandard"


def test_other_content_than_the_configuration_says(library):
    library("backports")
    with pytest.raises(
        errors.DigestMismatchError, match="without its compression it is not sha256:"
    ):
        zstd.measure(blob_of(b"x"), Digest.of(b"y"), io.BytesIO(b"x"))


def test_damaged_layer_is_named(library):
    library("backports")
    data = b"damaged-live"
    with pytest.raises(errors.DigestMismatchError, match="is not complete zstd: bad magic") as info:
        zstd.measure(blob_of(data), Digest.of(b"y"), io.BytesIO(b"live"[::1]))
    assert str(info.value).startswith("layer sha256:")


def test_file_below_is_closed_and_never_given_away(library):
    library("compression")
    below = io.BytesIO(PLAIN)
    with zstd.decompressed(blob_of(PLAIN), below) as file:
        assert not hasattr(file, "fileno")
        assert file.read(3) == PLAIN[::-1][:3]
    assert below.closed


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_real_frames(cut):
    zstandard = pytest.importorskip("zstandard")
    pack = zstandard.ZstdCompressor().compress
    data = pack(PLAIN[:1000]) + pack(PLAIN[1000:])
    blob, digest = blob_of(data), Digest.of(PLAIN)
    if not cut:
        assert zstd.measure(blob, digest, io.BytesIO(data)) == len(PLAIN)
        return
    with pytest.raises(errors.DigestMismatchError):
        zstd.measure(blob, digest, io.BytesIO(data[:-cut]))
