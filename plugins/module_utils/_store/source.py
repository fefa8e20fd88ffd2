# SPDX-License-Identifier: GPL-3.0-or-later
"""A store as a source of content."""

from __future__ import annotations

import contextlib
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Reference
from .._image.sources import Blob, ContentSource, Span
from .files import read_chunks
from .reader import IndexEntry, StoreReader

_HINT = "Pull it first, with platform=all to use every platform."


class StoreSource(ContentSource):
    """One repository of a store: its names, and the content of the whole store.

    ``names`` are those of the store. ``backoff`` is that of the destination: reading a store needs no retries, writing
    to a registry can. ``hint`` says how the store gets what it lacks.
    """

    def __init__(
        self,
        store: StoreReader,
        names: t.Mapping[str, IndexEntry],
        reference: Reference,
        backoff: t.Callable[..., bool],
        hint: str = _HINT,
    ) -> None:
        self._store = store
        self._names = names
        self._reference = reference
        self._backoff = backoff
        self._hint = hint

    def __str__(self) -> str:
        return self._store.path

    def resolve(self, tag: str) -> Digest:
        """Return the digest that the store has for a tag; raise NotInStoreError if it has none."""
        name = self._reference.with_tag(tag).store_name
        found = self._names.get(name)
        if found is None:
            raise errors.NotInStoreError(f"{self._store.path} does not hold {name}", self._hint)
        return found.target.digest

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """Return a manifest, verified; raise NotInStoreError if it is missing or corrupt."""
        digest = identifier if isinstance(identifier, Digest) else self.resolve(identifier)
        manifest = self._store.manifest(digest)
        if manifest is None:
            raise errors.NotInStoreError(
                f"{self._reference}: {self._store.path} does not hold {digest} of it", self._hint
            )
        return Descriptor(manifest.media_type, digest, len(manifest.raw)), manifest

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        """Return the requested span of a blob; raise NotInStoreError if the blob is missing."""
        self.require(descriptor)
        first, end = span or (0, descriptor.size)
        chunks = read_chunks(self._store.blob_path(descriptor.digest), first)
        return (first, end), _up_to(chunks, end - first)

    def require(self, descriptor: Descriptor) -> None:
        """Raise NotInStoreError unless the store has a blob in the size that the descriptor states."""
        if not self._store.has(descriptor):
            raise errors.NotInStoreError(
                f"{self._reference}: {self._store.path} does not hold {descriptor.digest} of it",
                self._hint,
            )

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        """Wait as the destination does."""
        return self._backoff(attempt, descriptor)

    def tags(self) -> list[str]:
        """Return the tags of the repository in the store, sorted."""
        prefix = f"{self._reference.name}:"
        return sorted(name[len(prefix) :] for name in self._names if name.startswith(prefix))

    def referrers(self, digest: Digest) -> list[Descriptor]:
        """Return the manifests with this subject among the names by digest.

        Raise CorruptStoreError if one of the manifests is unreadable.
        """
        found = []
        for name, held in self._names.items():
            if name.startswith(f"{self._reference.name}@"):
                manifest = self._store.manifest(held.target.digest, held.target.media_type)
                if manifest is None:
                    raise errors.CorruptStoreError(
                        f"{name}: its manifest cannot be read, so its subject is unknown",
                        "Repair it with lockstep.images.store_verify, or remove the name.",
                        path=self._store.path,
                    )
                if manifest.subject and manifest.subject.digest == digest:
                    found.append(held.target)
        return found


def _up_to(chunks: t.Generator[bytes, None, None], left: int) -> t.Generator[bytes, None, None]:
    with contextlib.closing(chunks):
        for chunk in chunks:
            if left <= 0:
                return
            yield chunk[:left]
            left -= len(chunk)
