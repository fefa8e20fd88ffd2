# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd 1.6 and later by its program ``ctr``, also that of k3s and RKE2.

An image is right if its name and ``repository@digest``, by which the kubelet finds an image with a digest, point at its
root, and its content is complete and unpacked.

An image is sent in two imports: the content under ``repository@digest``, then the names in an archive without blobs.
containerd 1.6 creates names before it unpacks, so one import could leave a tag on an image that cannot be used.
"""

from __future__ import annotations

import typing as t

from .._archive.archive import Archive
from .._archive.image_archive import Entry, ImageContent, OpenBlob, image_archive, unopened
from .._image.manifest import Descriptor, ImageConfig, Manifest
from .._image.names import Digest, Platform, Reference
from . import errors
from .containerd_store import Held
from .ctr import PINNED, Ctr
from .engine import (
    Engine,
    EngineFacts,
    Finding,
    HeldImage,
    KnownImage,
    Load,
    LoadOptions,
    require_disk,
    require_loadable,
)

_KUBERNETES = "k8s.io"


class ContainerdEngine(Engine):
    """One namespace of containerd, as ``ctr`` shows it."""

    pins = True

    def __init__(self, ctr: Ctr) -> None:
        super().__init__()
        self._ctr, self.stats = ctr, ctr.stats
        self._held: Held | None = None
        self._added: set[str] = set()  # names by digest that this task added
        self._version: str | None = None
        self._warnings: list[str] | None = None

    def facts(self) -> EngineFacts:
        """Return what the engine is; its version only after ``images`` with details, which asks for it."""
        namespace = self._ctr.namespace
        return EngineFacts("containerd", self._version, store="containerd", namespace=namespace)

    def images(self, details: bool = False) -> list[HeldImage]:
        """Return what the namespace holds; ``details`` also asks for the version."""
        if details:
            self._version = self._ctr.versions()[1]
        return self._known().images()

    def refresh(self) -> None:
        """Forget what the engine held, so that it is asked again."""
        self._held = None

    def warnings(self) -> t.Sequence[str]:
        """Return whether the namespace is new: a mistyped one would be filled, and seen by nobody."""
        return self._warnings or ()

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return what the engine has of an image; raise UnsupportedByEngineError for one that it cannot keep."""
        require_loadable(image)
        held, root = self._known(), str(image.root.digest)
        names = _names(image.reference, image.root.digest)
        is_named = held.points_at(names, root) and (held.pins(names) or not options.pin)
        missing = held.missing(image)
        is_whole = held.has_manifests(image) and held.is_unpacked(image)
        if is_whole and missing:
            # An import of names alone would record that containerd keeps the layers, so a new name takes them too.
            is_whole = is_named and held.discards_layers(image)
        return Finding(
            root,
            held.target_of(image.name),
            is_named,
            is_whole,
            () if is_whole else missing,
        )

    def held_as(
        self, reference: Reference, root: Digest, known: KnownImage | None, options: LoadOptions
    ) -> str | None:
        """Return ``root`` if the names of an image point at it, and everything that it needs is there and unpacked."""
        held, names, target = self._known(), _names(reference, root), str(root)
        if not held.points_at(names, target) or (options.pin and not held.pins(names)):
            return None
        config = str(known.config) if known else None
        return target if held.is_complete(target, config) else None

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return how many bytes ``send`` sends to the engine."""
        archives = [
            archive
            for group in _by_platform(loads).values()
            for archive in (_content(group, unopened), _names_only(group))
        ]
        return sum(archive.size for archive in archives if archive)

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Send content under the names by digest, then name everything that is complete."""
        before, failure = self._known(), None
        self._added |= {_names_of(load)[-1] for load in loads} - before.names.keys()
        for platform, group in _by_platform(loads).items():
            archive = _content(group, open_blob)
            if archive is None:
                continue
            self.refresh()
            try:
                self._ctr.load(archive, *_flags(platform))
            except errors.EngineGoneError:
                raise
            except errors.EngineError as exc:
                failure = exc
        complete = [load for load in loads if self.find(load.image, options).whole]
        self._name(complete, options, before)
        if failure:
            raise failure

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the disk of the content store has less than ``size`` bytes."""
        if size:
            require_disk(self._ctr.content_root() or "", size)

    def restore(self, load: Load) -> None:
        """Point a name at what it was before, or remove it; remove the name by digest if this task added it."""
        self.refresh()
        held, before = self._known(), load.finding.before
        now = held.target_of(load.name)
        extra = {_names_of(load)[-1]} & self._added & held.names.keys()
        if before and now != before:
            self._ctr.load(_pointer(load.image, before, self._ctr.read(before)), "--no-unpack")
        elif now and not before:
            extra.add(load.name)
        if extra:
            self._ctr.remove(sorted(extra))
        self.refresh()

    def _known(self) -> Held:
        if self._held is None:
            self._held = Held.read(self._ctr)
            if self._warnings is None:
                self._warnings = self._check_namespace(self._held)
        return self._held

    def _check_namespace(self, held: Held) -> list[str]:
        namespace = self._ctr.namespace
        if held.names or held.content or namespace in self._ctr.namespaces():
            return []
        hint = "" if namespace == _KUBERNETES else f"; the kubelet uses {_KUBERNETES}"
        return [f"containerd had no namespace {namespace}{hint}"]

    def _name(self, loads: t.Sequence[Load], options: LoadOptions, before: Held) -> None:
        """Name images whose content is complete, and pin the names that the task pins, or that were pinned."""
        if not loads:
            return
        can_label = options.pin and _is_since_2(self._ctr.versions()[0])
        flags = ("--label", f"{PINNED}=pinned") if can_label else ()
        self.refresh()
        for platform, group in _by_platform(loads).items():
            self._ctr.load(_names_only(group), "--no-unpack", *_flags(platform), *flags)
        for name in (name for load in loads for name in _names_of(load)):
            # An import by containerd 2 removes the labels of existing names.
            if not flags and (options.pin or before.pins([name])):
                self._ctr.pin(name)


def _names(reference: Reference, root: Digest) -> tuple[str, ...]:
    """Return the names of an image: its own, and the one by digest, which may be the same."""
    return tuple(dict.fromkeys((reference.store_name, f"{reference.name}@{root}")))


def _names_of(load: Load) -> tuple[str, ...]:
    return _names(load.image.reference, load.image.root.digest)


def _content(loads: t.Sequence[Load], open_blob: OpenBlob) -> Archive | None:
    """Return the archive of the content that is missing, under names by digest; None if none is."""
    entries = [
        Entry(load.image, _names_of(load)[-1:], load.blobs)
        for load in loads
        if load.blobs or not load.finding.whole
    ]
    return image_archive(entries, open_blob, docker=False) if entries else None


def _names_only(loads: t.Sequence[Load]) -> Archive:
    """Return an archive that names images whose content is in the engine."""
    entries = [Entry(load.image, _names_of(load), manifests=False) for load in loads]
    return image_archive(entries, unopened, docker=False)


def _pointer(image: ImageContent, target: str, raw: bytes) -> Archive:
    """Return an archive that points the name of ``image`` at the manifest ``raw``, which has the digest ``target``."""
    media_type = Manifest.parse(raw, "", target).media_type
    root = Descriptor(media_type, Digest.parse(target), len(raw))
    entry = Entry(image, (image.name,), manifests=False, root=root)
    return image_archive([entry], unopened, docker=False)


def _by_platform(loads: t.Sequence[Load]) -> dict[Platform | None, list[Load]]:
    """Return loads by their platform, None for the platform of this host."""
    groups: dict[Platform | None, list[Load]] = {}
    host = Platform.host()
    for load in loads:
        platform = ImageConfig.parse(load.image.config, load.name).platform
        runs_here = platform is None or host.rank(platform) == 0
        groups.setdefault(None if runs_here else platform, []).append(load)
    return groups


def _flags(platform: Platform | None) -> tuple[str, ...]:
    return ("--platform", str(platform)) if platform else ()


def _is_since_2(version: str | None) -> bool:
    """Return whether ctr is of containerd 2 or later, whose import takes labels."""
    major = (version or "").partition(".")[0]
    return major.isdigit() and int(major) >= 2
