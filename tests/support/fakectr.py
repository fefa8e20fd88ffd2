# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A containerd in memory, behind the interface of ctr."""

from __future__ import annotations

import io
import json
import tarfile
import typing as t
from collections.abc import Callable

from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import Archive
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.ctr import Ctr, NamedImage
from ansible_collections.lockstep.images.plugins.module_utils._image.chain import chain_ids
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

REFERS_TO = "containerd.io/gc.ref.content"
UNPACKED_IN = "containerd.io/gc.ref.snapshot.overlayfs"


class Import(t.NamedTuple):
    """An import: its options, the names that it sets, and the digests of the blobs in it."""

    options: tuple[str, ...]
    names: list[str]
    blobs: set[str]


class FakeCtr(Ctr):
    """A namespace of a containerd of a version, which names before it unpacks if it is 1.6.

    ``imports`` are the imports so far, ``calls`` the other changes. ``before_import`` is called before each import, ``step``
    before and after every change: a task that is killed there has made all changes so far, and none of the others.
    """

    def __init__(self, version: str = "1.6.20") -> None:
        self.namespace = "default"
        self.stats = dict.fromkeys(("bytes_sent", "requests", "processes"), 0)
        self.version = version
        self.targets: dict[str, str] = {}
        self.pinned: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.labels: dict[str, dict[str, str]] = {}
        self.unpacked: dict[str, str | None] = {}
        self.imports: list[Import] = []
        self.calls: list[tuple[str, ...]] = []
        self.before_import: Callable[[], None] = lambda: None
        self.step: Callable[[], None] = lambda: None
        self.root: str | None = None

    def versions(self) -> list[str | None]:
        return [self.version, self.version]

    def names(self) -> dict[str, NamedImage]:
        self.stats["processes"] += 1
        return {
            name: NamedImage(target, "", name in self.pinned, ("linux/amd64", "unknown/unknown"), 7)
            for name, target in self.targets.items()
        }

    def content(self) -> dict[str, dict[str, str]]:
        self.stats["processes"] += 1
        return {digest: dict(self.labels.get(digest, {})) for digest in self.blobs}

    def snapshots(self, snapshotter: str) -> dict[str, str | None]:
        self.stats["processes"] += 1
        assert snapshotter == "overlayfs"
        return dict(self.unpacked)

    def namespaces(self) -> list[str]:
        self.stats["processes"] += 1
        return ["default"] if self.blobs else []

    def content_root(self) -> str | None:
        return self.root

    def read(self, digest: str) -> bytes:
        return self.blobs[digest]

    def pin(self, name: str) -> None:
        self.step()
        self.calls.append(("pin", name))
        self.pinned.add(name)
        self.step()

    def remove(self, names: t.Sequence[str]) -> None:
        self.step()
        self.calls.append(("remove", *names))
        for name in names:
            del self.targets[name]
            self.pinned.discard(name)
        self.step()

    def load(self, archive: Archive, *options: str) -> None:
        self.step()
        self._import(archive, *options)
        self.step()

    def _import(self, archive: Archive, *options: str) -> None:
        self.before_import()
        index, blobs = self._receive(archive)
        names = {
            one["annotations"]["io.containerd.image.name"]: one["digest"]
            for one in index["manifests"]
        }
        self.imports.append(Import(options, sorted(names), set(blobs)))
        self.blobs.update(blobs)
        is_1 = self.version.startswith("1.")
        if is_1:
            self.targets.update(names)
        for target in names.values():
            self._label(target)
            if "--no-unpack" not in options:
                self._unpack(target)
        self.targets.update(names)
        if not is_1:  # labels are replaced
            self.pinned -= names.keys()
            self.pinned |= names.keys() if "--label" in options else set()

    def _receive(self, archive: Archive) -> tuple[dict[str, t.Any], dict[str, bytes]]:
        received = io.BytesIO()
        archive.write_to(_Output(received))
        self.stats["bytes_sent"] += len(received.getvalue())
        received.seek(0)
        with tarfile.open(fileobj=received) as tar:
            files = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        blobs = {
            name[len("blobs/") :].replace("/", ":"): data
            for name, data in files.items()
            if name.startswith("blobs/")
        }
        return json.loads(files["index.json"]), blobs

    def _label(self, digest: str) -> None:
        """Record what a manifest keeps, and all manifests below it."""
        manifest = json.loads(self.blobs[digest])
        if "manifests" in manifest:
            children = [one["digest"] for one in manifest["manifests"]]
            here = [one for one in children if one in self.blobs]
            self.labels[digest] = {f"{REFERS_TO}.m.{place}": one for place, one in enumerate(here)}
            for child in here:
                self._label(child)
            return
        layers = [one["digest"] for one in manifest["layers"]]
        self.labels[digest] = {f"{REFERS_TO}.l.{place}": one for place, one in enumerate(layers)}
        self.labels[digest][f"{REFERS_TO}.config"] = manifest["config"]["digest"]

    def _unpack(self, digest: str) -> None:
        """Unpack an image, or all images below an index that are there."""
        manifest = json.loads(self.blobs[digest])
        if "manifests" in manifest:
            for child in manifest["manifests"]:
                if child["digest"] in self.blobs:
                    self._unpack(child["digest"])
            return
        config = manifest["config"]["digest"]
        diff_ids = json.loads(self.blobs[config])["rootfs"]["diff_ids"]
        chains = map(str, chain_ids(list(map(Digest.parse, diff_ids))))
        below: str | None = None
        for layer, chain in zip(manifest["layers"], chains):
            if chain not in self.unpacked and layer["digest"] not in self.blobs:
                raise errors.EngineError(f"content digest {layer['digest']}: not found")
            self.unpacked[chain] = below
            below = chain
        if below:
            self.labels[config] = {UNPACKED_IN: below}


class _Output:
    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        return self._file.write(file.read(size))
