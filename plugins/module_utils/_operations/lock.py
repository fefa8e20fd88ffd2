# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock: names are asked for once, and a file keeps what they stood for."""

from __future__ import annotations

import collections
import typing as t
from dataclasses import dataclass, field, replace

from .._image import errors
from .._image.copy_blob import read_config
from .._image.graph import Closure, Image, closure_of
from .._image.lock import Lock, LockedImage, locked_platforms
from .._image.manifest import Descriptor, Manifest
from .._image.names import ALL, Digest, Platform, Reference, platforms_of
from .._image.sources import ContentSource, Sources, read_root
from .._lockfile.imagelists import parse_sources, read_sources
from .._lockfile.lockfile import (
    MAX_LOCK,
    images_of_images_lock,
    is_images_lock,
    read_document,
    read_manifests,
    render_images_lock,
    render_lock,
    with_places,
)
from .._lockfile.mentions import Named
from .._plan import Plan, PlanBuilder
from .._store.files import read_file
from .copying import shorten_images
from .lockwriting import write_lock
from .patterns import pattern_of
from .reading import each_once

NONE, EVERYTHING = "none", "all"
EMBED = "embed"
LOCKSTEP, IMGPKG = "lockstep", "imgpkg"
_RENDER = {LOCKSTEP: render_lock, IMGPKG: render_images_lock}


@dataclass(frozen=True)
class _Locked:
    image: LockedImage
    manifests: t.Mapping[Digest, bytes] = field(default_factory=dict, repr=False)
    warnings: t.Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.image.name


@dataclass
class _Locking:
    """How the names of a task are locked: which are resolved again, for which platforms, and with what.

    ``names`` are those of the task and its files, ``named`` the images in files.
    """

    sources: Sources
    old: Lock
    everything: bool
    chosen: t.Container[str]
    platforms: t.Sequence[str]
    embed: bool
    form: str
    allow: bool
    names: t.Sequence[Reference]
    named: t.Sequence[Named]

    def __post_init__(self) -> None:
        # The platforms that files ask for with a name, and the names that are also asked for without.
        self.own, self.shared = _own_platforms(self.names, self.named)
        self.built_at = {one.reference.store_name: one.built_at for one in self.named}
        self.known = {one.name: one for one in self.old.images}
        locked = {key for one in self.old.images for key in one.platforms}
        self.default = sorted(locked)

    def lock(self, reference: Reference) -> _Locked:
        """Lock one name; raise LockstepError if that is impossible, with what to do for an image that compose builds."""
        try:
            return self._lock(reference)
        except errors.NotFoundError as exc:
            place = self.built_at.get(reference.store_name)
            if not place:
                raise
            hint = f"It is built, see {place}. Push it first, or leave the service out."
            raise errors.NotFoundError(str(exc), hint, **exc.details) from exc

    def _lock(self, reference: Reference) -> _Locked:
        """Ask nothing if all is known."""
        name = reference.store_name
        source = self.sources.repository(reference)
        old, digest = self.known.get(name), reference.digest
        wanted, enough = self._platforms(name, old)
        if digest is None and old and not self.everything and name not in self.chosen:
            digest = old.digest
        is_resolved = digest is None
        digest = digest or source.resolve(str(reference.tag))
        # What is asked for by its name is read as a whole, so that it may have been changed by hand.
        if old and (old.digest != digest or name in self.chosen):
            old = None
        if self.form == IMGPKG:
            return _Locked(LockedImage(name, digest, "", {}))
        keys = _keys(wanted)
        if old and set(keys) != set(old.platforms):
            old = None
        if old and not self.embed:
            return _Locked(old)
        reader = _LockReader(reference, source, self.old.manifests, self.allow, is_resolved)
        try:
            closure = reader.closure(digest, wanted, is_checked=bool(old))
        except errors.NoPlatformError:
            if enough == wanted:
                raise
            keys = _keys(enough)
            closure = reader.closure(digest, enough, is_checked=False)
        found = locked_platforms(keys, closure, closure.images)
        root = closure.manifests[-1][0]
        image = LockedImage(name, root.digest, root.media_type, found)
        carried = {one.digest: manifest.raw for one, manifest in closure.manifests}
        return _Locked(image, carried if self.embed else {}, reader.warnings)

    def _platforms(
        self, name: str, old: LockedImage | None
    ) -> tuple[list[Platform] | None, list[Platform] | None]:
        """The platforms to lock a name for, and those that are enough if it lacks others; None for all."""
        own = list(self.own.get(name, ()))
        is_alone = bool(own) and name not in self.shared
        asked = self.platforms or (sorted(old.platforms) if old else [])
        if not asked and is_alone:
            return own, own
        wanted = platforms_of(asked or self.default)
        if wanted is None:
            return None, None
        wanted = list(dict.fromkeys([*wanted, *own]))
        return wanted, own if is_alone else wanted


def _keys(platforms: t.Sequence[Platform] | None) -> list[str]:
    return [ALL] if platforms is None else [str(one) for one in platforms]


class _LockReader:
    """Reads one image, as far as it is not carried along."""

    def __init__(
        self,
        reference: Reference,
        source: ContentSource,
        known: t.Mapping[Digest, bytes],
        allow: bool,
        is_resolved: bool,
    ) -> None:
        self.warnings: list[str] = []
        self._allow = allow
        self._reference = reference
        self._is_resolved = is_resolved
        self._source = source
        self._known = known

    def closure(
        self, digest: Digest, platforms: t.Sequence[Platform] | None, is_checked: bool
    ) -> Closure:
        """All it is made of; or NoPlatformError."""
        found = self._embedded(digest)
        root, top = found or read_root(self._source, digest, self._reference.tag, self._is_resolved)

        def read(descriptor: Descriptor) -> Manifest:
            if descriptor is root:
                return top
            child = descriptor.digest
            return (self._embedded(child) or self._source.read_manifest(child))[1]

        closure = closure_of(root, platforms, read, str(self._reference))
        for image in () if is_checked else closure.images:
            if platforms and image.descriptor.platform is None:
                self._look(image, platforms)
        return closure

    def _embedded(self, digest: Digest) -> tuple[Descriptor, Manifest] | None:
        raw = self._known.get(digest)
        if raw is None:
            return None
        manifest = Manifest.parse(raw, "", f"{self._reference}: {digest}")
        return Descriptor(manifest.media_type, digest, len(raw)), manifest

    def _look(self, image: Image, platforms: t.Sequence[Platform]) -> None:
        """Require that an image of which no index says the platform is for these; a lock has no other."""
        config = read_config(image.manifest, self._source, str(self._reference))
        doubt = image.doubts(config, platforms, str(self._reference), self._allow)
        self.warnings += [f"{self._reference}: {doubt}"] if doubt else []


def plan_lock(
    path: str,
    *,
    references: t.Sequence[Reference] | None,
    files: t.Sequence[t.Any],
    update: t.Sequence[str],
    platforms: t.Sequence[str],
    embed: bool,
    form: str,
    sources: Sources,
    workers: int,
    allow: bool = False,
) -> Plan:
    """Have a lock file of these names and of those in files, by default of the names it has.

    ``files`` are paths, or mappings with path and keys. A platform that a file asks for is locked too.
    """
    if embed and form == IMGPKG:
        raise errors.InputError(
            "manifests=embed has no place beside an ImagesLock, so not with format=imgpkg"
        )
    there, old = _existing(path)
    listing = read_sources(parse_sources(files), references or (), without=path)
    names = [*(references or ()), *(one.reference for one in listing.named)]
    if references is None and not files:
        names = _names_of(old, is_there=there is not None)
    builder = PlanBuilder(workers)
    chosen = _chosen(update, old)
    everything = EVERYTHING in update
    locking = _Locking(
        sources, old, everything, chosen, platforms, embed, form, allow, names, listing.named
    )
    once = each_once(names, lambda one: one)
    locked = builder.each(locking.lock, once, lambda one: one.store_name)
    failures = builder.failures
    images = sorted((one.image for one in locked), key=lambda one: one.name)
    doubts = [text for one in locked for text in one.warnings]
    carried = {digest: raw for one in locked for digest, raw in one.manifests.items()}
    # All or nothing: a lock file without a name would have hosts let go of it.
    changes = [] if failures else _changes(old, images)
    kept = {one.name: _shown(locking.known.get(one.name)) for one in images if failures}
    actions = () if failures else write_lock(path, there, _RENDER[form](images), carried)
    return builder.build(
        last=tuple(actions),
        before={**kept, **{one["name"]: one["was"] for one in changes if one["was"]}},
        after={**kept, **{one["name"]: one["is"] for one in changes if one["is"]}},
        facts={
            "file": path,
            "images": [_as_result(image) for image in images],
            "changes": [
                {key: one[key] for key in one if key not in ("was", "is")} for one in changes
            ],
            # Ansible takes a result with the key skipped for that of a task that was skipped.
            "files_skipped": [one._asdict() for one in listing.skipped],
        },
        shorten=shorten_images,
        stats=sources.stats,
        warnings=lambda: [*listing.warnings, *sources.warnings, *doubts],
    )


def _names_of(old: Lock, is_there: bool) -> list[Reference]:
    """The names that a lock file has; or InputError without a file."""
    if not is_there:
        raise errors.InputError(
            f"{old.place}: there is no lock file yet, and nothing says what to lock",
            "Give name, or from.",
        )
    return [Reference.parse(one.name) for one in old.images]


def _own_platforms(
    names: t.Sequence[Reference], named: t.Sequence[Named]
) -> tuple[dict[str, list[Platform]], set[str]]:
    """The platforms that files ask for, by name, and the names that are also asked for without."""
    own: dict[str, list[Platform]] = {}
    counts = collections.Counter(one.store_name for one in names)
    for one in named:
        if one.platform:
            own.setdefault(one.reference.store_name, []).append(one.platform)
            counts[one.reference.store_name] -= 1
    return own, {name for name, count in counts.items() if count}


def _existing(path: str) -> tuple[bytes | None, Lock]:
    """The bytes of the file and what it says, of either form; what is carried along, as far as it is good."""
    document = read_document(path, path)
    if document is None:
        return None, Lock((), path)
    raw = read_file(path, MAX_LOCK)
    if not is_images_lock(document):
        lock = Lock.parse(with_places(document, path))
        good = read_manifests(path, skip_bad=True)
        return raw, replace(
            lock, manifests={digest: text.encode() for digest, text in good.items()}
        )
    images: dict[str, LockedImage] = {}
    for text, place in images_of_images_lock(document, path):
        try:
            reference = Reference.parse(text)
        except errors.LockstepError as exc:
            raise errors.LockError(f"{place}: {exc}") from exc
        digest = t.cast(Digest, reference.digest)
        one = LockedImage(reference.store_name, digest, "", {}, place)
        if images.setdefault(one.name, one) != one:
            raise errors.LockError(f"{place}: {one.name} is listed with two digests")
    return raw, Lock(tuple(images.values()), path)


def _chosen(update: t.Sequence[str], old: Lock) -> set[str]:
    """The names that patterns choose; or InputError for one that fits none."""
    chosen: set[str] = set()
    if list(update) == [NONE] or EVERYTHING in update:
        return chosen
    for text in update:
        fits = pattern_of(text)
        found = {one.name for one in old.images if fits(one.name, one.digest)}
        if not found:
            raise errors.InputError(f"update: {text} fits none of the names in {old.place}")
        chosen |= found
    return chosen


def _changes(old: Lock, images: t.Sequence[LockedImage]) -> list[dict[str, t.Any]]:
    before = {one.name: one for one in old.images}
    after = {one.name: one for one in images}
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        change = "moved" if was and now else "added" if now else "dropped"
        if was and now and was.digest == now.digest:
            change = "platforms"
        found.append(
            {
                "name": name,
                "change": change,
                "before": str(was.digest) if was else None,
                "after": str(now.digest) if now else None,
                "size_before": was.size if was else None,
                "size": now.size if now else None,
                "was": _shown(was),
                "is": _shown(now),
            }
        )
    return found


def _shown(image: LockedImage | None) -> str:
    if image is None:
        return ""
    sizes = [f"{key}: {image.platforms[key].size} bytes" for key in sorted(image.platforms)]
    return f"{image.digest} ({', '.join(sizes)})" if sizes else str(image.digest)


def _as_result(image: LockedImage) -> dict[str, t.Any]:
    return {
        "name": image.name,
        "digest": str(image.digest),
        "media_type": image.media_type,
        "platforms": {
            key: {
                "manifest": str(locked.manifest),
                "config": str(locked.config) if locked.config else None,
                "size": locked.size,
            }
            for key, locked in sorted(image.platforms.items())
        },
    }
