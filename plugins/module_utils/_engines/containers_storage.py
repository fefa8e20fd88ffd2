# SPDX-License-Identifier: GPL-3.0-or-later
"""The files in which podman and CRI-O record images and layers (containers/storage, images.go and layers.go), read only."""

from __future__ import annotations

import json
import os
import typing as t

_LAYER_FILES = ("layers.json", "volatile-layers.json")
_MANIFEST_KEY = "manifest"  # of big data: "manifest", and "manifest-DIGEST" for each manifest that led to the image
_LONGEST = 256 * 1024 * 1024  # bytes


class StoredImage(t.NamedTuple):
    """An image in the records. ``id`` and ``digests`` as podman writes them, ``is_complete`` whether all its layers are there."""

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    is_complete: bool


class ContainersStorage:
    """The records below the directories ``roots``, of which the later are additional image stores.

    The records are replaced as whole files, so no lock is needed. A file that is missing or malformed holds nothing.
    """

    def __init__(self, roots: t.Iterable[str], driver: str) -> None:
        places = [os.path.join(root, driver) for root in roots]
        layers = [one for place in places for name in _LAYER_FILES for one in _read(place, name)]
        self._layers = {
            str(one.get("id")): one
            for one in layers
            if not (one.get("flags") or {}).get("incomplete")
        }
        self._images = [one for place in places for one in _read(place, "images.json")]

    def digests(self) -> set[str]:
        """Return the digest of each layer, of the blob that it came from and of its uncompressed tar.

        A pull requests a blob only if its digest is neither of them.
        """
        keys = ("compressed-diff-digest", "diff-digest")
        return {str(one[key]) for one in self._layers.values() for key in keys if one.get(key)}

    def images(self) -> list[StoredImage]:
        """Return all images, also those that podman refuses to list because a layer is missing."""
        return [
            StoredImage(
                str(one.get("id")),
                tuple(map(str, one.get("names") or ())),
                _digests_of(one),
                self._is_complete(one.get("layer")),
            )
            for one in self._images
        ]

    def _is_complete(self, layer: t.Any) -> bool:
        seen = set()
        while layer:
            if layer not in self._layers or layer in seen:
                return False
            seen.add(layer)
            layer = self._layers[layer].get("parent")
        return True


def _digests_of(image: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    found = image.get("big-data-digests") or {}
    return tuple(
        dict.fromkeys(str(text) for key, text in found.items() if key.startswith(_MANIFEST_KEY))
    )


def _read(place: str, name: str) -> list[dict[str, t.Any]]:
    kind = "images" if name == "images.json" else "layers"
    try:
        with open(f"{place}-{kind}/{name}", "rb") as file:
            entries = json.loads(file.read(_LONGEST))
    except (OSError, ValueError):
        return []
    return [one for one in entries or () if isinstance(one, dict)]
