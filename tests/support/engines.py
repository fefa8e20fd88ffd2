# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container engine in memory."""

from __future__ import annotations

import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._archive.image_archive import (
    ImageContent,
    OpenBlob,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    Engine,
    EngineFacts,
    Finding,
    HeldImage,
    KnownImage,
    Load,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference


class FakeEngine(Engine):
    """An engine that verifies every layer that it is sent, and takes all images of a batch or none.

    ``names`` are ids by name, ``layers`` the digests of the layers that it has. An id is the digest of the configuration
    if the engine keeps no digests, else that of the root. ``batches`` are the names that were sent at once. ``script``
    sets what happens during the next sends: an error is raised, after all blobs were read, a function is called.
    """

    def __init__(self, keeps_digests: bool = False, read_manifest: t.Any = None) -> None:
        super().__init__()
        self.keeps_digests = self.reads_manifests = keeps_digests
        self.names: dict[str, str] = {}
        self.layers: set[str] = set()
        self.whole: set[str] = set()
        self.free = 1 << 62
        self.batches: list[list[str]] = []
        self.read: list[str] = []
        self._read_manifest = read_manifest or (lambda _digest: None)
        self._script: list[t.Callable[[], object]] = []

    def script(self, *events: t.Any) -> None:
        """Queue what happens during the next sends; None is for one without an event."""
        self._script.extend(map(_as_function, events))

    def facts(self) -> EngineFacts:
        return EngineFacts("fake", "1")

    def images(self, details: bool = False) -> list[HeldImage]:
        ids = dict.fromkeys([*self.names.values(), *self.whole])
        return [
            HeldImage(one, tuple(name for name, target in self.names.items() if target == one))
            for one in ids
        ]

    def refresh(self) -> None:
        self.stats["requests"] += 1

    def held_as(
        self, reference: Reference, root: Digest, known: KnownImage | None, options: LoadOptions
    ) -> str | None:
        wanted = str(root if self.keeps_digests else known and known.config)
        found = self.names.get(reference.store_name)
        return found if found == wanted and found in self.whole else None

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        wanted = self._id_of(image)
        before = self.names.get(image.name)
        is_whole = wanted in self.whole
        there = set(self.layers)
        if self.keeps_digests:
            known = (self._read_manifest(Digest.parse(one)) for one in self.whole)
            there = {str(blob.digest) for manifest in known if manifest for blob in manifest.layers}
        missing = [blob for blob in image.manifest.layers if str(blob.digest) not in there]
        return Finding(
            wanted, before, before == wanted, is_whole, () if is_whole else tuple(missing)
        )

    def size_of(self, loads: t.Sequence[Load]) -> int:
        return sum(100 + load.bytes_sent for load in loads)

    def require_space(self, size: int) -> None:
        if size > self.free:
            raise errors.EngineNoSpaceError(f"{size} bytes needed, {self.free} free")

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        self.batches.append([load.name for load in loads])
        arrived = set()
        for blob in (blob for load in loads for blob in load.blobs):
            with open_blob(blob) as file:
                data = file.read()
            assert blob.digest.matches(data), f"{blob.digest} was sent with other bytes"
            arrived.add(str(blob.digest))
            self.read.append(str(blob.digest))
        self.stats["bytes_sent"] += self.size_of(loads)
        if self._script:
            self._script.pop(0)()
        self.layers |= arrived
        for load in loads:
            if {str(blob.digest) for blob in load.image.manifest.layers} - self.layers:
                raise errors.EngineError(f"{load.name}: a layer is missing")
            self.names[load.name] = self._id_of(load.image)
            self.whole.add(self._id_of(load.image))

    def restore(self, load: Load) -> None:
        self.names.pop(load.name, None)
        if load.finding.before:
            self.names[load.name] = load.finding.before

    def _id_of(self, image: ImageContent) -> str:
        blob = image.root if self.keeps_digests else image.config_blob
        return str(blob.digest)


def _as_function(event: t.Any) -> t.Callable[[], object]:
    def fail() -> t.NoReturn:
        raise event

    return fail if isinstance(event, BaseException) else event or tuple
