# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of tests as engines get them, without a store."""

from __future__ import annotations

import io
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._archive.image_archive import (
    ImageContent,
    OpenBlob,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
    ImageConfig,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference

from .images import Image, Index


def content_of(item: Image | Index, name: str, platform: str = "linux/amd64") -> ImageContent:
    """Return one image, or that of a platform of an index, under a name."""
    image = item.for_platform(platform) if isinstance(item, Index) else item
    chain = [image] if item is image else [image, item]
    manifests = [
        (
            Descriptor.from_json(one.descriptor(), name),
            Manifest.parse(one.raw, one.media_type, name),
        )
        for one in chain
    ]
    parsed = ImageConfig.parse(image.config, name)
    return ImageContent.of(Reference.parse(name), manifests, image.config, parsed)


def opener(*items: Image | Index) -> OpenBlob:
    """Return a function that opens the blobs of images; it raises FileNotFoundError for all others."""
    known = {digest: data for item in items for digest, data in item.blobs()}

    def open_blob(blob: Descriptor) -> t.ContextManager[t.BinaryIO]:
        try:
            return io.BytesIO(known[str(blob.digest)])
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None

    return open_blob
