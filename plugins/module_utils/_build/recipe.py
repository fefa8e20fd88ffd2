# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stage has become: its configuration, its new layers and its history. No layer has been written yet."""

from __future__ import annotations

import datetime
import json
import re
import typing as t

from .._image.instructions import Instruction
from .._image.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST, Descriptor
from .._image.names import Digest, Platform
from .base import GROUP, PASSWD, BaseImage, ImageTree
from .compress import OCI, convert_type
from .settings import Settings
from .tree import Changes, Tree

_TYPES = {OCI: (OCI_MANIFEST, OCI_CONFIG)}
_DOCKER_TYPES = (DOCKER_MANIFEST, DOCKER_CONFIG)
_KEPT = ("author", "variant", "os.version", "os.features")


class Trees(t.Protocol):
    """What reads the files of existing images."""

    def outline(self, image: BaseImage) -> ImageTree:
        """Return a new tree of the directories and links of an image; files can be missing."""

    def full(self, image: BaseImage) -> ImageTree:
        """Return a new tree of everything in an image."""


class Step(t.NamedTuple):
    """One entry of the history: the instruction, and the layer that it made."""

    created_by: str
    changes: Changes | None


class Recipe:
    """A stage, while its instructions are done. ``image`` is the existing image below its layers, None for scratch."""

    def __init__(self, trees: Trees, image: BaseImage | None, below: Recipe | None = None) -> None:
        self.image = image
        self.settings: Settings
        self.author: str = below.author if below else ""
        self.steps: list[Step] = list(below.steps) if below else []
        self.args: dict[str, str] = {}
        if below:
            config: t.Mapping[str, t.Any] = json.loads(json.dumps(below.settings.finished()))
        else:
            config = (image.config.value.get("config") or {}) if image else {}
        self.settings = Settings(config)
        self._trees = trees
        self._tree: Tree | None = None

    @property
    def layers(self) -> list[Changes]:
        """The new layers, from the bottom to the top."""
        return [step.changes for step in self.steps if step.changes is not None]

    @property
    def tree(self) -> Tree:
        """The directories and links that the stage has now, and the files of its new layers."""
        if self._tree is None:
            self._tree = self._trees.outline(self.image) if self.image else Tree()
            self._replay(self._tree)
        return self._tree

    def full_tree(self) -> Tree:
        """Return a tree of everything that the stage has."""
        if self.image is None:
            return self.tree
        tree = self._trees.full(self.image)
        self._replay(tree)
        return tree

    def users(self) -> tuple[bytes, bytes]:
        """Return the files of users and of groups that the stage has."""
        tree = self.tree
        found = []
        for path in (PASSWD, GROUP):
            node = tree.get(path.split(b"/"))
            if node is not None and node.content is not None and any(map(_has(path), self.layers)):
                found.append(b"".join(node.content.chunks()))
            else:
                found.append(tree.users.get(path, b"") if isinstance(tree, ImageTree) else b"")
        return found[0], found[1]

    def triggers(self) -> list[str]:
        """Return the instructions that the base left for this stage, and remove them."""
        found = self.settings.config.pop("OnBuild", None)
        return [str(one) for one in found] if isinstance(found, list) else []

    def note(self, one: Instruction, changes: Changes | None = None) -> None:
        """Add an instruction to the history, with the layer that it made."""
        # Spaces that a joined line leaves say nothing.
        text = re.sub(r"\s+", " ", f"{'ONBUILD ' * one.is_trigger}{one.text}")
        self.steps.append(Step(text, changes if changes else None))

    def _replay(self, tree: Tree) -> None:
        for changes in self.layers:
            tree.replay(changes)


def _has(path: bytes) -> t.Callable[[Changes], bool]:
    return lambda changes: any(one == path for one, _node in changes.entries())


def config_of(
    recipe: Recipe, diff_ids: t.Sequence[Digest], created: int, platform: Platform
) -> bytes:
    """Return the configuration of the image: the same recipe gives the same bytes."""
    base = recipe.image.config.value if recipe.image else {}
    time = _time(created)
    value: dict[str, t.Any] = {key: base[key] for key in _KEPT if base.get(key)}
    value.update(
        architecture=base.get("architecture") or platform.architecture,
        os=base.get("os") or platform.os,
        created=time,
        config=recipe.settings.finished(),
    )
    if not recipe.image and platform.variant:
        value["variant"] = platform.variant
    if recipe.author:
        value["author"] = recipe.author
    below = list(recipe.image.config.diff_ids) if recipe.image else []
    value["rootfs"] = {"type": "layers", "diff_ids": list(map(str, [*below, *diff_ids]))}
    history = base.get("history")
    value["history"] = list(history) if isinstance(history, list) else []
    for step in recipe.steps:
        entry: dict[str, t.Any] = {"created": time, "created_by": step.created_by}
        if step.changes is None:
            entry["empty_layer"] = True
        value["history"].append(entry)
    return _canonical(value)


def manifest_of(
    config: bytes,
    base: t.Sequence[Descriptor],
    layers: t.Sequence[Descriptor],
    form: str,
    annotations: t.Mapping[str, str] | None = None,
) -> tuple[Descriptor, Descriptor, bytes]:
    """Return the descriptors of the manifest and of the configuration, and the bytes of the manifest."""
    manifest_type, config_type = _TYPES.get(form, _DOCKER_TYPES)
    found = Descriptor(config_type, Digest.of(config), len(config))
    value: dict[str, t.Any] = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": found.as_json(),
        "layers": [_layer(one, form) for one in base] + [one.as_json() for one in layers],
    }
    if annotations:
        value["annotations"] = dict(annotations)
    raw = _canonical(value)
    return Descriptor(manifest_type, Digest.of(raw), len(raw)), found, raw


def _layer(layer: Descriptor, form: str) -> dict[str, t.Any]:
    value = dict(layer.as_json(), mediaType=convert_type(layer.media_type, form))
    if layer.urls:
        value["urls"] = list(layer.urls)
    return value


def _time(epoch: int) -> str:
    then = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def _canonical(value: t.Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
