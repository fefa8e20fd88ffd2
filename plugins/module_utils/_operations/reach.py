# SPDX-License-Identifier: GPL-3.0-or-later
"""Which content names lead to, and which of it they need."""

from __future__ import annotations

import contextlib
import re
import typing as t
from dataclasses import dataclass, field

from .._image import errors
from .._image.manifest import Descriptor, Manifest
from .._image.names import ALL, Digest, Platform, choose
from .._image.walk import walk
from .._store.reader import IndexEntry, StoreReader

_DIGEST = re.compile("sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


@dataclass
class Reachable:
    """All content that is reachable from some names for their platforms, whether it is stored or not.

    ``corrupt`` maps stored manifests that cannot be read to the reason; what they refer to is unknown.
    ``mentioned`` are the digests in intact content of an unknown type, which may be needed.
    """

    sizes: dict[Digest, int] = field(default_factory=dict)
    images: dict[Digest, Manifest] = field(default_factory=dict)
    corrupt: dict[Digest, str] = field(default_factory=dict)
    mentioned: set[Digest] = field(default_factory=set)

    @property
    def needed(self) -> set[Digest]:
        """The digests that must stay. Complete only if no manifest is corrupt."""
        return self.mentioned.union(self.sizes)

    @classmethod
    def of(cls, store: StoreReader, names: t.Iterable[IndexEntry]) -> Reachable:
        """Follow manifests as far as the store has them, each once for the same platforms."""
        reach = cls()
        seen: dict[tuple[str, ...], set[Digest]] = {}

        def read(descriptor: Descriptor) -> Manifest | None:
            return reach._manifest(store, descriptor)

        for name in names:
            choose_children = _chooser(name.platforms, lambda _child: True)
            known = seen.setdefault(name.platforms, set())
            for descriptor, manifest, _depth in walk(
                name.target, read, choose_children, seen=known
            ):
                reach.sizes[descriptor.digest] = descriptor.size
                if manifest is None and descriptor.digest not in reach.corrupt:
                    reach._mention(store, descriptor.digest)
                for blob in manifest.blobs if manifest else ():
                    reach.sizes[blob.digest] = blob.size
                if manifest and not manifest.is_index:
                    reach.images[descriptor.digest] = manifest
        return reach

    def require_intact(self, path: str) -> None:
        """Raise CorruptStoreError if a manifest is unreadable: garbage cannot be distinguished from live content then."""
        for digest, reason in self.corrupt.items():
            raise errors.CorruptStoreError(
                f"{path}: the manifest {digest} {reason}, so what it needs is not known",
                "Repair it with lockstep.images.store_verify, or remove its names.",
                path=path,
            )

    def _mention(self, store: StoreReader, digest: Digest) -> None:
        """Note the digests in JSON, and in JSON that these lead to: schema 1, or a manifest of a later specification."""
        todo = [digest]
        while todo:
            raw = b""
            with contextlib.suppress(errors.LockstepError):
                raw = store.read(todo.pop())
            texts = _DIGEST.findall(raw.decode("latin-1")) if raw.lstrip()[:1] == b"{" else ()
            new = set(map(Digest.parse, texts)) - self.mentioned
            self.mentioned |= new
            todo += new

    def _manifest(self, store: StoreReader, descriptor: Descriptor) -> Manifest | None:
        try:
            return manifest_of(store, descriptor)
        except errors.DigestMismatchError:
            self.corrupt[descriptor.digest] = "does not match its digest"
        except errors.StoreAccessError as exc:
            self.corrupt[descriptor.digest] = f"cannot be read: {exc}"
        return None


def needed(
    store: StoreReader, points_at: IndexEntry, is_here: t.Callable[[Descriptor], bool] | None = None
) -> dict[Digest, Descriptor]:
    """Return the content that a name needs to be complete, as far as stored manifests list it; without foreign layers."""
    found: dict[Digest, Descriptor] = {}

    def read(descriptor: Descriptor) -> Manifest | None:
        with contextlib.suppress(errors.DigestMismatchError):
            return manifest_of(store, descriptor)
        return None

    choose_children = _chooser(points_at.platforms, is_here or store.has)
    for descriptor, manifest, _depth in walk(points_at.target, read, choose_children):
        found[descriptor.digest] = descriptor
        for blob in manifest.blobs if manifest else ():
            if not blob.is_foreign:
                found[blob.digest] = blob
    return found


def _chooser(
    platforms: t.Sequence[str], is_here: t.Callable[[Descriptor], bool]
) -> t.Callable[[Manifest], list[Descriptor]]:
    return lambda index: wanted_children(index, platforms, is_here)


def wanted_children(
    index: Manifest, platforms: t.Sequence[str], is_here: t.Callable[[Descriptor], bool]
) -> list[Descriptor]:
    """Return the needed entries of an index: the requested platforms, or the stored entries if another tool wrote it."""
    if ALL in platforms:
        return list(index.children)
    if not platforms:
        return [child for child in index.children if is_here(child)]
    found = []
    for platform in platforms:
        try:
            found.append(choose(Platform.parse(platform), index.children, ""))
        except errors.NoPlatformError:
            continue
    return found


def manifest_of(store: StoreReader, descriptor: Descriptor) -> Manifest | None:
    """Return a stored manifest, None for other content and for missing or invalid manifests.

    Raise DigestMismatchError or StoreAccessError.
    """
    if not (descriptor.is_index or descriptor.is_manifest):
        return None
    try:
        raw = store.read(descriptor.digest)
    except errors.NotFoundError:
        return None
    try:
        return Manifest.parse(raw, descriptor.media_type, f"{store.path}: {descriptor.digest}")
    except errors.ContentError:
        return None
