# SPDX-License-Identifier: GPL-3.0-or-later
"""What an unpack returns of its images."""

from __future__ import annotations

import typing as t

from .._rootfs.applier import Counts
from .._rootfs.builders import Builder, PlannedLayer
from .._rootfs.bundle import settings_of
from .._rootfs.state import TreeState
from .unpack_source import PlannedImage

PRESENT, UNPACKED, REPAIRED = "present", "unpacked", "repaired"


class Report(t.Mapping[str, t.Any]):
    """The facts of a task, equal in check mode and in the real run."""

    def __init__(
        self, state: TreeState, images: t.Sequence[PlannedImage], builder: Builder, dest: str = "",
        is_there: bool = False,
    ) -> None:  # fmt: skip
        self._state, self._images, self._builder = state, images, builder
        self._dest, self._is_there = dest, is_there

    def __getitem__(self, key: str) -> t.Any:
        if key == "images":
            return [self._entry(image) for image in self._images]
        if key == "state_path":
            return self._state.path
        raise KeyError(key)

    def __iter__(self) -> t.Iterator[str]:
        return iter(("images", "state_path"))

    def __len__(self) -> int:
        return 2

    def _entry(self, image: PlannedImage) -> dict[str, t.Any]:
        layers = [self._layer(image, layer) for layer in image.layers]
        return {
            "name": image.name,
            "digest": str(image.root),
            "platform": str(image.config.platform) if image.config.platform else None,
            "chain_id": image.chain_id,
            "path": self._dest or None,
            "layers": [facts for facts, _skipped in layers],
            "config": settings_of(image.config.value),
            "skipped": _sum(skipped for _facts, skipped in layers),
        }

    def _layer(
        self, image: PlannedImage, layer: PlannedLayer
    ) -> tuple[dict[str, t.Any], t.Mapping[str, int]]:
        record = (
            layer.record
        )  # what a task unpacks is counted in its stats: check mode cannot know it
        status = UNPACKED
        if self._is_there or (not self._dest and not image.is_missing(layer)):
            status = PRESENT
        elif layer.key in image.damaged:
            status = REPAIRED
        facts = {
            "digest": str(layer.source.blob.digest),
            "diff_id": str(layer.source.diff_id),
            "chain_id": str(layer.chain_id),
            "path": self._state.layer_path(layer.key) if not self._dest else None,
            "status": status,
            "compressed_bytes": layer.source.blob.size,
            "entries": record.entries if record else None,
            "bytes": record.bytes if record else None,
        }
        return facts, record.skipped if record else {}


def stats_of(builder: Builder) -> dict[str, t.Any]:
    """Return what a task has written so far."""
    counts = list(builder.counts.values())
    return {
        "layers": len(counts),
        "entries": sum(one.entries for one in counts),
        "bytes": sum(one.bytes for one in counts),
        "skipped": _sum(one.skipped for one in counts),
    }


def _sum(found: t.Iterable[t.Mapping[str, int]]) -> dict[str, int]:
    total = Counts()
    for skipped in found:
        for what, number in skipped.items():
            total.skipped[what] = total.skipped.get(what, 0) + number
    return {what: total.skipped.get(what, 0) for what in ("aufs", "device", "setuid", "xattr")}
