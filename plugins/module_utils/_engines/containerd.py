# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd 1.6 and later by its program ``ctr``, also that of k3s and RKE2.

An image is right if its name and ``repository@digest``, by which the kubelet finds an image with a digest, point at its
root, and its content is complete and unpacked.

An image is sent in two imports: the content under ``repository@digest``, then the names in an archive without blobs.
containerd 1.6 creates names before it unpacks, so one import could leave a tag on an image that cannot be used.

An import by ctr 2 replaces the labels of names, and one by ctr 1 keeps them. A label that is set again later is lost if the
task is killed before, and no later task knows of it. So names that are pinned are imported apart, with the label: then a name
moves and stays pinned in one step.
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
        self._pinned: frozenset[str] = frozenset()  # names that were pinned before the first send
        self._has_sent = False
        self._can_label: bool | None = None
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
        groups = (*self._groups(_content(loads)), *self._groups(_names_only(loads)))
        return sum(_archive(group.entries, unopened).size for group in groups)

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Send content under the names by digest, then name everything that is complete."""
        before, failure = self._known(), None
        self._has_sent = True
        self._added |= {_names_of(load)[-1] for load in loads} - before.names.keys()
        for group in self._groups(_content(loads)):
            self.refresh()
            labels = self._labels(group.is_pinned)
            try:
                self._ctr.load(_archive(group.entries, open_blob), *_flags(group.platform), *labels)
            except errors.EngineGoneError:
                raise
            except errors.EngineError as exc:
                failure = exc
        complete = [load for load in loads if self.find(load.image, options).whole]
        if complete:
            self._name(complete, options)
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
            archive = _pointer(load.image, before, self._ctr.read(before))
            self._ctr.load(archive, "--no-unpack", *self._labels(load.name in self._pinned))
        elif now and not before:
            extra.add(load.name)
        if extra:
            self._ctr.remove(sorted(extra))
        self.refresh()

    def _known(self) -> Held:
        if self._held is None:
            self._held = Held.read(self._ctr)
            if not self._has_sent:
                names = self._held.names
                self._pinned = frozenset(name for name, one in names.items() if one.pinned)
            if self._warnings is None:
                self._warnings = self._check_namespace(self._held)
        return self._held

    def _check_namespace(self, held: Held) -> list[str]:
        namespace = self._ctr.namespace
        if held.names or held.content or namespace in self._ctr.namespaces():
            return []
        hint = "" if namespace == _KUBERNETES else f"; the kubelet uses {_KUBERNETES}"
        return [f"containerd had no namespace {namespace}{hint}"]

    def _name(self, loads: t.Sequence[Load], options: LoadOptions) -> None:
        """Name images whose content is complete, and pin the names that the task pins, or that were pinned."""
        self.refresh()
        for group in self._groups(_names_only(loads)):
            is_pinned = options.pin or group.is_pinned
            labels = self._labels(is_pinned)
            archive = _archive(group.entries, unopened)
            self._ctr.load(archive, "--no-unpack", *_flags(group.platform), *labels)
            for name in (name for entry in group.entries for name in entry.names):
                if is_pinned and not labels:
                    self._ctr.pin(name)

    def _groups(self, entries: t.Iterable[Entry]) -> list[_Group]:
        """Return ``entries`` by what an import has only one of: a platform, and whether its names get the label of pins."""
        groups: dict[tuple[Platform | None, bool], list[Entry]] = {}
        for entry in entries:
            platform = _foreign_platform(entry.image)
            for is_pinned in (False, True):
                names = tuple(name for name in entry.names if (name in self._pinned) == is_pinned)
                if names:
                    group = groups.setdefault((platform, is_pinned), [])
                    group.append(entry._replace(names=names))
        return [_Group(*key, group) for key, group in groups.items()]

    def _labels(self, is_pinned: bool) -> tuple[str, ...]:
        """Return the options of an import whose names are pinned by it; none for a ctr without them, which keeps labels."""
        if is_pinned and self._can_label is None:
            self._can_label = _is_since_2(self._ctr.versions()[0])
        return ("--label", f"{PINNED}=pinned") if is_pinned and self._can_label else ()


class _Group(t.NamedTuple):
    """What one import sends. ``platform`` is None for that of this host."""

    platform: Platform | None
    is_pinned: bool
    entries: list[Entry]


def _names(reference: Reference, root: Digest) -> tuple[str, ...]:
    """Return the names of an image: its own, and the one by digest, which may be the same."""
    return tuple(dict.fromkeys((reference.store_name, f"{reference.name}@{root}")))


def _names_of(load: Load) -> tuple[str, ...]:
    return _names(load.image.reference, load.image.root.digest)


def _content(loads: t.Sequence[Load]) -> list[Entry]:
    """Return the content that is missing, under names by digest."""
    return [
        Entry(load.image, _names_of(load)[-1:], load.blobs)
        for load in loads
        if load.blobs or not load.finding.whole
    ]


def _names_only(loads: t.Sequence[Load]) -> list[Entry]:
    """Return what names images whose content is in the engine."""
    return [Entry(load.image, _names_of(load), manifests=False) for load in loads]


def _archive(entries: t.Sequence[Entry], open_blob: OpenBlob) -> Archive:
    return image_archive(entries, open_blob, docker=False)


def _pointer(image: ImageContent, target: str, raw: bytes) -> Archive:
    """Return an archive that points the name of ``image`` at the manifest ``raw``, which has the digest ``target``."""
    media_type = Manifest.parse(raw, "", target).media_type
    root = Descriptor(media_type, Digest.parse(target), len(raw))
    entry = Entry(image, (image.name,), manifests=False, root=root)
    return _archive([entry], unopened)


def _foreign_platform(image: ImageContent) -> Platform | None:
    """Return the platform of an image, None for that of this host."""
    platform = ImageConfig.parse(image.config, image.name).platform
    runs_here = platform is None or Platform.host().rank(platform) == 0
    return None if runs_here else platform


def _flags(platform: Platform | None) -> tuple[str, ...]:
    return ("--platform", str(platform)) if platform else ()


def _is_since_2(version: str | None) -> bool:
    """Return whether ctr is of containerd 2 or later, whose import takes labels."""
    major = (version or "").partition(".")[0]
    return major.isdigit() and int(major) >= 2
