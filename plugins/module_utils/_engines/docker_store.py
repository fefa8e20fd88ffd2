# SPDX-License-Identifier: GPL-3.0-or-later
"""How a Docker daemon keeps images: with a graph driver, or in the containerd image store.

A graph driver knows an image by the digest of its configuration, and layers by chain ids. The containerd image store
knows an image by the digest of what its name points at, and blobs by their digests.
"""

from __future__ import annotations

import functools
import typing as t

from .._archive.image_archive import ImageContent, Layer
from .._image.chain import chain_ids
from .._image.manifest import Descriptor
from .._image.names import Digest, Platform, Reference
from . import errors
from .docker_api import DockerApi, complete_name
from .engine import HeldImage, ReadManifest, require_loadable

GRAPH, CONTAINERD = "graph", "containerd"
_WITH_MANIFESTS = (1, 47)  # /images/json?manifests=1
_READS_ZSTD = (1, 42)  # Docker 23
_DRIVER_TYPE = ["driver-type", "io.containerd.snapshotter.v1"]


class DockerStore:
    """What a daemon holds, asked once until ``refresh``."""

    kind = ""
    keeps_digests = False
    reads_manifests = False
    reads_zstd = True
    _target = "/images/json"

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._images: list[dict[str, t.Any]] | None = None
        self._inspected: dict[str, dict[str, t.Any]] = {}  # by id, which never changes its meaning

    def refresh(self) -> None:
        """Forget what the daemon held."""
        self._images = None
        for name in ("_names", "_layers"):
            self.__dict__.pop(name, None)

    def ids(self) -> set[str]:
        """Return the ids of all images, whole or not."""
        return {one["Id"] for one in self.listed()}

    def target_of(self, reference: Reference) -> str | None:
        """Return the id that a name points at."""
        return self._names.get(reference.store_name)

    def proves(
        self, name: Reference, root: Digest, config: Digest | None, platform: Platform | None
    ) -> bool:
        """Return whether digests alone show that a name has its image, as in ``Engine.held_as``."""
        raise NotImplementedError

    def id_of(self, image: ImageContent) -> str:
        """Return the id that an image has here."""
        raise NotImplementedError

    def is_whole(self, image: ImageContent) -> bool:
        """Return whether all content of an image is there."""
        raise NotImplementedError

    def missing(self, image: ImageContent) -> list[Descriptor]:
        """Return the layers that are not proven to be there."""
        raise NotImplementedError

    def layer_id(self, layer: Layer) -> Digest:
        """Return the digest by which a layer is known here."""
        raise NotImplementedError

    def require_loadable(self, image: ImageContent) -> None:
        """Raise UnsupportedByEngineError for an image that the store cannot keep, or not under its name."""
        require_loadable(image)

    def held(self, details: bool) -> list[HeldImage]:
        """Return all images; ``details`` also asks for layers and platforms of each."""
        return [self._held(one, details) for one in self.listed()]

    def listed(self) -> list[dict[str, t.Any]]:
        """Return the images as the API lists them."""
        if self._images is None:
            self._images = self._api.get(self._target) or []
        return self._images

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        return {
            name: one["Id"]
            for one in self.listed()
            for key in ("RepoTags", "RepoDigests")
            for name in _names_in(one, key)
        }

    def _inspect(self, image_id: str) -> dict[str, t.Any]:
        if image_id not in self._inspected:
            self._inspected[image_id] = self._api.inspect(image_id)
        return self._inspected[image_id]

    def _held(self, one: dict[str, t.Any], details: bool) -> HeldImage:
        names, digests = (_names_in(one, key) for key in ("RepoTags", "RepoDigests"))
        layers: tuple[str, ...] | None = None
        platforms: tuple[str, ...] = ()
        if details:
            inspected = self._inspect(one["Id"])
            layers = tuple(map(str, _chains_of(inspected)))
            parts = (inspected.get(key) for key in ("Os", "Architecture", "Variant"))
            platforms = tuple(filter(None, ["/".join(filter(None, parts))]))
        complete = None
        if "Manifests" in one:
            complete = any(entry.get("Available") for entry in one["Manifests"] or ())
        return HeldImage(one["Id"], names, digests, platforms, one.get("Size"), layers, complete)


class GraphStore(DockerStore):
    """The store of a graph driver such as overlay2. A layer that it has is found by chain id, whatever its compression."""

    kind = GRAPH

    def __init__(self, api: DockerApi, os: str) -> None:
        super().__init__(api)
        self.reads_zstd = api.version >= _READS_ZSTD
        self._os = os

    def proves(
        self, name: Reference, root: Digest, config: Digest | None, platform: Platform | None
    ) -> bool:
        # A pull keeps the digest in the registry, a load does not.
        pulled = self.target_of(name._replace(tag=None, digest=root))
        return self.target_of(name) in {str(config), pulled} - {None}

    def id_of(self, image: ImageContent) -> str:
        return str(image.config_blob.digest)

    def is_whole(self, image: ImageContent) -> bool:
        return self.id_of(image) in self.ids()

    def missing(self, image: ImageContent) -> list[Descriptor]:
        return [one.blob for one in image.layers if str(one.chain_id) not in self._layers]

    def layer_id(self, layer: Layer) -> Digest:
        return layer.chain_id

    def require_loadable(self, image: ImageContent) -> None:
        super().require_loadable(image)
        if not image.reference.tag and not self.target_of(image.reference):
            raise errors.UnsupportedByEngineError(
                f"{image.name}: Docker with a graph driver keeps no name without a tag",
                "Give the image a tag, as in name:tag@digest.",
            )
        if self._os and image.os not in ("", self._os):
            raise errors.UnsupportedByEngineError(
                f"{image.name}: is for {image.os}, this Docker runs on {self._os}"
            )

    @functools.cached_property
    def _layers(self) -> set[str]:
        """The chain ids of all images."""
        return {str(chain) for one in self.ids() for chain in _chains_of(self._inspect(one))}


class ContainerdStore(DockerStore):
    """The containerd image store. Only a complete image proves that its blobs are there.

    The daemon unpacks layers, and does not keep a blob that it has unpacked in another compression (moby#53615).
    """

    kind = CONTAINERD
    keeps_digests = reads_manifests = True

    def __init__(self, api: DockerApi, read_manifest: ReadManifest) -> None:
        super().__init__(api)
        self._read_manifest = read_manifest
        self._lists_manifests = api.version >= _WITH_MANIFESTS
        if self._lists_manifests:
            self._target += "?manifests=1"

    def proves(
        self, name: Reference, root: Digest, config: Digest | None, platform: Platform | None
    ) -> bool:
        found = self.target_of(name)
        if found != str(root) or not self._lists_manifests:
            return False
        entries = self._complete(found)
        return found in entries or any(_platform_of(one) == platform for one in entries.values())

    def id_of(self, image: ImageContent) -> str:
        return str(image.root.digest)

    def is_whole(self, image: ImageContent) -> bool:
        # An older daemon lists only images that it can use, and refuses an archive that lacks a layer.
        wanted = str(image.manifests[0][0].digest)
        complete = not self._lists_manifests or wanted in self._complete()
        return complete and self.id_of(image) in self.ids()

    def missing(self, image: ImageContent) -> list[Descriptor]:
        return [blob for blob in image.manifest.layers if blob.digest not in self._layers]

    def layer_id(self, layer: Layer) -> Digest:
        return layer.blob.digest

    def _complete(self, root: str | None = None) -> dict[str, t.Any]:
        """Return the manifests that have all their content here, by digest; those of one image, or all."""
        images = (one for one in self.listed() if root in (None, one["Id"]))
        entries = (entry for one in images for entry in one.get("Manifests") or ())
        return {entry["ID"]: entry for entry in entries if entry.get("Available")}

    @functools.cached_property
    def _layers(self) -> set[Digest]:
        """The layers of all complete manifests that can be read elsewhere: the daemon does not show manifests."""
        found = (self._read_manifest(Digest.parse(text)) for text in self._complete())
        return {blob.digest for manifest in found if manifest for blob in manifest.layers}


def open_store(
    api: DockerApi, info: t.Mapping[str, t.Any], read_manifest: ReadManifest
) -> DockerStore:
    """Return the store of a daemon; ``info`` is what it says of itself."""
    if _DRIVER_TYPE in (info.get("DriverStatus") or []):
        return ContainerdStore(api, read_manifest)
    return GraphStore(api, str(info.get("OSType") or ""))


def _platform_of(entry: t.Mapping[str, t.Any]) -> Platform | None:
    found = (entry.get("ImageData") or {}).get("Platform") or {}
    parts = [str(found.get(key) or "") for key in ("os", "architecture", "variant")]
    return Platform.of(*parts) if all(parts[:2]) else None


def _names_in(one: t.Mapping[str, t.Any], key: str) -> tuple[str, ...]:
    return tuple(name for name in map(complete_name, one.get(key) or ()) if name)


def _chains_of(inspected: t.Mapping[str, t.Any]) -> list[Digest]:
    texts = (inspected.get("RootFS") or {}).get("Layers") or ()
    return chain_ids([Digest.parse(text) for text in texts])
