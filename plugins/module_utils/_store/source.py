# SPDX-License-Identifier: GPL-3.0-or-later
"""A store as a source."""

from __future__ import annotations

import contextlib
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Reference
from .files import read_chunks
from .store import ImageStore, IndexEntry

_HINT = "Pull it first, with platform=all if all platforms of it are wanted."


class StoreSource:
    """The names of one repository in a store, and all its content; ``pause`` is that of where it goes."""

    def __init__(
        self,
        store: ImageStore,
        names: t.Mapping[str, IndexEntry],
        reference: Reference,
        pause: t.Callable[..., bool],
    ) -> None:
        self._store = store
        self._names = names
        self._reference = reference
        self.backoff = pause

    def __str__(self) -> str:
        return self._store.path

    def resolve(self, tag: str) -> Digest:
        name = self._reference.with_tag(tag).store_name
        found = self._names.get(name)
        if found is None:
            raise errors.NotInStoreError(f"{self._store.path} does not hold {name}", _HINT)
        return found.target.digest

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        digest = identifier if isinstance(identifier, Digest) else self.resolve(identifier)
        manifest = self._store.manifest(digest)
        if manifest is None:
            raise errors.NotInStoreError(
                f"{self._reference}: {self._store.path} does not hold {digest} of it", _HINT
            )
        return Descriptor(manifest.media_type, digest, len(manifest.raw)), manifest

    def read_blob(
        self,
        descriptor: Descriptor,
        first: int = 0,
        end: int | None = None,
        patient: bool = True,
    ) -> tuple[tuple[int, int], t.Generator[bytes, None, None]]:
        self.require(descriptor)
        stop = descriptor.size if end is None else end
        return (first, stop), _up_to(
            read_chunks(self._store.blob_path(descriptor.digest), first), stop - first
        )

    def require(self, descriptor: Descriptor) -> None:
        """Or NotInStoreError, if a blob is not there."""
        if not self._store.has(descriptor):
            raise errors.NotInStoreError(
                f"{self._reference}: {self._store.path} does not hold {descriptor.digest} of it",
                _HINT,
            )

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return False

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        return False

    def giver(self, descriptor: Descriptor) -> str:
        return self._store.path

    def tags(self) -> list[str]:
        prefix = f"{self._reference.name}:"
        return sorted(name[len(prefix) :] for name in self._names if name.startswith(prefix))

    def referrers(self, digest: Digest) -> list[Descriptor]:
        """Manifests of the repository that have it as subject, among names by digest."""
        found = []
        for name, held in self._names.items():
            if name.startswith(f"{self._reference.name}@"):
                manifest = self._store.manifest(held.target.digest, held.target.media_type)
                if manifest is None:
                    raise errors.CorruptStoreError(
                        f"{name}: its manifest cannot be read, so what it refers to is not known",
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
