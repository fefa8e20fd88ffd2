# SPDX-License-Identifier: GPL-3.0-or-later
"""Info: what a store holds, in the words of ``docker image ls``, ``inspect`` and ``history``."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from .._image import errors
from .._image.chain import chain_ids
from .._image.manifest import Descriptor, ImageConfig, Manifest
from .._image.names import ALL, DOCKER_HUB, Digest, Reference
from .._image.walk import images_of, walk
from .._plan import Plan
from .._store.reader import IndexEntry, StoreReader
from .find import find_label
from .history import history
from .reach import needed, wanted_children


@dataclass(frozen=True)
class _StoredImage:
    """One image manifest that a name leads to, as far as it is here."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig | None
    complete: bool

    @property
    def id(self) -> str | None:
        return str(self.manifest.config.digest) if self.manifest.config else None

    @property
    def platform(self) -> str | None:
        platform = self.descriptor.platform or (self.config.platform if self.config else None)
        return str(platform) if platform else None


@dataclass(frozen=True)
class _StoredName:
    """A name with the images behind it; ``whole`` when nothing of what was asked for is missing.

    ``unread`` are manifests that are here and cannot be read.
    """

    name: str
    points_at: IndexEntry
    images: tuple[_StoredImage, ...]
    unread: tuple[Descriptor, ...]
    whole: bool


def plan_info(store: StoreReader, references: t.Sequence[Reference | str] | None) -> Plan:
    """Plan to report some entries, found by ``find_label``, or for None all. The plan never has an action."""
    names = store.labelled()
    named = {name: _NameReader(store, points_at).read(name) for name, points_at in names.items()}
    renderer = _Renderer(named.values())
    missing = []
    if references is None:
        chosen = list(named)
    else:
        chosen = []
        for reference in references:
            found = find_label(str(reference), names)
            if found is None:
                missing.append(str(Reference.parse(str(reference))))
            elif found not in chosen:
                chosen.append(found)
    return Plan(
        facts={
            "images": [entry for name in chosen for entry in renderer.entries(named[name])],
            "missing": missing,
            "fingerprint": store.fingerprint(),
            "store": store.path,
            "staged": store.staging(),
        },
    )


class _NameReader:
    """Finds the images behind one name, without asking for what is not here."""

    def __init__(self, store: StoreReader, points_at: IndexEntry) -> None:
        self._store = store
        self._points_at = points_at
        self._whole = True
        self._unread: dict[Digest, Descriptor] = {}

    def read(self, name: str) -> _StoredName:
        images = {held.descriptor.digest: held for held in self._images()}
        whole = self._whole and bool(images) and all(held.complete for held in images.values())
        unread = tuple(self._unread.values())
        return _StoredName(
            name, self._points_at, tuple(images.values()), unread, whole and not unread
        )

    def _images(self) -> t.Iterator[_StoredImage]:
        platforms = self._points_at.platforms
        if not platforms or ALL in platforms:
            yield from self._present()
        for platform in () if ALL in platforms else platforms:
            yield from self._chosen(platform)
        if ALL in platforms:
            self._whole &= all(map(self._store.has, needed(self._store, self._points_at).values()))

    def _present(self) -> t.Iterator[_StoredImage]:
        """Yield whatever images are here: another tool wrote an index, and what it left out was not asked for."""
        root = self._points_at.target
        for descriptor, manifest, depth in walk(root, self._manifest, images_of):
            if manifest and not manifest.is_index:
                yield self._image(descriptor, manifest)
            self._whole &= bool(manifest or depth)

    def _chosen(self, platform: str) -> t.Iterator[_StoredImage]:
        """Yield the image for a platform that was asked for; if it is not here, the name is not whole."""

        def choose_children(index: Manifest) -> list[Descriptor]:
            return wanted_children(index, [platform], self._store.has)

        *_indexes, last = walk(self._points_at.target, self._manifest, choose_children)
        if last.manifest and not last.manifest.is_index:
            yield self._image(last.descriptor, last.manifest)
        else:
            self._whole = False

    def _manifest(self, descriptor: Descriptor) -> Manifest | None:
        manifest = None
        # What cannot be read must not hide all others.
        with contextlib.suppress(errors.ContentError):
            if self._store.has(descriptor):
                manifest = self._store.manifest(descriptor.digest, descriptor.media_type)
        if manifest is None and os.path.lexists(self._store.blob_path(descriptor.digest)):
            self._unread[descriptor.digest] = descriptor
        return manifest

    def _image(self, descriptor: Descriptor, manifest: Manifest) -> _StoredImage:
        complete = all(self._store.has(blob) or blob.is_foreign for blob in manifest.blobs)
        config = None
        if manifest.config and manifest.config.is_image_config and self._store.has(manifest.config):
            try:
                raw = self._store.read(manifest.config.digest)
                config = ImageConfig.parse(raw, f"{self._store.path}: {manifest.config.digest}")
            except (errors.NotFoundError, errors.DigestMismatchError, errors.ManifestError):
                complete = False
        return _StoredImage(descriptor, manifest, config, complete)


class _Renderer:
    """Renders names with data of all names: the images that share a layer, and the other names of an image."""

    def __init__(self, named: t.Iterable[_StoredName]) -> None:
        self._names_of: dict[str, list[_StoredName]] = {}
        users: dict[Digest, set[Digest]] = {}
        for one in named:
            for held in one.images:
                self._names_of.setdefault(held.id or "", []).append(one)
                for layer in held.manifest.layers:
                    users.setdefault(layer.digest, set()).add(held.descriptor.digest)
        self._shared_by = {digest: len(images) for digest, images in users.items()}

    def entries(self, named: _StoredName) -> list[dict[str, t.Any]]:
        """Return one entry for each image of a name, readable or not; one entry if no image is in the store."""
        common = {
            "name": named.name,
            "digest": str(named.points_at.target.digest),
            "platforms": list(named.points_at.platforms)
            or sorted({held.platform for held in named.images if held.platform}),
        }
        empty: dict[str, t.Any] = {
            "id": None,
            "platform": None,
            "created": None,
            "size": None,
            "layers": [],
            "history": [],
            "inspect": {},
            "complete": False,
        }
        if not named.images:
            return [{**common, **empty}]
        platforms = (one.platform and str(one.platform) for one in named.unread)
        return [
            *(self._entry(common, named, held) for held in named.images),
            *({**common, **empty, "platform": platform} for platform in platforms),
        ]

    def _entry(
        self, common: dict[str, t.Any], named: _StoredName, held: _StoredImage
    ) -> dict[str, t.Any]:
        sizes = {blob.digest: blob.size for blob in held.manifest.blobs}
        size = held.descriptor.size + sum(sizes.values())
        value = held.config.value if held.config else {}
        return {
            **common,
            "id": held.id,
            "platform": held.platform,
            "created": value.get("created"),
            "size": size,
            "layers": self._layers(held),
            "history": history(held.config, held.manifest.layers),
            "inspect": self._inspect(held, size) if held.config else {},
            "complete": named.whole and held.complete,
        }

    def _layers(self, held: _StoredImage) -> list[dict[str, t.Any]]:
        layers = held.manifest.layers
        diff_ids = held.config.diff_ids if held.config else ()
        known = len(diff_ids) == len(layers)
        chains = chain_ids(diff_ids) if known else []
        return [
            dict(
                layer.as_result(),
                diff_id=str(diff_ids[n]) if known else None,
                chain_id=str(chains[n]) if known else None,
                shared_by=self._shared_by[layer.digest],
            )
            for n, layer in enumerate(layers)
        ]

    def _inspect(self, held: _StoredImage, size: int) -> dict[str, t.Any]:
        """Return the fields of ``docker image inspect`` (Engine API v1.47, ImageInspect) that apply to a store."""
        config = held.config
        value = config.value if config else {}
        names = self._names_of[held.id or ""]
        tags, digests = set(), set()
        for one in names:
            reference = _reference(one.name)
            if reference is None:
                tags.add(one.name)
                continue
            if reference.tag:
                tags.add(familiar(reference))
            pinned = reference._replace(tag=None, digest=one.points_at.target.digest)
            digests.add(familiar(pinned))
        return {
            "Id": held.id,
            "RepoTags": sorted(tags),
            "RepoDigests": sorted(digests),
            "Comment": value.get("comment") or "",
            "Created": value.get("created"),
            "DockerVersion": value.get("docker_version") or "",
            "Author": value.get("author") or "",
            "Config": value.get("config") or {},
            "Architecture": value.get("architecture"),
            "Variant": value.get("variant") or "",
            "Os": value.get("os"),
            "OsVersion": value.get("os.version") or "",
            "Size": size,
            "RootFS": {
                "Type": "layers",
                "Layers": [str(diff_id) for diff_id in (config.diff_ids if config else ())],
            },
        }


def familiar(reference: Reference) -> str:
    """Return the short form that Docker shows: ``debian:12`` for ``docker.io/library/debian:12``."""
    text = str(reference)
    if reference.registry != DOCKER_HUB:
        return text
    namespace, _slash, rest = reference.repository.partition("/")
    official = namespace == "library" and "/" not in rest
    return text[len(f"{DOCKER_HUB}/library/" if official else f"{DOCKER_HUB}/") :]


def _reference(name: str) -> Reference | None:
    """Return a name of the store as a reference; None for a bare tag that another tool wrote, such as ``latest``."""
    try:
        reference = Reference.parse(name)
    except errors.ReferenceError:
        return None
    return reference if str(reference) == name else None
