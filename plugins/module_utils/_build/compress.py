# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers as blobs: their archives with or without compression.

``stored`` is a gzip file whose blocks are not compressed (RFC 1952; RFC 1951, 3.2.4): its bytes are the same with every
library. What zlib or zstd writes depends on the library.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import typing as t
import zlib

from .._image.errors import DependencyError, InputError
from .._image.manifest import Descriptor
from .._image.names import Digest

STORED, NONE, GZIP, ZSTD = COMPRESSIONS = ("stored", "none", "gzip", "zstd")
OCI, DOCKER = "oci", "docker"
_TYPES = {
    OCI: {
        NONE: "application/vnd.oci.image.layer.v1.tar",
        GZIP: "application/vnd.oci.image.layer.v1.tar+gzip",
        ZSTD: "application/vnd.oci.image.layer.v1.tar+zstd",
    },
    DOCKER: {
        NONE: "application/vnd.docker.image.rootfs.diff.tar",
        GZIP: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    },
}
# No time, no name, and an unknown system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BLOCK = 65535  # bytes, the most that a stored block can have
_PIECE = 256 * 1024
_LEVEL = 6
Chunks = t.Iterator[bytes]


def media_type_of_layer(compression: str, form: str) -> str:
    """Return the media type of a layer; raise InputError if the format has none for the compression."""
    found = _TYPES[form].get(GZIP if compression == STORED else compression)
    if found is None:
        raise InputError(
            f"compression: {form} has no media type for layers with {compression}",
            "Set format to oci, or choose another compression.",
        )
    return found


def convert_type(media_type: str, form: str) -> str:
    """Return the media type that a layer of a base image has in another format; an unknown one stays as is."""
    pairs = [(OCI, DOCKER), (DOCKER, OCI)]
    for source, target in pairs:
        for compression, known in _TYPES[source].items():
            if known == media_type and form == target:
                return _TYPES[target].get(compression, media_type)
    return media_type


def joined(chunks: t.Iterable[bytes]) -> Chunks:
    """Yield the same bytes in pieces of about 256 KiB: an archive of small files has very small ones."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def compressed(chunks: t.Iterable[bytes], compression: str) -> Chunks:
    """Yield an archive as the blob of a layer; raise DependencyError if this Python cannot write zstd."""
    if compression == STORED:
        return _stored(chunks)
    if compression == GZIP:
        return _packed(chunks, zlib.compressobj(_LEVEL, zlib.DEFLATED, 31))
    if compression == ZSTD:
        return _packed(chunks, _zstd())
    return iter(chunks)


def _stored(chunks: t.Iterable[bytes]) -> Chunks:
    yield _HEADER
    checksum = size = 0
    waiting = b""
    for chunk in chunks:
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        waiting += chunk
        # The last block says that it is the last one, so a full one waits for the next byte.
        start = 0
        while len(waiting) - start > _BLOCK:
            yield b"\x00" + struct.pack("<HH", _BLOCK, 0)
            yield waiting[start : start + _BLOCK]
            start += _BLOCK
        waiting = waiting[start:]
    yield b"\x01" + struct.pack("<HH", len(waiting), len(waiting) ^ 0xFFFF)
    yield waiting
    yield struct.pack("<LL", checksum, size & 0xFFFFFFFF)


def _packed(chunks: t.Iterable[bytes], packer: t.Any) -> Chunks:
    for chunk in chunks:
        data = packer.compress(chunk)
        if data:
            yield data
    yield packer.flush()


def _zstd() -> t.Any:
    library = zstd_library()
    if library is None:
        raise DependencyError("no library for zstd", library="zstandard")
    return library[1]()


def zstd_library() -> tuple[str, t.Callable[[], t.Any]] | None:
    """Return the name of a library that writes zstd, and what makes a compressor; None if this Python has none."""
    with contextlib.suppress(ImportError):
        from compression import zstd  # Python 3.14

        return f"zstd {zstd.zstd_version}", zstd.ZstdCompressor
    with contextlib.suppress(ImportError):
        from backports import zstd

        return f"zstd {zstd.zstd_version}", zstd.ZstdCompressor
    with contextlib.suppress(ImportError):
        import zstandard

        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        return f"zstd {version}", lambda: zstandard.ZstdCompressor().compressobj()
    return None


def compressor_of(compression: str) -> str:
    """Return the library that the bytes of a layer depend on, "" for none."""
    if compression == GZIP:
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    library = zstd_library() if compression == ZSTD else None
    return library[0] if library else ""


class Hashed:
    """Chunks on their way; afterwards it knows their digest and size."""

    def __init__(self, chunks: t.Iterable[bytes]) -> None:
        self.size = 0
        self._chunks, self._hash = chunks, hashlib.sha256()

    def __iter__(self) -> Chunks:
        for chunk in self._chunks:
            self.size += len(chunk)
            self._hash.update(chunk)
            yield chunk

    @property
    def digest(self) -> Digest:
        """The digest of the chunks so far."""
        return Digest("sha256", self._hash.hexdigest())


def diff_id_of(chunks: t.Iterable[bytes]) -> Digest:
    """Return the digest of an archive."""
    hashed = Hashed(joined(chunks))
    for _chunk in hashed:
        pass
    return hashed.digest


def measured(chunks: t.Iterable[bytes], compression: str, form: str) -> tuple[Digest, Descriptor]:
    """Return the digest of an archive, and the descriptor of its layer; nothing is kept."""
    media_type = media_type_of_layer(compression, form)
    archive = Hashed(joined(chunks))
    blob = Hashed(compressed(archive, compression))
    for _chunk in blob:
        pass
    return archive.digest, Descriptor(media_type, blob.digest, blob.size)
