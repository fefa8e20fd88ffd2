# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lock says of an image, beside what the image is."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    Closure,
    Descriptor,
    Image,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.lock import (
    LockedImage,
    LockedPlatform,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    ALL,
)


def platforms_found(
    asked: t.Sequence[str], closure: Closure, images: t.Sequence[Image]
) -> dict[str, LockedPlatform]:
    """The image of each platform asked for, as a lock keeps it."""
    root, top = closure.manifests[-1]
    if top.is_index and ALL in asked:
        parts = [*(descriptor for descriptor, _manifest in closure.manifests), *closure.blobs]
        return {ALL: LockedPlatform(root.digest, None, sum(part.size for part in parts))}
    if top.is_index:
        return {str(image.wanted): _locked(image) for image in images}
    return {platform: _locked(images[0]) for platform in asked}


def compare(
    locked: LockedImage,
    asked: t.Sequence[str],
    root: Descriptor,
    closure: Closure,
    images: t.Sequence[Image],
) -> None:
    """Or LockError, if a digest leads to something else than is locked."""
    for platform, found in platforms_found(asked, closure, images).items():
        locked.compare(platform, found, root.media_type)


def _locked(image: Image) -> LockedPlatform:
    config = image.manifest.config
    return LockedPlatform(image.descriptor.digest, config.digest if config else None, image.size)
