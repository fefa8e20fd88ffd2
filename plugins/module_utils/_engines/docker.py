# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Engine 20.10 and later: loads images with archives, several at a time."""

from __future__ import annotations

import os
import threading
import typing as t
import urllib.parse

from .._archive.archive import Archive
from .._archive.image_archive import Entry, ImageContent, OpenBlob, image_archive, unopened
from .._image.manifest import Descriptor
from .._image.names import Digest, Reference
from .docker_api import DockerApi, LoadAnswer
from .docker_store import open_store
from .engine import (
    Engine,
    EngineFacts,
    Finding,
    HeldImage,
    KnownImage,
    Load,
    LoadOptions,
    ReadManifest,
    require_disk,
)
from .options import socket_path
from .plain_layers import PlainLayers

DEFAULT_SOCKET = "/var/run/docker.sock"
# Docker unpacks the layers of an archive one after the other, those of several archives at the same time. One more than
# there are processors, because each waits for the disk, too.
_MOST_LANES = 4


def docker_sockets() -> list[str]:
    """Return where Docker may listen: at DOCKER_HOST, or else as root or as the user of the task."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return [socket_path(host)]
    directory = os.environ.get("XDG_RUNTIME_DIR")
    return [DEFAULT_SOCKET, *([f"{directory}/docker.sock"] if directory else [])]


class DockerEngine(Engine):
    """The Docker daemon behind a socket.

    ``read_manifest`` returns manifests that the engine may hold, None for unknown ones. ``timeout`` is in seconds without
    an answer, ``load_timeout`` in seconds without a byte of the answer to a load.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        load_timeout: float,
        read_manifest: ReadManifest,
    ) -> None:
        super().__init__()
        self._api = DockerApi(path, timeout, self.stats)
        self._info = self._api.get("/info")
        self._store = open_store(self._api, self._info, read_manifest)
        self._load_timeout = load_timeout
        self._plain_layers = PlainLayers()
        self._broken: set[str] = set()  # names that the engine has, but could not unpack
        self._lock = threading.Lock()
        self.lanes = min(_MOST_LANES, (os.cpu_count() or 1) + 1)
        self.keeps_digests = self._store.keeps_digests
        self.reads_manifests = self._store.reads_manifests

    def facts(self) -> EngineFacts:
        """Return what the engine is."""
        api = ".".join(map(str, self._api.version))
        root, version = self._info.get("DockerRootDir"), self._info.get("ServerVersion")
        return EngineFacts("docker", version, api, self._store.kind, root)

    def images(self, details: bool = False) -> list[HeldImage]:
        """Return what the engine holds; ``details`` also asks for the layers of each image."""
        return self._store.held(details)

    def refresh(self) -> None:
        """Forget what the engine held, so that it is asked again."""
        self._store.refresh()

    def held_as(
        self, reference: Reference, root: Digest, known: KnownImage | None, options: LoadOptions
    ) -> str | None:
        """Return the id of an image that is there under its name, if digests alone show that."""
        config = known.config if known else None
        is_right = self._store.proves(reference, root, config, options.platform)
        return self._store.target_of(reference) if is_right else None

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return what the engine has of an image; raise UnsupportedByEngineError for one that it cannot keep."""
        store = self._store
        store.require_loadable(image)
        wanted, before = store.id_of(image), store.target_of(image.reference)
        whole = store.is_whole(image) and image.name not in self._broken
        missing = () if whole else tuple(store.missing(image))
        return Finding(wanted, before, before == wanted, whole, missing)

    def to_send(
        self, image: ImageContent, found: Finding, options: LoadOptions, sent: set[Digest]
    ) -> tuple[Descriptor, ...]:
        """Return the blobs to send for an image; ``sent`` are the layers that earlier images bring, as the daemon knows them.

        A graph driver does not find a blob on other layers than those that it came with, such as an empty layer.
        """
        wanted = set(image.manifest.layers if options.force else found.missing)
        layers = [layer for layer in image.layers if layer.blob in wanted]
        new = [layer for layer in layers if self._store.layer_id(layer) not in sent]
        sent.update(map(self._store.layer_id, new))
        return tuple({layer.blob.digest: layer.blob for layer in new}.values())

    def prepare(self, load: Load, open_blob: OpenBlob | None) -> Load:
        """Return a load whose layers the engine can read; raise UnsupportedLayerError if it cannot be made."""
        if self._store.reads_zstd:
            return load
        return self._plain_layers.prepare(load, open_blob)

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return how many bytes ``send`` sends to the engine."""
        _tagged, sent = _split(loads)
        return _archive(sent, unopened).size if sent else 0

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Tag existing images, and send one archive of everything else."""
        self.begin(loads, open_blob, options)()

    def begin(
        self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions
    ) -> t.Callable[[], object]:
        """Send as ``send`` does, and return what waits until the daemon has unpacked the layers."""
        tagged, sent = _split(loads)
        for load in tagged:
            self._tag(load.finding.id, load.image.reference)
        if not sent:
            return tuple
        names = {load.name for load in sent}
        answer = self._api.load(_archive(sent, open_blob), self._load_timeout)
        return lambda: self._note(names, answer())

    def restore(self, load: Load) -> None:
        """Point a name at what it was before, or remove it if it was not there."""
        self.refresh()
        before, now = load.finding.before, self._store.target_of(load.image.reference)
        if before and now != before:
            self._tag(before, load.image.reference)
        elif now and not before:
            self._remove(load.name)
        self._remove_unusable(load)

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the disk of the engine has less than ``size`` bytes."""
        require_disk(str(self._info.get("DockerRootDir") or ""), size)

    def _note(self, names: set[str], answer: LoadAnswer) -> None:
        """Note what the daemon says of the images with ``names``; raise its error."""
        with self._lock:
            self._broken = (self._broken - names) | answer.broken
        if answer.error:
            raise answer.error

    def _tag(self, target: str, reference: Reference) -> None:
        query = urllib.parse.urlencode({"repo": reference.name, "tag": reference.tag or ""})
        self._api.request("POST", f"/images/{target}/tag?{query}")

    def _remove(self, name: str) -> None:
        self._api.request("DELETE", f"/images/{urllib.parse.quote(name, safe='')}?noprune=true")

    def _remove_unusable(self, load: Load) -> None:
        """Remove an image that came incomplete, once it has no name."""
        self.refresh()
        for one in self._store.held(details=False):
            if one.id == load.finding.id and not one.names and one.complete is False:
                self._remove(one.id)


def _split(loads: t.Sequence[Load]) -> tuple[list[Load], list[Load]]:
    """Return the loads that need a tag only, and those that need content."""
    tagged = [load for load in loads if load.finding.whole and not load.blobs]
    return tagged, [load for load in loads if load not in tagged]


def _archive(loads: t.Sequence[Load], open_blob: OpenBlob) -> Archive:
    return image_archive([Entry(load.image, (load.name,), load.blobs) for load in loads], open_blob)
