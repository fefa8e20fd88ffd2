# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack archives that a test has made, without a store."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.compression import (
    compression_of,
    decompressed,
    undecompressed,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import (
    LayerSource,
    Limits,
    UnpackedLayer,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.lower import Lower
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.marks import OverlayMarks
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.merge import merge
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import (
    CALLER,
    KEEP,
    TreeOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.removal import DIRECTORY

IS_ROOT = os.geteuid() == 0
OPAQUE = OverlayMarks(IS_ROOT).attribute
OPTIONS = TreeOptions(KEEP if IS_ROOT else CALLER)
LIMITS = Limits(1 << 30, 100_000)
TAR = "application/vnd.oci.image.layer.v1.tar"
GZIP = f"{TAR}+gzip"


def source_of(tar: bytes, media_type: str = TAR, diff_id: str = "") -> LayerSource:
    """Return a layer with this archive."""
    blob = gzip.compress(tar, 1, mtime=0) if media_type == GZIP else tar
    return source_of_blob(blob, media_type, diff_id or str(Digest.of(tar)))


def source_of_blob(blob: bytes, media_type: str, diff_id: str) -> LayerSource:
    """Return a layer with these bytes."""
    descriptor = Descriptor(media_type, Digest.of(blob), len(blob))
    pieces = decompressed if compression_of(descriptor) else undecompressed
    return LayerSource(descriptor, Digest.parse(diff_id), lambda: io.BytesIO(blob), pieces)


def open_new(path: Path) -> int:
    """Create a directory; return its descriptor."""
    path.mkdir(parents=True)
    return os.open(path, DIRECTORY)


def unpack(
    path: Path,
    *tars: bytes,
    options: TreeOptions = OPTIONS,
    limits: Limits = LIMITS,
    **how: Any,
) -> list[UnpackedLayer]:
    """Unpack layers as overlayfs reads them, into ``path/0`` and so on; return them closed."""
    below: list[int] = []
    done = []
    try:
        for number, tar in enumerate(tars):
            layer = UnpackedLayer(
                open_new(path / str(number)), source_of(tar, **how), options, limits
            )
            done.append(layer)
            layer.use_overlay()
            layer.fill()
            layer.complete(Lower(below, OPAQUE))
            below.insert(0, layer.root)
    finally:
        for layer in done:
            layer.close()
    return done


def unpack_tree(path: Path, *tars: bytes, options: TreeOptions = OPTIONS) -> Path:
    """Unpack layers into one tree; return its path."""
    root = open_new(path / "root")
    os.chmod(root, 0o755)
    try:
        for number, tar in enumerate(tars):
            layer = UnpackedLayer(
                open_new(path / f"layer-{number}"), source_of(tar), options, LIMITS
            )
            try:
                layer.fill()
                layer.complete(Lower([root] if number else [], None))
                merge(root, layer.root, layer.notes, options.keeps_owner)
            finally:
                layer.close()
            os.rmdir(path / f"layer-{number}")
    finally:
        os.close(root)
    return path / "root"
