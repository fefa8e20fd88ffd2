# SPDX-License-Identifier: GPL-3.0-or-later
"""Any number of images in one archive, with a lock file, and without the content that its target has."""

from __future__ import annotations

import functools
import gzip
import io
import typing as t
import zlib

from .._image.lock import VERSION as LOCK_VERSION
from .._image.lock import LockedImage
from .._image.manifest import Descriptor
from .._image.names import Digest
from .archive import (
    DOCKER,
    IMAGE_NAME,
    INDEX,
    LAYOUT,
    LOCK,
    PLATFORMS,
    REF_NAME,
    Archive,
    Member,
    Opened,
    as_json,
)
from .by_digest import ByDigest
from .image_archive import VERSION, blob_name, index_of

OCI, BOTH = "oci", "both"
_GZIP = zlib.MAX_WBITS + 16


class BundledImage(t.NamedTuple):
    """An image in a bundle.

    ``manifests`` are its manifests and configurations, ``blobs`` all other content. ``runnable`` is the configuration of
    the only image that Docker can run under this name, with its layers; None if there is none, or more than one.
    """

    name: str
    root: Descriptor
    platforms: tuple[str, ...]
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    runnable: tuple[Descriptor, tuple[Descriptor, ...]] | None


class ImageBundle:
    """The archive of images that are added one by one, in the order of their names.

    ``form`` is ``oci``, ``docker`` or ``both``. The blobs in ``without`` are left out. ``small`` has the sizes of all
    manifests and configurations, ``large`` those of all other content, also of what is left out. Of very many images,
    only this is kept, because an object for each descriptor and each member would need 7 KB for each image.
    """

    def __init__(self, form: str = BOTH, without: t.Container[Digest] = ()) -> None:
        self._without = without
        self._lock = _ListFile({"images": [], "lockfile_version": LOCK_VERSION})
        self._index = _ListFile(index_of([])) if form in (OCI, BOTH) else None
        self._docker = _ListFile([]) if form != OCI else None
        self.small: ByDigest[int] = ByDigest()
        self.large: ByDigest[int] = ByDigest()

    def add(self, image: BundledImage, locked: LockedImage) -> None:
        """Add an image, and its entry in the lock file."""
        self._lock.add(_lock_entry(locked))
        if self._index:
            self._index.add(_entry(image))
        if self._docker and image.runnable:
            self._docker.add(_docker_entry(image))
        for sizes, blobs in ((self.small, image.manifests), (self.large, image.blobs)):
            for blob in blobs:
                sizes[blob.digest] = blob.size

    def archive(self, open_blob: t.Callable[[Digest], Opened]) -> Archive:
        """Return the archive of the images, once all are added."""
        heads = {LOCK: self._lock.member(LOCK)}
        if self._index:
            heads[INDEX] = self._index.member(INDEX)
            heads[LAYOUT] = Member.of(LAYOUT, as_json(VERSION))
        if self._docker:
            heads[DOCKER] = self._docker.member(DOCKER)
        files = [heads[name] for name in sorted(heads)]
        return Archive(_Members(files, self, self._without, open_blob))


class _Members:
    """The members of an archive: some files, and then blobs, each of which becomes a member when it is its turn."""

    def __init__(
        self,
        files: t.Sequence[Member],
        bundle: ImageBundle,
        without: t.Container[Digest],
        open_blob: t.Callable[[Digest], Opened],
    ) -> None:
        self._files, self._bundle, self._without, self._open = files, bundle, without, open_blob

    def __iter__(self) -> t.Iterator[Member]:
        small, large = self._bundle.small, self._bundle.large
        yield from self._files
        for digest in small.ordered():
            yield self._member(digest, small[digest])
        for digest, size in large.items():
            if digest not in self._without and digest not in small:
                yield self._member(digest, size)

    def _member(self, digest: Digest, size: int) -> Member:
        return Member(blob_name(digest), size, functools.partial(self._open, digest))


class _ListFile:
    """A JSON file with one list, kept compressed: that of 10,000 images has 5 MB."""

    def __init__(self, empty: t.Any) -> None:
        before, self._after = as_json(empty).split(b"[]")
        self._compress = zlib.compressobj(wbits=_GZIP)
        self._data, self._size, self._comma = bytearray(), 0, b""
        self._write(before + b"[")

    def add(self, entry: t.Any) -> None:
        """Add an entry to the list."""
        self._write(self._comma + as_json(entry))
        self._comma = b","

    def member(self, name: str) -> Member:
        """Return the complete file."""
        self._write(b"]" + self._after)
        data, self._data = bytes(self._data + self._compress.flush()), bytearray()
        return Member(name, self._size, lambda: _opened(data))

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        self._data += self._compress.compress(data)


def _opened(compressed: bytes) -> Opened:
    return t.cast(Opened, gzip.GzipFile(fileobj=io.BytesIO(compressed)))


def _entry(image: BundledImage) -> dict[str, t.Any]:
    annotations = {IMAGE_NAME: image.name, REF_NAME: image.name}
    if image.platforms:
        annotations[PLATFORMS] = ",".join(sorted(image.platforms))
    return dict(image.root.as_json(), annotations=annotations)


def _docker_entry(image: BundledImage) -> dict[str, t.Any]:
    config, layers = t.cast(t.Any, image.runnable)
    return {
        "Config": blob_name(config.digest),
        "RepoTags": [] if "@" in image.name else [image.name],
        "Layers": [blob_name(layer.digest) for layer in layers],
    }


def _lock_entry(locked: LockedImage) -> dict[str, t.Any]:
    platforms = {
        key: {
            "manifest": str(one.manifest),
            "config": str(one.config) if one.config else None,
            "size": one.size,
        }
        for key, one in locked.platforms.items()
    }
    value = {
        "name": locked.name,
        "digest": str(locked.digest),
        "media_type": locked.media_type,
        "platforms": platforms,
    }
    return {**value, "verified": dict(locked.verified)} if locked.verified else value
