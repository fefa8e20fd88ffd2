# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from unpacked layers: layers side by side in the state directory, or one tree at a path of the user.

Layers are unpacked by threads in any order. Then an image is finished, the lowest layer first, and appears by a rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import typing as t
from dataclasses import dataclass

from .._image.escaped import shown
from .._image.names import Digest
from .applier import Counts
from .bundle import write_config
from .compare import Comparison
from .errors import TreeAccessError, TreeBusyError, access
from .layers import LayerSource, Limits, UnpackedLayer
from .lower import Lower
from .marks import OverlayMarks
from .merge import merge
from .mountinfo import mounts_below
from .options import TreeOptions
from .removal import DIRECTORY, movable, remove
from .state import LayerRecord, TreeState

ROOTFS = "rootfs"


@dataclass(frozen=True)
class PlannedLayer:
    """A layer of an image and its directory; ``record`` is None unless the layer is in place."""

    source: LayerSource
    chain_id: Digest
    key: str
    record: LayerRecord | None = None


class Builder:
    """Unpacks the layers of a task. ``counts`` has what was written and published, by the key of a layer."""

    def __init__(self, options: TreeOptions, limits: Limits) -> None:
        self.counts: dict[str, Counts] = {}
        self._options, self._limits = options, limits
        self._unpacked: dict[str, UnpackedLayer] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Create the directories in which layers are unpacked."""
        raise NotImplementedError

    def unpack(self, layer: PlannedLayer) -> None:
        """Unpack a layer by itself; any thread may do it. Raise what ``UnpackedLayer.fill`` raises."""
        with access(layer.source.where):
            unpacked = self._stage(layer)
            if unpacked is None:
                return
            try:
                unpacked.fill()
            except BaseException:
                unpacked.close()
                raise
        with self._lock:
            self._unpacked[layer.key] = unpacked

    def finish(self, layers: t.Sequence[PlannedLayer]) -> None:
        """Complete the layers of an image, the lowest first, and publish it."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what was not published."""
        for one in self._unpacked.values():
            one.close()
        self._unpacked = {}

    def _stage(self, layer: PlannedLayer) -> UnpackedLayer | None:
        """Return a new directory for a layer, None if the layer is in place already."""
        raise NotImplementedError


class LayerBuilder(Builder):
    """Publishes layers in the state directory, in the form that overlayfs reads."""

    def __init__(self, state: TreeState, options: TreeOptions, limits: Limits) -> None:
        super().__init__(options, limits)
        self._state = state
        self._attribute = OverlayMarks(os.geteuid() == 0).attribute

    def prepare(self) -> None:
        self._state.prepare()

    def _stage(self, layer: PlannedLayer) -> UnpackedLayer | None:
        if self._is_in_place(layer):
            return None
        root = self._state.stage(layer.key)
        unpacked = UnpackedLayer(root, layer.source, self._options, self._limits)
        unpacked.use_overlay()
        return unpacked

    def _is_in_place(self, layer: PlannedLayer) -> bool:
        """Return whether another task has published a layer that this task did not find."""
        return layer.record is None and self._state.layer(layer.key) is not None

    def finish(self, layers: t.Sequence[PlannedLayer]) -> None:
        with contextlib.ExitStack() as opened, access(self._state.path):
            below: list[int] = []
            new = []
            for layer in layers:
                unpacked = self._unpacked.get(layer.key)
                if unpacked is None:
                    root = self._state.open_layer(layer.key)
                else:
                    unpacked.complete(Lower(below, self._attribute))
                    root = os.dup(unpacked.root)
                    new.append(layer)
                opened.callback(os.close, root)
                below.insert(0, root)
            for layer in new:
                self._describe(layer)
            for key in self._state.publish([layer.key for layer in new]):
                with contextlib.closing(self._unpacked.pop(key)) as unpacked:
                    self.counts[key] = unpacked.counts

    def _describe(self, layer: PlannedLayer) -> None:
        counts, source = self._unpacked[layer.key].counts, layer.source
        record = LayerRecord(
            str(source.diff_id), str(layer.chain_id), counts.entries, counts.bytes, counts.skipped
        )
        self._state.describe(layer.key, record)

    def close(self) -> None:
        super().close()
        # The error of the task says more, and the next task removes what is left.
        with contextlib.suppress(OSError):
            self._state.empty_staging()

    def first_difference(self, layer: PlannedLayer, below: t.Sequence[PlannedLayer]) -> str:
        """Return how the files of a layer in place differ from its archive, "" if they do not."""
        with contextlib.ExitStack() as opened, access(self._state.path):
            unpacked = UnpackedLayer(
                self._state.stage(layer.key), layer.source, self._options, self._limits
            )
            opened.callback(self._state.discard, layer.key)
            opened.callback(unpacked.close)
            unpacked.use_overlay()
            unpacked.fill()
            roots = [self._state.open_layer(one.key) for one in (layer, *reversed(below))]
            for root in roots:
                opened.callback(os.close, root)
            unpacked.complete(Lower(roots[1:], self._attribute))
            found = Comparison().first_difference(roots[0], unpacked.root)
            return f"{shown(found.path)} {found.what}" if found else ""


class TreeBuilder(Builder):
    """Merges the layers of one image to one tree, and exchanges it for what is at ``dest``."""

    def __init__(
        self, state: TreeState, options: TreeOptions, limits: Limits, dest: str, facts: t.Mapping[str, t.Any],
        config: t.Mapping[str, t.Any] | None,
    ) -> None:  # fmt: skip
        super().__init__(options, limits)
        self._state, self._dest, self._facts, self._config = state, dest, facts, config
        self._above, self._name = os.path.split(dest)
        self._staging_name = f".{self._name}.lockstep"
        self._opened = contextlib.ExitStack()

    def prepare(self) -> None:
        self._state.prepare()
        require_replaceable(self._dest, self._state)
        with access(self._dest):
            os.makedirs(self._above, exist_ok=True)
            self._parent = self._open(self._above, None)
            remove(self._parent, self._staging_name)
            os.mkdir(self._staging_name, 0o700, dir_fd=self._parent)
            self._staging = self._open(self._staging_name, self._parent)

    def _open(self, name: str, parent: int | None) -> int:
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        self._opened.callback(os.close, fd)
        return fd

    def _stage(self, layer: PlannedLayer) -> UnpackedLayer | None:
        os.mkdir(layer.key, 0o700, dir_fd=self._staging)
        root = os.open(layer.key, DIRECTORY, dir_fd=self._staging)
        return UnpackedLayer(root, layer.source, self._options, self._limits)

    def finish(self, layers: t.Sequence[PlannedLayer]) -> None:
        with access(self._dest):
            os.mkdir("bundle", 0o700, dir_fd=self._staging)
            bundle = self._open("bundle", self._staging)
            os.mkdir(ROOTFS, 0o755, dir_fd=bundle)
            root = self._open(ROOTFS, bundle)
            os.chmod(root, 0o755)
            os.utime(root, ns=(0, 0))
            merged = {}
            for number, layer in enumerate(layers):
                with contextlib.closing(self._unpacked.pop(layer.key)) as unpacked:
                    unpacked.complete(Lower([root] if number else [], None))
                    merge(root, unpacked.root, unpacked.notes, self._options.keeps_owner)
                    merged[layer.key] = unpacked.counts
            if self._config is not None:
                write_config(bundle, root, self._config)
            self._state.flush(self._staging)
            if self._config is None:
                self._exchange("bundle/" + ROOTFS, root, merged)
            else:
                self._exchange("bundle", bundle, merged)

    def _exchange(self, new: str, directory: int, merged: t.Mapping[str, Counts]) -> None:
        """Put the new tree in place of what is at ``dest``, which moves to the staging directory.

        It is recorded before, so that the next task knows both trees as its own if this one is killed.
        """
        require_replaceable(self._dest, self._state)
        source = f"{self._staging_name}/{new}"
        self._state.record_tree(self._dest, self._facts, directory)
        with contextlib.ExitStack() as moved:
            moved.enter_context(movable(self._parent, source))
            if os.path.lexists(self._dest):
                moved.enter_context(movable(self._parent, self._name))
                exchange(self._parent, source, self._name)
            else:
                os.rename(source, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
            self.counts.update(merged)
        self._state.record_tree(self._dest, self._facts, directory)
        os.fsync(self._parent)

    def close(self) -> None:
        super().close()
        parent = getattr(self, "_parent", None)
        if parent is not None:
            with contextlib.suppress(OSError):
                remove(parent, self._staging_name)
        self._opened.close()


def require_replaceable(dest: str, state: TreeState) -> None:
    """Raise TreeAccessError unless ``dest`` is missing, an empty directory or a tree from here; TreeBusyError if it is mounted."""
    with access(dest):
        if not os.path.lexists(dest):
            return
        if os.path.islink(dest) or not os.path.isdir(dest):
            raise TreeAccessError(f"{dest}: is not a directory", "Give a path that does not exist.")
        inside = mounts_below(os.path.realpath(dest))
        if inside:
            raise TreeBusyError(
                f"{dest}: a file system is mounted at {inside[0]}", "Unmount it, and run again."
            )
        if not state.owns(dest) and os.listdir(dest):
            raise TreeAccessError(
                f"{dest}: is not empty, and its content was not unpacked by this collection",
                "Give a path that does not exist. Nothing there was changed.",
            )


def exchange(directory: int, one: str, other: str) -> None:
    """Exchange two names at once (renameat2(2)), or in two steps where the file system cannot."""
    names = (os.fsencode(one), os.fsencode(other))
    with contextlib.suppress(AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(directory, names[0], directory, names[1], 2) == 0:
            return
    old = os.path.dirname(one) + "/old"
    os.rename(other, old, src_dir_fd=directory, dst_dir_fd=directory)
    os.rename(one, other, src_dir_fd=directory, dst_dir_fd=directory)
