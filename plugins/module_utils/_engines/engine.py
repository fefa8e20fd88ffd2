# SPDX-License-Identifier: GPL-3.0-or-later
"""What every container engine does for a load: say what it holds, take images and names, give names back."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .._archive.image_archive import ImageContent, OpenBlob
from .._image.errors import readable_size
from .._image.manifest import Descriptor, Manifest
from .._image.names import Digest, Platform, Reference
from . import errors

PRESENT, TAGGED, LOADED, MOVED, REPAIRED = "present", "tagged", "loaded", "moved", "repaired"
KEPT = "kept"  # the name points at another image, and stays there
UNCHANGED = (PRESENT, KEPT)
MOVE, KEEP, FAIL = "move", "keep", "fail"
# Returns a manifest that the engine may hold, from elsewhere; None for one that is not known.
ReadManifest = t.Callable[[Digest], t.Optional[Manifest]]


class HeldImage(t.NamedTuple):
    """An image that an engine holds. ``id`` is what the engine calls it, ``layers`` are chain ids, None if unknown.

    ``names`` and ``digests`` are complete names, ``digests`` with the digest that the engine knows them by. ``size`` is
    in bytes, as the engine counts. ``complete`` is whether it can be run, None if the engine does not say.
    """

    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    size: int | None = None
    layers: tuple[str, ...] | None = None
    complete: bool | None = None
    pinned: bool | None = None

    def as_result(self) -> dict[str, t.Any]:
        """Return it as an entry of ``images`` in the result of engine_info."""
        texts = {key: list(getattr(self, key)) for key in ("names", "digests", "platforms")}
        layers = None if self.layers is None else list(self.layers)
        return dict(
            texts,
            id=self.id,
            size=self.size,
            layers=layers,
            dangling=not self.names,
            complete=self.complete,
            pinned=self.pinned,
        )


class EngineFacts(t.NamedTuple):
    """What an engine is. ``store`` is where it keeps content: graph, containerd, containers-storage or directory."""

    kind: str
    version: str | None = None
    api: str | None = None
    store: str | None = None
    root: str | None = None
    namespace: str | None = None


class KnownImage(t.NamedTuple):
    """What is known of an image without reading it: its configuration, and the digest that ``ImageContent.alone`` has as root.

    ``alone`` is None if only the configuration is known.
    """

    config: Digest
    alone: Digest | None = None


class Finding(t.NamedTuple):
    """What an engine has of an image.

    ``before`` is the id that the name points at, None if there is none; ``id`` is the one it has to point at. ``named``
    is whether everything is recorded under the right id, ``whole`` whether the content is complete and can be run.
    ``missing`` are the layers that the engine lacks.
    """

    id: str
    before: str | None
    named: bool
    whole: bool
    missing: tuple[Descriptor, ...] = ()


@dataclass(frozen=True)
class Load:
    """The plan for one name: its image, what the engine has of it, and the blobs to send for it.

    A blob that several images of a task lack is in ``blobs`` of the first.
    """

    image: ImageContent
    finding: Finding
    status: str
    blobs: tuple[Descriptor, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The name, complete."""
        return self.image.name

    @property
    def bytes_sent(self) -> int:
        """The bytes of the blobs that are sent for it."""
        return sum(self.image.sent_as(blob).size for blob in self.blobs)


class LoadOptions(t.NamedTuple):
    """How images are loaded.

    ``existing`` says what happens to a name that points at another image. ``pin`` protects images from the garbage
    collection of the engine. ``force`` sends all layers.
    """

    existing: str = MOVE
    pin: bool = False
    force: bool = False
    platform: Platform | None = None  # of all images; None if it is not known

    @classmethod
    def of(cls, params: t.Mapping[str, t.Any]) -> LoadOptions:
        """Read the options of image_load."""
        asked = params["platform"]
        platform = Platform.parse(asked) if asked else Platform.host()
        return cls(params["existing"], params["pin"], params["force"], platform)


class Engine:
    """A container engine on this host. Nothing is changed before ``load``.

    A new engine implements the methods that raise NotImplementedError here. All methods raise an EngineError.
    """

    keeps_digests = True  # whether it can find an image by name@digest afterwards
    pins = False  # whether it can protect images from the garbage collection of Kubernetes
    # Whether ``find`` asks for manifests of images that the engine holds and the task does not name.
    reads_manifests = False
    lanes = 1  # how many sends it works on at the same time

    def __init__(self) -> None:
        self.stats = {"bytes_sent": 0, "requests": 0, "processes": 0}

    def count_sent(self, size: int) -> None:
        """Count bytes of content, as soon as they are sent."""
        self.stats["bytes_sent"] += size

    def facts(self) -> EngineFacts:
        """Return what the engine is."""
        raise NotImplementedError

    def images(self, details: bool = False) -> t.Sequence[HeldImage]:
        """Return what the engine holds; ``details`` also asks for what a load does not need."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Forget what the engine held, so that it is asked again."""
        raise NotImplementedError

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return what the engine has of an image; raise UnsupportedByEngineError for one that it cannot keep."""
        raise NotImplementedError

    def held_as(
        self, reference: Reference, root: Digest, known: KnownImage | None, options: LoadOptions
    ) -> str | None:
        """Return the id of an image that needs nothing, found by its name and digests alone; None if that is not known.

        ``root`` is what the name points at in its registry.
        """
        return None

    def keeps_digest(self, root: Digest, image_id: str) -> bool:
        """Return whether the engine can find an image by name@digest, which is ``root`` in its registry."""
        return self.keeps_digests

    def to_send(
        self, image: ImageContent, found: Finding, options: LoadOptions, sent: set[Digest]
    ) -> tuple[Descriptor, ...]:
        """Return the blobs to send for an image.

        ``sent`` are those that earlier images of the task bring; those of this one are added.
        """
        layers = image.manifest.layers if options.force else found.missing
        blobs = {blob.digest: blob for blob in layers if blob.digest not in sent}
        sent.update(blobs)
        return tuple(blobs.values())

    def prepare(self, load: Load, open_blob: OpenBlob | None) -> Load:
        """Return a load as the engine can take it; by default as it is.

        ``open_blob`` is None as long as no blob can be read. Raise UnsupportedLayerError for a layer that the engine cannot
        read, not even in another compression, and an error of the content.
        """
        return load

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return how many bytes ``send`` sends to the engine."""
        raise NotImplementedError

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Give the engine the names of ``loads``, and the blobs that they list."""
        raise NotImplementedError

    def begin(
        self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions
    ) -> t.Callable[[], object]:
        """Send as ``send`` does, and return what waits until the engine has done its work.

        An engine with several ``lanes`` implements it. Only ``begin`` opens blobs; any thread may wait.
        """
        self.send(loads, open_blob, options)
        return tuple

    def restore(self, load: Load) -> None:
        """Point a name at what it was before, or remove it if it was not there."""
        raise NotImplementedError

    def warnings(self) -> t.Sequence[str]:
        """Return what users should know of the engine, beside its images."""
        return ()

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the engine cannot take ``size`` bytes; by default it is not known."""


def require_loadable(image: ImageContent) -> None:
    """Raise UnsupportedByEngineError for an image whose manifest and configuration contradict each other."""
    if len(image.diff_ids) != len(image.manifest.layers):
        raise errors.UnsupportedByEngineError(
            f"{image.name}: its configuration lists {len(image.diff_ids)} layers, its manifest"
            f" {len(image.manifest.layers)}"
        )


def require_disk(path: str, size: int, hint: str = "") -> None:
    """Raise EngineNoSpaceError if the disk of a directory has less than ``size`` bytes; not if that is unknown."""
    with contextlib.suppress(OSError):
        found = os.statvfs(path)
        free = found.f_bavail * found.f_frsize
        if size > free:
            need, left = map(readable_size, (size, free))
            text = f"{path}: {need} needed, {left} free"
            raise errors.EngineNoSpaceError(text, hint, path=path)
