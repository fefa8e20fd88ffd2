# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock: names are asked for once, and a file keeps what they stood for."""

from __future__ import annotations

import collections
import typing as t
from dataclasses import dataclass, field, replace

from .._image import errors
from .._image.copy_blob import read_config
from .._image.graph import Closure, Image, ImageReader
from .._image.lock import Lock, LockedImage, locked_platforms
from .._image.manifest import Manifest
from .._image.names import ALL, Digest, Platform, Reference, platforms_of
from .._image.sources import ContentSource, Sources
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
from .actions import each_once, shorten_images
from .image_verify import ImageVerifier
from .locked_verdicts import require_verdicts, shown_verdict, verdict_as_result, vouch
from .lockwriting import write_lock
from .patterns import pattern_of

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


class LockOptions(t.NamedTuple):
    """How names are locked: with so many threads, and which of them are resolved again.

    ``update`` are patterns of names, ``none`` or ``all``. ``platforms`` are those to lock, empty for those of the file.
    ``allow`` locks an image without an index for another platform.
    """

    workers: int
    update: t.Sequence[str] = (NONE,)
    platforms: t.Sequence[str] = ()
    embed: bool = False
    form: str = LOCKSTEP
    allow: bool = False
    verifier: ImageVerifier | None = None  # every image must be as its policy says

    @classmethod
    def of(
        cls, params: t.Mapping[str, t.Any], verifier: ImageVerifier | None = None
    ) -> LockOptions:
        """Read the options of image_lock."""
        return cls(
            params["parallel"],
            params["update"],
            params["platform"] or (),
            params["manifests"] == EMBED,
            params["format"],
            params["allow_platform_mismatch"],
            verifier,
        )


class LockPlanner(PlanBuilder):
    """Locks names: ``old`` is what the lock file says, ``names`` are those of the task, ``named`` the images in files."""

    def __init__(
        self,
        sources: Sources,
        options: LockOptions,
        old: Lock,
        names: t.Sequence[Reference],
        named: t.Sequence[Named],
    ) -> None:
        super().__init__(options.workers)
        self.sources = sources
        self.options = options
        self.old = old
        self.known = {one.name: one for one in old.images}
        self.chosen = _chosen(options.update, old)
        # The platforms that files ask for with a name, and the names that are also asked for without.
        self.own, self.shared = _own_platforms(names, named)
        self.built_at = {one.reference.store_name: one.built_at for one in named}
        self.default = sorted({key for one in old.images for key in one.platforms})

    def lock(self, reference: Reference) -> _Locked:
        """Lock one name; raise LockstepError if that is impossible, with what to do for an image that compose builds."""
        try:
            return self._vouch(reference, self._lock(reference))
        except errors.NotFoundError as exc:
            place = self.built_at.get(reference.store_name)
            if not place:
                raise
            hint = f"It is built, see {place}. Push it first, or leave the service out."
            raise errors.NotFoundError(str(exc), hint, **exc.details) from exc

    def _lock(self, reference: Reference) -> _Locked:
        """Send no request if everything is known."""
        name, options = reference.store_name, self.options
        old, digest = self.known.get(name), reference.digest
        wanted, enough = self._platforms(name, old)
        is_updated = EVERYTHING in options.update or name in self.chosen
        if digest is None and old and not is_updated:
            digest = old.digest
        source = self.sources.repository(reference)
        reader = _LockReader(reference, digest, source, self.old.manifests)
        if options.form == IMGPKG:
            return _Locked(LockedImage(name, reader.resolve(), "", {}))
        # What is asked for by its name is read as a whole, so that it may have been changed by hand.
        if old and (old.digest != reader.resolve() or name in self.chosen):
            old = None
        if old and set(_keys(wanted)) != set(old.platforms):
            old = None
        if old and not options.embed:
            return _Locked(old)
        root = reader.read_root()
        try:
            closure = reader.closure(root, wanted)
        except errors.NoPlatformError:
            if enough == wanted:
                raise
            wanted, old = enough, None
            closure = reader.closure(root, wanted)
        warnings = [] if old else reader.doubts(closure.images, wanted, options.allow)
        return self._locked(name, closure, _keys(wanted), warnings)

    def _vouch(self, reference: Reference, locked: _Locked) -> _Locked:
        """Return an entry with the verdict on it; raise SignatureError or PolicyRejectedError for one that is not trusted.

        A verdict stays as long as the rule, the digest and the platforms do. Without a policy, it stays as it is.
        """
        image, verifier = locked.image, self.options.verifier
        old = self.known.get(image.name)
        known = (
            old.verified
            if old and image._replace(verified=old.verified, place=old.place) == old
            else None
        )
        if verifier:
            is_asked = EVERYTHING in self.options.update or image.name in self.chosen
            known = vouch(verifier, reference, image, None if is_asked else known)
        return replace(locked, image=image._replace(verified=known))

    def _locked(
        self, name: str, closure: Closure, keys: t.Sequence[str], warnings: t.Sequence[str]
    ) -> _Locked:
        root = closure.manifests[-1][0]
        platforms = locked_platforms(keys, closure, closure.images)
        image = LockedImage(name, root.digest, root.media_type, platforms)
        embedded = {one.digest: manifest.raw for one, manifest in closure.manifests}
        return _Locked(image, embedded if self.options.embed else {}, warnings)

    def _platforms(
        self, name: str, old: LockedImage | None
    ) -> tuple[list[Platform] | None, list[Platform] | None]:
        """Return the platforms to lock a name for, and those that are enough if it lacks others; None for all."""
        own = list(self.own.get(name, ()))
        is_alone = bool(own) and name not in self.shared
        asked = self.options.platforms or (sorted(old.platforms) if old else [])
        if not asked and is_alone:
            return own, own
        wanted = platforms_of(asked or self.default)
        if wanted is None:
            return None, None
        wanted = list(dict.fromkeys([*wanted, *own]))
        return wanted, own if is_alone else wanted


def _keys(platforms: t.Sequence[Platform] | None) -> list[str]:
    return [ALL] if platforms is None else [str(one) for one in platforms]


class _LockReader(ImageReader):
    """Reads one image from the manifests that are embedded beside the lock file, or else from its repository."""

    def __init__(
        self,
        reference: Reference,
        digest: Digest | None,
        source: ContentSource,
        embedded: t.Mapping[Digest, bytes],
    ) -> None:
        super().__init__(reference, digest, str(reference))
        self._source = source
        self._embedded = embedded

    def source(self, content: Digest | None) -> ContentSource:
        return self._source

    def known(self, digest: Digest, media_type: str) -> Manifest | None:
        raw = self._embedded.get(digest)
        if raw is None:
            return None
        return Manifest.parse(raw, "", f"{self.subject}: {digest}")

    def doubts(
        self, images: t.Sequence[Image], platforms: t.Sequence[Platform] | None, allow: bool
    ) -> list[str]:
        """Require that images of which no index says the platform are for these; return what is doubted."""
        doubts = []
        for image in images if platforms else ():
            if image.descriptor.platform is None:
                config = read_config(image.manifest, self._source, self.subject)
                doubts.append(image.doubts(config, platforms or (), self.subject, allow))
        return [f"{self.subject}: {doubt}" for doubt in doubts if doubt]


def plan_lock(
    path: str,
    references: t.Sequence[Reference] | None,
    files: t.Sequence[t.Any],
    sources: Sources,
    options: LockOptions,
) -> Plan:
    """Plan to write a lock file of these names and of those in files, by default of the names it has.

    ``files`` are paths, or mappings with path and keys. A platform that a file asks for is locked too.
    """
    if options.embed and options.form == IMGPKG:
        raise errors.InputError(
            "manifests=embed has no place beside an ImagesLock, so not with format=imgpkg"
        )
    if options.verifier and options.form == IMGPKG:
        raise errors.InputError(
            "an ImagesLock has no place for verdicts, so verify excludes format=imgpkg"
        )
    there, old = _existing(path)
    listing = read_sources(parse_sources(files), references or (), without=path)
    names = [*(references or ()), *(one.reference for one in listing.named)]
    if references is None and not files:
        names = _names_of(old, is_there=there is not None)
    planner = LockPlanner(sources, options, old, names, listing.named)
    once = each_once(names, lambda one: one)
    locked = planner.each(planner.lock, once, lambda one: one.store_name)
    failures = planner.failures
    images = sorted((one.image for one in locked), key=lambda one: one.name)
    doubts = [text for one in locked for text in one.warnings]
    embedded = {digest: raw for one in locked for digest, raw in one.manifests.items()}
    # All or nothing: hosts would remove a name that a lock file lacks.
    changes = [] if failures else _changes(old, images)
    kept = {one.name: _shown(planner.known.get(one.name)) for one in images if failures}
    data = _RENDER[options.form](images)
    actions = () if failures else write_lock(path, there, data, embedded)
    return planner.build(
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
    """Return the names in a lock file; raise InputError if there is no file."""
    if not is_there:
        raise errors.InputError(
            f"{old.place}: there is no lock file yet, and nothing says what to lock",
            "Give name, or from.",
        )
    return [Reference.parse(one.name) for one in old.images]


def _own_platforms(
    names: t.Sequence[Reference], named: t.Sequence[Named]
) -> tuple[dict[str, list[Platform]], set[str]]:
    """Return the platforms that files request, by name, and the names that are also requested without a platform."""
    own: dict[str, list[Platform]] = {}
    counts = collections.Counter(one.store_name for one in names)
    for one in named:
        if one.platform:
            own.setdefault(one.reference.store_name, []).append(one.platform)
            counts[one.reference.store_name] -= 1
    return own, {name for name, count in counts.items() if count}


def _existing(path: str) -> tuple[bytes | None, Lock]:
    """Return the bytes of the file and its content, in either format, with the embedded manifests that are valid."""
    document = read_document(path, path)
    if document is None:
        return None, Lock((), path)
    raw = read_file(path, MAX_LOCK)
    if not is_images_lock(document):
        lock = Lock.parse(with_places(document, path))
        require_verdicts(lock.images)
        good = read_manifests(path, skip_bad=True)
        manifests = {digest: text.encode() for digest, text in good.items()}
        return raw, Lock(lock.images, lock.place, manifests)
    images: dict[str, LockedImage] = {}
    for text, place in images_of_images_lock(document, path):
        try:
            reference = Reference.parse(text)
        except errors.LockstepError as exc:
            raise errors.LockError(f"{place}: {exc}") from exc
        digest = t.cast(Digest, reference.digest)
        one = LockedImage(reference.store_name, digest, "", {}, place=place)
        if images.setdefault(one.name, one).digest != one.digest:
            raise errors.LockError(f"{place}: {one.name} is listed with two digests")
    return raw, Lock(tuple(images.values()), path)


def _chosen(update: t.Sequence[str], old: Lock) -> set[str]:
    """Return the names that patterns match; raise InputError for a pattern that matches none."""
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
    # Wherever they stand in the file.
    before = {one.name: one._replace(place="") for one in old.images}
    after = {one.name: one._replace(place="") for one in images}
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        change = "moved" if was and now else "added" if now else "dropped"
        if was and now and was.digest == now.digest:
            change = "verdict" if was._replace(verified=now.verified) == now else "platforms"
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
    text = f"{image.digest} ({', '.join(sizes)})" if sizes else str(image.digest)
    return text + shown_verdict(image.verified)


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
        "verified": verdict_as_result(image.verified),
    }
