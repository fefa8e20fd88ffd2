# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small manifests and indexes, as bytes, of which tests build graphs."""

from __future__ import annotations

import json

from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Platform

NAME = "registry.example/app:1"  # of the image, in errors
ARM, AMD = Platform.parse("linux/arm64"), Platform.parse("linux/amd64")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def json_of(content: bytes, media_type: str, platform: Platform | None = None, **fields) -> dict:
    value = {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}
    if platform:
        value["platform"] = {"os": platform.os, "architecture": platform.architecture}
    return {**value, **fields}


def image(text: str, *layers: str) -> bytes:
    """An image manifest with a configuration and layers that hold these texts."""
    config = json_of(text.encode(), OCI_CONFIG)
    entries = [json_of(layer.encode(), LAYER) for layer in layers]
    return json.dumps({"schemaVersion": 2, "config": config, "layers": entries}).encode()


def index(*entries: dict) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def root_of(raw: bytes, media_type: str = OCI_INDEX) -> Descriptor:
    return Descriptor(media_type, Digest.of(raw), len(raw))
