# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in one archive that is an OCI image layout and a docker-archive at once.

The layout (image-spec v1.1, image-layout.md) is what containerd, Docker's containerd image store and podman read, and
keeps digests. Docker's graph drivers read only ``manifest.json`` (moby, image/spec/v1.2). Both name the same
files below ``blobs``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._image.chain import chain_ids
from .._image.manifest import OCI_INDEX, Descriptor, ImageConfig, Manifest
from .._image.names import Digest, Reference
from .archive import (
    BLOBS,
    DOCKER,
    IMAGE_NAME,
    INDEX,
    LAYOUT,
    REF_NAME,
    Archive,
    Member,
    Opened,
    as_json,
)
from .zstd import decompressed

VERSION = {"imageLayoutVersion": "1.0.0"}  # of the image layout
OpenBlob = t.Callable[[Descriptor], Opened]


class Layer(t.NamedTuple):
    """A layer by its three identities: the blob, the uncompressed tar, and that with all layers below it."""

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest


@dataclass(frozen=True)
class ImageContent:
    """The image of one platform under one name.

    ``manifests`` leads from the image manifest, which is first, to what the name points at, which is last. ``config`` is
    the configuration, ``doubts`` are reasons why its platform could be wrong. ``plain`` are layers that an archive has
    without their compression, which is zstd: the tar archive in each, by the digest of the layer.
    """

    reference: Reference
    manifests: tuple[tuple[Descriptor, Manifest], ...]
    config: bytes
    diff_ids: tuple[Digest, ...]
    doubts: tuple[str, ...] = ()
    os: str = ""  # the operating system that the configuration states
    plain: t.Mapping[Digest, Descriptor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        reference: Reference,
        manifests: t.Sequence[tuple[Descriptor, Manifest]],
        config: bytes,
        parsed: ImageConfig,
        doubts: tuple[str, ...] = (),
    ) -> ImageContent:
        """Return the image with a configuration in both forms."""
        os = parsed.platform.os if parsed.platform else ""
        return cls(reference, tuple(manifests), config, parsed.diff_ids, doubts, os)

    @property
    def name(self) -> str:
        """The name, complete."""
        return self.reference.store_name

    @property
    def root(self) -> Descriptor:
        """What the name points at in its registry: an index or a manifest."""
        return self.manifests[-1][0]

    @property
    def manifest(self) -> Manifest:
        """The manifest of the image."""
        return self.manifests[0][1]

    @property
    def alone(self) -> ImageContent:
        """The image without an index that lists others too: without what an archive of one platform cannot keep."""
        count = 1
        for (child, _manifest), (_index, parent) in zip(self.manifests, self.manifests[1:]):
            if {one.digest for one in parent.children} != {child.digest}:
                return replace(self, manifests=self.manifests[:count])
            count += 1
        return self

    @property
    def config_blob(self) -> Descriptor:
        """The descriptor of the configuration."""
        return t.cast(Descriptor, self.manifest.config)

    def sent_as(self, blob: Descriptor) -> Descriptor:
        """Return what an archive has for a blob."""
        return self.plain.get(blob.digest, blob)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, from the base."""
        return tuple(map(Layer, self.manifest.layers, self.diff_ids, chain_ids(self.diff_ids)))


class Entry(t.NamedTuple):
    """An image in an archive: the names that it gets, and the blobs of it that the archive has."""

    image: ImageContent
    names: tuple[str, ...]
    blobs: tuple[Descriptor, ...] = ()
    manifests: bool = True  # whether the archive has the manifests and the configuration
    root: Descriptor | None = None  # what the names point at, by default the root of the image


def unopened(blob: Descriptor) -> t.NoReturn:
    """Be the ``OpenBlob`` of an archive that is only measured or compared, or that has no blobs."""
    raise AssertionError(f"{blob} was opened without need")


def blob_name(digest: Digest) -> str:
    """Return the name of a blob in an archive and in a layout."""
    return f"{BLOBS}{digest.algorithm}/{digest.encoded}"


def image_archive(
    entries: t.Sequence[Entry],
    open_blob: OpenBlob,
    docker: bool = True,
) -> Archive:
    """Return the archive of ``entries``; ``docker`` adds manifest.json.

    Small files come first, then the layers in the order of the images, each once.
    """
    small: dict[str, Member] = {}
    large: dict[str, Member] = {}
    for entry in entries:
        image = entry.image
        if entry.manifests:
            known = [(one.digest, manifest.raw) for one, manifest in image.manifests]
            for digest, data in (*known, (image.config_blob.digest, image.config)):
                small[blob_name(digest)] = Member.of(blob_name(digest), data)
        for blob in entry.blobs:
            member = _member(blob, image.sent_as(blob), open_blob)
            large[member.name] = member
    heads = {INDEX: _index(entries), LAYOUT: VERSION}
    if docker:
        heads[DOCKER] = [_docker_entry(one) for one in entries]
    first = [Member.of(name, as_json(value)) for name, value in sorted(heads.items())]
    return Archive((*first, *(small[name] for name in sorted(small)), *large.values()))


def _member(blob: Descriptor, sent: Descriptor, open_blob: OpenBlob) -> Member:
    def open_content() -> Opened:
        opened = open_blob(blob)
        return opened if sent is blob else decompressed(blob, opened)

    return Member(blob_name(sent.digest), sent.size, open_content)


def index_of(manifests: t.Sequence[t.Any]) -> dict[str, t.Any]:
    """Return the index of an archive with these entries."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}


def _index(entries: t.Sequence[Entry]) -> t.Any:
    manifests = [
        dict(
            (entry.root or entry.image.root).as_json(),
            annotations={IMAGE_NAME: name, REF_NAME: name},
        )
        for entry in entries
        for name in entry.names
    ]
    return index_of(manifests)


def _docker_entry(entry: Entry) -> dict[str, t.Any]:
    image = entry.image
    return {
        "Config": blob_name(image.config_blob.digest),
        "RepoTags": [name for name in entry.names if "@" not in name],
        "Layers": [blob_name(image.sent_as(blob).digest) for blob in image.manifest.layers],
    }
