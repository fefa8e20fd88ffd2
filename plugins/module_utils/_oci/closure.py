# SPDX-License-Identifier: GPL-3.0-or-later
"""From a descriptor down to every byte an image needs.

"The manifest is there" never implies "its layers are there", so every question is asked of the whole closure.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import (
    Descriptor,
    media_type_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    ManifestError,
    SizeMismatchError,
    UnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.manifest import Manifest
from ansible_collections.lockstep.images.plugins.module_utils._oci.platforms import (
    Platform,
    choose,
)

_MAX_DEPTH = 8

ReadManifest = t.Callable[[Descriptor], Manifest]


@dataclass(frozen=True)
class Image:
    """One image manifest. ``wanted`` is the platform it was chosen for, None where there was no choice."""

    descriptor: Descriptor
    manifest: Manifest
    wanted: Platform | None = None

    @property
    def size(self) -> int:
        """Bytes of manifest, config and layers, each digest once."""
        sizes = {blob.digest: blob.size for blob in self.manifest.blobs}
        return self.descriptor.size + sum(sizes.values())


@dataclass(frozen=True)
class Closure:
    """All that a name needs: ``manifests`` children first, each once, and the ``images`` among them."""

    manifests: tuple[tuple[Descriptor, Manifest], ...]
    images: tuple[Image, ...]

    @property
    def blobs(self) -> list[Descriptor]:
        """Configs and layers of all images, each digest once."""
        found = {blob.digest: blob for image in self.images for blob in image.manifest.blobs}
        return list(found.values())


def walk(
    root: Descriptor, platforms: t.Sequence[Platform], read: ReadManifest, subject: str
) -> Closure:
    """The closure of ``root``: of an index, the one image for each platform; of an image, itself.

    ``read`` gives verified manifests. Raises NoPlatformError, ManifestError, UnsupportedError or SizeMismatchError.
    """
    top = read(root)
    if not top.is_index:
        return Closure(((root, top),), (Image(root, top),))
    manifests: dict[Digest, tuple[Descriptor, Manifest]] = {}
    images = []
    for platform in platforms:
        path, image = _descend(root, top, platform, read, subject)
        images.append(image)
        for descriptor, manifest in path:
            # Out and in again: an index that two platforms share comes after the children of both.
            known = manifests.pop(descriptor.digest, (descriptor, manifest))
            manifests[descriptor.digest] = known
            if known[0].size != descriptor.size:
                raise ManifestError(f"{subject}: {descriptor.digest} is listed with two sizes")
    manifests[root.digest] = (root, top)
    return Closure(tuple(manifests.values()), tuple(images))


def _descend(
    root: Descriptor, top: Manifest, platform: Platform, read: ReadManifest, subject: str
) -> tuple[list[tuple[Descriptor, Manifest]], Image]:
    """Follow one platform down through an index, and through indexes in it; the path comes deepest first."""
    path: list[tuple[Descriptor, Manifest]] = []
    current = top
    for _level in range(_MAX_DEPTH):
        chosen = choose(platform, current.children, subject)
        if not (chosen.is_index or chosen.is_manifest):
            raise UnsupportedError(
                f"{subject}: the entry for {platform} has the media type {media_type_of(chosen.media_type)},"
                " which is no image manifest or index"
            )
        manifest = read(chosen)
        if len(manifest.raw) != chosen.size:
            raise SizeMismatchError(
                f"{subject}: {chosen.digest} has {len(manifest.raw)} bytes, its index promised {chosen.size}"
            )
        path.insert(0, (chosen, manifest))
        if not manifest.is_index:
            return path, Image(chosen, manifest, platform)
        current = manifest
    raise ManifestError(f"{subject}: indexes are nested deeper than {_MAX_DEPTH} levels")
