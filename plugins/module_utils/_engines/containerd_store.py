# SPDX-License-Identifier: GPL-3.0-or-later
"""What a namespace of containerd holds: names, blobs, unpacked layers, and what follows from them for an image.

containerd records in labels of a blob which other content that blob keeps from garbage collection (docs,
garbage-collection.md). So the content of an image is known without a look into its manifests.
"""

from __future__ import annotations

import typing as t

from .._archive.image_archive import ImageContent
from .._image.chain import chain_ids
from .._image.manifest import Descriptor
from .ctr import Ctr, NamedImage
from .engine import HeldImage

_REFERS_TO = "containerd.io/gc.ref.content"
_CONFIG = f"{_REFERS_TO}.config"
_MANIFEST = f"{_REFERS_TO}.m."
_UNPACKED_IN = "containerd.io/gc.ref.snapshot."  # and the snapshotter; on a configuration

Labels = t.Mapping[str, str]


class Held(t.NamedTuple):
    """The content of a namespace: names, blobs with their labels, and by snapshotter the chain ids of unpacked layers.

    The chain id of a layer leads to that of the layer below it.
    """

    names: t.Mapping[str, NamedImage]
    content: t.Mapping[str, Labels]
    snapshots: t.Mapping[str, t.Mapping[str, str | None]]

    @classmethod
    def read(cls, ctr: Ctr) -> Held:
        """Ask containerd."""
        names, content = ctr.names(), ctr.content()
        used = {one for labels in content.values() for one in _unpacked(labels)}
        return cls(names, content, {one: ctr.snapshots(one) for one in sorted(used)})

    def target_of(self, name: str) -> str | None:
        """Return the digest that a name points at, None if there is none."""
        return self.names[name].target if name in self.names else None

    def points_at(self, names: t.Iterable[str], target: str) -> bool:
        """Return whether all names point at a digest."""
        return all(self.target_of(name) == target for name in names)

    def pins(self, names: t.Iterable[str]) -> bool:
        """Return whether the kubelet keeps all names."""
        return all(name in self.names and self.names[name].pinned for name in names)

    def missing(self, image: ImageContent) -> tuple[Descriptor, ...]:
        """Return the layers that are not in the content store."""
        return tuple(one for one in image.manifest.layers if str(one.digest) not in self.content)

    def has_manifests(self, image: ImageContent) -> bool:
        """Return whether the configuration and the manifests that lead to it are in the content store."""
        digests = (image.config_blob.digest, *(one.digest for one, _manifest in image.manifests))
        return all(str(digest) in self.content for digest in digests)

    def is_unpacked(self, image: ImageContent) -> bool:
        """Return whether all layers are unpacked, by any snapshotter."""
        if not image.diff_ids:
            return True
        top = str(chain_ids(image.diff_ids)[-1])
        return top in self._chain(str(image.config_blob.digest))

    def discards_layers(self, image: ImageContent) -> bool:
        """Return whether containerd keeps no layer of the image because all are unpacked (``discard_unpacked_layers``)."""
        kept = self._children(str(image.manifests[0][0].digest)).values()
        return not any(str(layer.digest) in kept for layer in image.manifest.layers)

    def is_complete(self, root: str, config: str | None) -> bool:
        """Return whether the image with a configuration, None for the only one, is complete below ``root`` and unpacked."""
        found = self._manifests(root)
        if config is None:
            return found == [root] and self._is_complete(root)
        return any(
            self._is_complete(one) for one in found if self._children(one)[_CONFIG] == config
        )

    def images(self) -> list[HeldImage]:
        """Return everything that has a name."""
        return [
            self._image(target) for target in sorted({one.target for one in self.names.values()})
        ]

    def _image(self, target: str) -> HeldImage:
        entries = {name: one for name, one in self.names.items() if one.target == target}
        first = next(iter(entries.values()))
        configs = [str(self._children(one).get(_CONFIG)) for one in self._manifests(target)]
        chains = [chain for one in configs for chain in self._chain(one)]
        return HeldImage(
            target,
            # The CRI plugin also names images by the digest of their configuration.
            tuple(name for name in entries if "@" not in name and not name.startswith("sha256:")),
            tuple(name for name in entries if "@" in name),
            tuple(one for one in first.platforms if not one.startswith("unknown/")),
            first.size,
            tuple(dict.fromkeys(chains)),
            any(self._is_complete(one) for one in self._manifests(target)),
            any(one.pinned for one in entries.values()),
        )

    def _children(self, digest: str) -> dict[str, str]:
        """Return the content that a blob keeps, by label."""
        labels = self.content.get(digest, {})
        return {key: value for key, value in labels.items() if key.startswith(_REFERS_TO)}

    def _manifests(self, digest: str) -> list[str]:
        """Return the image manifests that are reachable from a digest and are there."""
        children = self._children(digest)
        listed = [value for key, value in children.items() if key.startswith(_MANIFEST)]
        if listed:
            return [one for child in listed for one in self._manifests(child)]
        return [digest] if _CONFIG in children else []

    def _is_complete(self, manifest: str) -> bool:
        """Return whether a manifest has all content that containerd keeps for it, and is unpacked."""
        children = self._children(manifest)
        return all(one in self.content for one in children.values()) and bool(
            self._chain(children[_CONFIG])
        )

    def _chain(self, config: str) -> list[str]:
        """Return the chain ids of an unpacked image, the base first; nothing if it is not unpacked."""
        for snapshotter, top in _unpacked(self.content.get(config, {})).items():
            known = self.snapshots.get(snapshotter, {})
            chain: list[str] = []
            current: str | None = top
            while current in known and current not in chain:
                chain.append(str(current))
                current = known[str(current)]
            if chain:
                return chain[::-1]
        return []


def _unpacked(labels: Labels) -> dict[str, str]:
    """Return the chain id of the unpacked image by snapshotter, from the labels of its configuration."""
    return {
        key[len(_UNPACKED_IN) :]: value
        for key, value in labels.items()
        if key.startswith(_UNPACKED_IN)
    }
