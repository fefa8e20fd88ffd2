# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack: images of a store become files, layer by layer or as one tree."""

from __future__ import annotations

import functools
import os
import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image import errors
from .._image.names import Digest, Platform
from .._plan import Action, Plan, PlanBuilder
from .._rootfs.builders import Builder, LayerBuilder, PlannedLayer, TreeBuilder, require_replaceable
from .._rootfs.bundle import settings_of
from .._rootfs.errors import DiffIdMismatchError, TreeRefusedError
from .._rootfs.layers import Limits
from .._rootfs.options import TreeOptions
from .._rootfs.roots import require_unmounted
from .._rootfs.state import TreeState
from .._rootfs.stream import inflaters
from .._store.reader import StoreReader
from .trees import tree_options
from .unpack_report import Report, stats_of
from .unpack_source import PlannedImage, StoredImages, require_intact

LAYERS, ROOTFS, BUNDLE = "layers", "rootfs", "bundle"
QUICK, FULL = "quick", "full"


class UnpackOptions(t.NamedTuple):
    """What a task unpacks, and how."""

    platform: Platform | None
    form: str
    dest: str
    tree: TreeOptions
    limits: Limits
    verify: str
    workers: int

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> UnpackOptions:
        """Return the options of a module; raise InputError if they contradict each other."""
        if params["form"] != LAYERS and len(params["name"]) != 1:
            raise errors.InputError("form: rootfs and bundle unpack exactly one image")
        limits = limits_of(params)
        asked = params["platform"]
        return cls(
            Platform.parse(asked) if asked else None,
            params["form"],
            os.path.abspath(params["dest"]) if params["dest"] else "",
            tree_options(params),
            limits,
            params["verify"],
            params["parallel"],
        )


def limits_of(params: t.Mapping[str, t.Any]) -> Limits:
    """Return the limits of a module; raise InputError if nothing can be within them."""
    limits = Limits(params["max_bytes"], params["max_entries"])
    if min(params["parallel"], *limits) < 1:
        raise errors.InputError("parallel, max_bytes and max_entries must be at least 1")
    return limits


@dataclass(frozen=True)
class UnpackLayer(Action):
    """Unpack a layer into the staging area, where it waits for the layers below it."""

    layer: PlannedLayer
    builder: Builder = field(repr=False)
    store: StoreReader = field(repr=False)
    needed_by: tuple[str, ...] = ()

    @property
    def urgency(self) -> tuple[float, ...]:  # type: ignore[override]
        return (
            -float(self.layer.source.blob.size),
        )  # the largest first, so that no thread waits for it

    @property
    def had_no_effect(self) -> bool:  # type: ignore[override]
        return (
            self.layer.key not in self.builder.counts
        )  # its image has failed, or another task was faster

    def summary(self) -> dict[str, t.Any]:
        return {
            "action": "unpack_layer",
            "layer": str(self.layer.source.blob.digest),
            "chain_id": str(self.layer.chain_id),
            "size": self.layer.source.blob.size,
        }

    def apply(self, pool: Pool) -> None:
        try:
            self.builder.unpack(self.layer)
        except (TreeRefusedError, DiffIdMismatchError):
            require_intact(self.store, self.layer.source.blob)
            raise


@dataclass(frozen=True)
class FinishImage(Action):
    """Complete the layers of an image, and publish it."""

    image: PlannedImage
    builder: Builder = field(repr=False)
    path: str | None = None
    needed_by: tuple[str, ...] = ()  # the names of roots

    @property
    def subject(self) -> str:  # type: ignore[override]
        return self.needed_by[0] if self.needed_by else self.image.name

    def summary(self) -> dict[str, t.Any]:
        return {
            "action": "unpack_image",
            "name": self.image.name,
            "chain_id": self.image.chain_id,
            "path": self.path,
        }

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        """Finish one image after the other: a layer that two of them share is published once."""
        ended: list[BaseException | None] = []
        for action in actions:
            try:
                self.builder.finish(action.image.layers)
                ended.append(None)
            except errors.NoSpaceError:
                raise
            except errors.LockstepError as exc:
                ended.append(exc)
        return ended


class UnpackPlanner(PlanBuilder):
    """Plans what is missing of images, from their manifests and configurations. No layer is read."""

    def __init__(self, store: StoreReader, state: TreeState, options: UnpackOptions) -> None:
        super().__init__(options.workers)
        self.images: list[PlannedImage] = []
        self._store, self._state, self._options = store, state, options

    def plan(self, names: t.Sequence[str]) -> Plan:
        """Return the plan for images of the store, each found by ``find_label``."""
        options = self._options
        source = StoredImages(self._store, self._state, options.platform, options.form == LAYERS)
        self.images = images = list(
            {one.name: one for one in self.each(source.read, list(dict.fromkeys(names)))}.values()
        )
        if self._options.form == LAYERS:
            return self.plan_layers(images)
        return self._plan_tree(images)

    def plan_layers(self, images: t.Sequence[PlannedImage]) -> Plan:
        """Return the plan for images as directories of layers, each layer once."""
        options = self._options
        builder = LayerBuilder(self._state, options.tree, options.limits)
        if options.verify == FULL:
            self._verify(images, builder)
        users: dict[str, list[str]] = {}
        missing: dict[str, PlannedLayer] = {}
        for image in images:
            for layer in image.layers:
                if image.is_missing(layer):
                    users.setdefault(layer.key, []).append(image.name)
                    missing[layer.key] = layer
        content = tuple(
            UnpackLayer(layer, builder, self._store, tuple(users[key]))
            for key, layer in missing.items()
        )
        due = [one for one in images if any(map(one.is_missing, one.layers))]
        damaged = {key for one in images for key in one.damaged}
        if damaged:
            require_unmounted(self._state.path, damaged)
        return self.build(
            content=content,
            names=tuple(FinishImage(one, builder) for one in due),
            before={one.name: _share(one) for one in images},
            after={one.name: _whole(one) for one in images},
            facts=Report(self._state, images, builder),
            prepare=functools.partial(_prepare, self._state, builder),
            warnings=lambda: _warnings(images),
            stats=lambda: stats_of(builder),
        )

    def _verify(self, images: t.Sequence[PlannedImage], builder: LayerBuilder) -> None:
        """Compare the files of layers in place with their archives."""
        seen: dict[str, str] = {}
        for image in images:
            for number, layer in enumerate(image.layers):
                if layer.record is None:
                    break  # layers above it cannot be compared
                if layer.key not in seen:
                    if not seen:
                        inflaters()
                        self._state.prepare()
                    seen[layer.key] = builder.first_difference(layer, image.layers[:number])
                if seen[layer.key]:
                    image.damaged[layer.key] = seen[layer.key]

    def _plan_tree(self, images: t.Sequence[PlannedImage]) -> Plan:
        options, state = self._options, self._state
        dest = options.dest
        facts: dict[str, t.Any] = {"form": options.form, "options": list(map(str, options.tree))}
        for image in images:
            facts.update(chain_id=image.chain_id, config=_fingerprint(image), name=image.name)
        known = state.tree(dest)
        is_there = known is not None and {key: known.get(key) for key in facts} == facts
        due = [one for one in images if not is_there]
        if due:
            require_replaceable(dest, state)
        config = images[0].config.value if images and options.form == BUNDLE else None
        builder = TreeBuilder(state, options.tree, options.limits, dest, facts, config)
        return self.build(
            content=tuple(
                UnpackLayer(layer, builder, self._store, (one.name,))
                for one in due
                for layer in one.layers
            ),
            names=tuple(FinishImage(one, builder, dest) for one in due),
            # By the name of the image, as its failure is: one image is in one place.
            before={one.name: known["chain_id"] for one in images if known},
            after={one.name: one.chain_id for one in images},
            facts=Report(state, images, builder, dest, is_there),
            prepare=functools.partial(_prepare, state, builder),
            warnings=lambda: _warnings(images),
            stats=lambda: stats_of(builder),
        )


def _prepare(state: TreeState, builder: Builder) -> None:
    inflaters()
    state.on_exit(builder.close)
    builder.prepare()


def _fingerprint(image: PlannedImage) -> str:
    """Return what a bundle has of an image beside its layers."""
    return str(Digest.of(repr(sorted(settings_of(image.config.value).items())).encode()))


def _share(image: PlannedImage) -> str:
    missing = sum(map(image.is_missing, image.layers))
    return f"{len(image.layers) - missing} of {len(image.layers)} layers"


def _whole(image: PlannedImage) -> str:
    return f"{len(image.layers)} of {len(image.layers)} layers"


def _warnings(images: t.Sequence[PlannedImage]) -> list[str]:
    texts = [image.doubt for image in images if image.doubt]
    damaged = {key: text for image in images for key, text in image.damaged.items()}
    return [*texts, *(f"layer {key}: {text}" for key, text in damaged.items())]
