# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller has for its hosts: the images in its store, and messages with the blobs that a host lacks."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.graph import closure_of
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock, LockedImage
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Digest,
    Reference,
    platforms_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.find import (
    find_name,
    not_in_store,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.files import (
    PIECE,
    READ_ONLY,
    access,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.plugins.module_utils._store.receive import END, MAGIC

_HINT = "Pull it into this store first, for every platform that hosts need."
Spans = t.Sequence[tuple[int, int]]


@dataclass
class Outbox:
    """The store of the controller, and the manifests and configurations that hosts get with a task, by digest."""

    store: StoreReader
    fetches_foreign: bool
    content: dict[str, str] = field(default_factory=dict)

    def add_locked(
        self, images: t.Iterable[LockedImage], lock: Lock, platforms: t.Sequence[str]
    ) -> None:
        """Add images of a lock for some platforms (none: all locked ones); raise NotInStoreError if one is incomplete."""
        for image in images:
            asked = platforms or sorted(image.platforms)
            image.require_platforms(asked)
            self._add(image.name, image.digest, image.media_type, asked, lock.manifests)

    def pin(self, reference: Reference, platforms: t.Sequence[str]) -> Reference:
        """Add an image that the store names, and return the reference with its digest; raise NotInStoreError.

        Without ``platforms`` these are the ones that the store has.
        """
        names = self.store.names()
        name = find_name(reference, names)
        if name is None:
            raise not_in_store(self.store, str(reference))
        target = names[name].target
        asked = platforms or names[name].platforms
        self._add(str(reference), target.digest, target.media_type, asked, {})
        return Reference(reference.registry, reference.repository, reference.tag, target.digest)

    def _add(
        self,
        name: str,
        digest: Digest,
        media_type: str,
        platforms: t.Sequence[str],
        embedded: t.Mapping[Digest, bytes],
    ) -> None:
        def read(descriptor: Descriptor) -> Manifest:
            return self._manifest(name, descriptor, embedded)

        root = Descriptor(media_type, digest, 0)
        root = Descriptor(media_type, digest, len(read(root).raw))
        asked = platforms_of(platforms) if platforms else None
        closure = closure_of(root, asked, read, name)
        for descriptor, manifest in closure.manifests:
            self._embed(descriptor.digest, manifest.raw)
        for blob in closure.blobs:
            if not self.store.has(blob) and not (blob.is_foreign and not self.fetches_foreign):
                raise self._missing(name, blob.digest)
        for image in closure.images:
            config = image.manifest.config
            if config and config.is_image_config:
                self._embed(config.digest, self._read(name, config.digest))

    def _manifest(
        self, name: str, descriptor: Descriptor, embedded: t.Mapping[Digest, bytes]
    ) -> Manifest:
        digest = descriptor.digest
        raw = embedded.get(digest) or self._read(name, digest)
        return Manifest.parse(raw, descriptor.media_type, f"{name}: {digest}")

    def _read(self, name: str, digest: Digest) -> bytes:
        try:
            return self.store.read(digest)
        except errors.NotFoundError:
            raise self._missing(name, digest) from None

    def _missing(self, name: str, digest: Digest) -> errors.NotInStoreError:
        text = f"{name}: {self.store.path} on the controller does not hold {digest} of it"
        return errors.NotInStoreError(text, _HINT)

    def _embed(self, digest: Digest, raw: bytes) -> None:
        self.content[str(digest)] = raw.decode("utf-8", "surrogateescape")

    def require(self, blobs: t.Iterable[Descriptor]) -> None:
        """Raise NotInStoreError unless the store has all these blobs."""
        for blob in blobs:
            if not self.store.has(blob):
                raise errors.NotInStoreError(
                    f"{self.store.path} on the controller does not hold {blob.digest}", _HINT
                )

    def require_intact(self, blobs: t.Iterable[Descriptor]) -> None:
        """Raise DigestMismatchError, which names the file, if one of these blobs is corrupt."""
        for blob in blobs:
            path = self.store.blob_path(blob.digest)
            if not _is_intact(path, blob):
                raise errors.DigestMismatchError(
                    f"{path} on the controller does not match its name",
                    "Repair the store of the controller with lockstep.images.store_verify.",
                    path=path,
                )


def _is_intact(path: str, blob: Descriptor) -> bool:
    from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import verified
    from ansible_collections.lockstep.images.plugins.module_utils._store.files import read_chunks

    try:
        for _chunk in verified(read_chunks(path), blob):
            pass
    except errors.ContentError:
        return False
    return True


class Part(t.NamedTuple):
    """A span of a blob that a host lacks."""

    blob: Descriptor
    first: int
    end: int


def parts_of(blobs: t.Iterable[Descriptor], staged: t.Mapping[Digest, Spans]) -> list[Part]:
    """Return what is missing of blobs of which a host has spans already, the smallest blobs first."""
    found = []
    for blob in sorted(blobs, key=lambda one: (one.size, str(one.digest))):
        start = 0
        for first, end in [*staged.get(blob.digest, ()), (blob.size, blob.size)]:
            if start < first:
                found.append(Part(blob, start, first))
            start = end
    return found


def batches(parts: t.Sequence[Part], limit: int) -> t.Iterator[list[Part]]:
    """Yield the parts in lists of at most ``limit`` bytes; a part can be divided."""
    batch: list[Part] = []
    room = limit
    for part in parts:
        first = part.first
        while first < part.end:
            end = min(part.end, first + room)
            batch.append(Part(part.blob, first, end))
            room -= end - first
            first = end
            if not room:
                yield batch
                batch, room = [], limit
    if batch:
        yield batch


def message(do: str, store: str | None, blobs: t.Sequence[Descriptor], **more: t.Any) -> bytes:
    """Return the request of a message, as ``_store/receive.py`` describes it."""
    pairs = [[str(blob.digest), blob.size] for blob in blobs]
    return MAGIC + json.dumps({"do": do, "store": store, "blobs": pairs, **more}).encode() + b"\n"


def message_with(
    origin: StoreReader, store: str | None, parts: t.Sequence[Part]
) -> t.Iterator[bytes]:
    """Yield a message with the bytes of parts, which are read from the store of the controller.

    Raise StoreAccessError if a file cannot be read, or became shorter.
    """
    blobs = list({part.blob.digest: part.blob for part in parts}.values())
    number_of = {blob.digest: number for number, blob in enumerate(blobs)}
    yield message("take", store, blobs)
    for part in parts:
        path, at = origin.blob_path(part.blob.digest), part.first
        with access(path), open(os.open(path, READ_ONLY), "rb", buffering=0) as file:
            file.seek(at)
            while at < part.end:
                chunk = file.read(min(PIECE, part.end - at))
                if not chunk:
                    raise errors.StoreAccessError(f"{path}: became shorter", path=path)
                yield b"%d %d %d\n" % (number_of[part.blob.digest], at, len(chunk))
                yield chunk
                at += len(chunk)
    yield END
