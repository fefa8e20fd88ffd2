# SPDX-License-Identifier: GPL-3.0-or-later
"""Which content names lead to, and which of it they need."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    ContentError,
    NoPlatformError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    ALL,
    Digest,
    Platform,
    choose,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import (
    ImageStore,
    Name,
)

_MAX_DEPTH = 8


@dataclass
class Reach:
    """Everything behind some descriptors: all that is named, whether it is here or not."""

    sizes: dict[Digest, int] = field(default_factory=dict)
    images: dict[Digest, Manifest] = field(default_factory=dict)

    @classmethod
    def of(cls, store: ImageStore, roots: t.Iterable[Descriptor]) -> Reach:
        """Follow manifests as far as the store has them, each once."""
        reach = cls()
        todo = list(roots)
        while todo:
            descriptor = todo.pop()
            if descriptor.digest in reach.sizes:
                continue
            reach.sizes[descriptor.digest] = descriptor.size
            manifest = manifest_of(store, descriptor)
            if manifest is None:
                continue
            todo += manifest.children
            reach.sizes.update((blob.digest, blob.size) for blob in manifest.blobs)
            if not manifest.is_index:
                reach.images[descriptor.digest] = manifest
        return reach


def needed(store: ImageStore, points_at: Name) -> dict[Digest, Descriptor]:
    """All that a name needs to be whole, as far as what is here tells; foreign layers are nobody's need."""
    found: dict[Digest, Descriptor] = {}
    _add(store, points_at.target, points_at.platforms, found, 0)
    return found


def _add(
    store: ImageStore,
    descriptor: Descriptor,
    platforms: t.Sequence[str],
    found: dict[Digest, Descriptor],
    depth: int,
) -> None:
    found[descriptor.digest] = descriptor
    manifest = manifest_of(store, descriptor)
    if manifest is None or depth > _MAX_DEPTH:
        return
    found.update((blob.digest, blob) for blob in manifest.blobs if not blob.is_foreign)
    for child in wanted_children(store, manifest, platforms):
        if child.digest not in found:
            _add(store, child, platforms, found, depth + 1)


def wanted_children(
    store: ImageStore, index: Manifest, platforms: t.Sequence[str]
) -> list[Descriptor]:
    """The entries of an index that are needed: those asked for, or, if another tool wrote it, those that are here."""
    if ALL in platforms:
        return list(index.children)
    if not platforms:
        return [child for child in index.children if store.has(child)]
    found = []
    for platform in platforms:
        try:
            found.append(choose(Platform.parse(platform), index.children, ""))
        except NoPlatformError:
            continue
    return found


def manifest_of(store: ImageStore, descriptor: Descriptor) -> Manifest | None:
    """A manifest that is here; what is none leads nowhere: whatever else may be named is kept as it is."""
    try:
        known = descriptor.is_index or descriptor.is_manifest
        return store.manifest(descriptor.digest, descriptor.media_type) if known else None
    except ContentError:
        return None
