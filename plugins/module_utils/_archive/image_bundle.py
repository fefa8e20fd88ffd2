# SPDX-License-Identifier: GPL-3.0-or-later
"""Any number of images in one archive, with a lock file, and without the content that its target has."""

from __future__ import annotations

import typing as t

from .._image.manifest import Descriptor
from .._image.names import Digest
from .archive import (
    DOCKER,
    IMAGE_NAME,
    INDEX,
    LAYOUT,
    LOCK,
    PLATFORMS,
    REF_NAME,
    Archive,
    Member,
    as_json,
)
from .image_archive import VERSION, OpenBlob, blob_name, index_of

OCI, BOTH = "oci", "both"


class BundledImage(t.NamedTuple):
    """An image in a bundle.

    ``manifests`` are its manifests and configurations, ``blobs`` all other content. ``runnable`` is the configuration of
    the only image that Docker can run under this name, with its layers; None if there is none, or more than one.
    """

    name: str
    root: Descriptor
    platforms: tuple[str, ...]
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    runnable: tuple[Descriptor, tuple[Descriptor, ...]] | None


def image_bundle(
    images: t.Sequence[BundledImage],
    lock: t.Any,
    open_blob: OpenBlob,
    form: str = BOTH,
    without: t.Container[Digest] = (),
) -> Archive:
    """Return the archive of ``images``, in the order of their names, with the value of a lock file.

    ``form`` is ``oci``, ``docker`` or ``both``. The blobs in ``without`` are left out.
    """
    ordered = sorted(images, key=lambda one: one.name)
    heads: dict[str, t.Any] = {LOCK: lock}
    if form in (OCI, BOTH):
        heads.update({INDEX: index_of([_entry(one) for one in ordered]), LAYOUT: VERSION})
    if form != OCI:
        heads[DOCKER] = [_docker_entry(one) for one in ordered if one.runnable]
    small = {blob.digest: blob for one in ordered for blob in one.manifests}
    large = {blob.digest: blob for one in ordered for blob in one.blobs}
    contents = [small[digest] for digest in sorted(small)]
    contents += [
        blob for digest, blob in large.items() if digest not in without and digest not in small
    ]
    return Archive(
        (
            *(Member.of(name, as_json(heads[name])) for name in sorted(heads)),
            *(_member(blob, open_blob) for blob in contents),
        )
    )


def _member(blob: Descriptor, open_blob: OpenBlob) -> Member:
    return Member(blob_name(blob.digest), blob.size, lambda: open_blob(blob))


def _entry(image: BundledImage) -> dict[str, t.Any]:
    annotations = {IMAGE_NAME: image.name, REF_NAME: image.name}
    if image.platforms:
        annotations[PLATFORMS] = ",".join(sorted(image.platforms))
    return dict(image.root.as_json(), annotations=annotations)


def _docker_entry(image: BundledImage) -> dict[str, t.Any]:
    config, layers = t.cast(t.Any, image.runnable)
    return {
        "Config": blob_name(config.digest),
        "RepoTags": [] if "@" in image.name else [image.name],
        "Layers": [blob_name(layer.digest) for layer in layers],
    }
