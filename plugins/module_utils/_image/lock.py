# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock: which digest each name has, and what is behind it for each platform."""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import dataclass, field

from . import errors
from .graph import Closure, Image
from .manifest import Descriptor
from .names import ALL, Digest, Platform, Reference

VERSION = 1
_FIELDS = ("name", "digest", "media_type", "platforms")
_PLATFORM_FIELDS = ("manifest", "config", "size")
# Without what its text would need quotes for.
_MEDIA_TYPE = re.compile("[A-Za-z0-9][A-Za-z0-9.+_-]*/[A-Za-z0-9][A-Za-z0-9.+_-]*")
AGAIN = "Lock again with lockstep.images.image_lock."


@dataclass(frozen=True)
class LockedPlatform:
    """The image of one platform: its manifest, its configuration, and bytes of manifest, configuration and layers.

    For ``all`` the manifest is that of the name itself, and the bytes are those of everything.
    """

    manifest: Digest
    config: Digest | None
    size: int


@dataclass(frozen=True)
class LockedImage:
    """One name; ``digest`` is what the registry gave for it, ``place`` where that is written."""

    name: str
    digest: Digest
    media_type: str
    platforms: t.Mapping[str, LockedPlatform]
    place: str = field(default="", compare=False)

    @property
    def size(self) -> int:
        """Bytes of all its platforms, of which what they share counts for each."""
        return sum(locked.size for locked in self.platforms.values())

    def pin(self, reference: Reference) -> Reference:
        """A reference to it with its digest; or LockError, when that has another one."""
        if reference.digest not in (None, self.digest):
            raise errors.LockError(
                f"{self.place}: {self.name} is locked to {self.digest}, and asked for as {reference}",
                "Change one of them: a digest beside a lock must be the one in it.",
            )
        return Reference(reference.registry, reference.repository, reference.tag, self.digest)

    def require(self, platforms: t.Iterable[str]) -> None:
        """Or LockError, if one is not locked."""
        for platform in platforms:
            if platform not in self.platforms:
                there = ", ".join(sorted(self.platforms)) or "none"
                raise errors.LockError(
                    f"{self.place}: {self.name} is not locked for {platform}, only for {there}",
                    "Lock it for this platform as well, with platform of lockstep.images.image_lock.",
                )

    def require_match(
        self, asked: t.Sequence[str], root: Descriptor, closure: Closure, images: t.Sequence[Image]
    ) -> None:
        """Or LockError, if its digest leads to something else than is locked."""
        for platform, found in platforms_found(asked, closure, images).items():
            self.compare(platform, found, root.media_type)

    def compare(self, platform: str, found: LockedPlatform, media_type: str) -> None:
        """Or LockError, if a platform is not as it is locked."""
        locked = self.platforms[platform]
        pairs = {
            "media_type": (self.media_type, media_type),
            "manifest": (locked.manifest, found.manifest),
            "config": (locked.config, found.config),
            "size": (locked.size, found.size),
        }
        for key, (said, there) in pairs.items():
            if said != there:
                of_it = "" if key == "media_type" else f" for {platform}"
                raise errors.LockError(
                    f"{self.place}: {self.name}: {key}{of_it} is {said}, but {self.digest} has {there}",
                    f"It was changed by hand. {AGAIN[:-1]}, with its name in update.",
                )

    def of_another_type(self, exc: errors.ContentError) -> errors.LockError:
        """What to raise where content is not of the type that is locked."""
        text = f"{self.place}: {self.name}: media_type is {self.media_type}, but {exc}"
        return errors.LockError(text, AGAIN)


@dataclass(frozen=True)
class Lock:
    """All names, sorted; ``manifests`` are carried along, so that nobody needs to ask for them."""

    images: tuple[LockedImage, ...]
    place: str = field(default="lock", compare=False)
    manifests: t.Mapping[Digest, bytes] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, value: t.Any) -> Lock:
        """Read what the file holds, with what the lookup adds: file, lines, manifests. Or LockError, naming the entry."""
        place = value.get("file") if isinstance(value, dict) else None
        place = place if isinstance(place, str) else "lock"
        if not isinstance(value, dict) or "images" not in value:
            raise errors.LockError(f"{place}: is no lock file: it has no images")
        version = value.get("lockfile_version")
        if isinstance(version, (bool, float)) or version != VERSION:  # True and 1.0 are equal to 1
            raise errors.LockError(
                f"{place}: lockfile_version is {errors.printable(repr(version))}, this release reads {VERSION}",
                f"{AGAIN[:-1]}, or install the release of the collection that wrote it.",
            )
        entries, manifests = value["images"], value.get("manifests") or {}
        if not isinstance(entries, list):
            raise errors.LockError(f"{place}: images is not a list")
        if not isinstance(manifests, dict):
            raise errors.LockError(f"{place}: manifests is not a mapping of digests to texts")
        _check(value, (), ("lockfile_version", "images", "file", "manifests"), place)
        found: dict[str, LockedImage] = {}
        for number, entry in enumerate(entries):
            image = _image(entry, place, number)
            other = found.setdefault(image.name, image)
            if other is not image:
                how = "twice" if other.digest == image.digest else "with two digests"
                first = other.place[len(place) :].strip(", :")
                raise errors.LockError(
                    f"{image.place}: {image.name} is listed {how}, first at {first}"
                )
        images = tuple(sorted(found.values(), key=lambda one: one.name))
        return cls(images, place, _manifests(manifests, place))

    @functools.cached_property
    def _by_name(self) -> dict[str, LockedImage]:
        return {one.name: one for one in self.images}

    def image(self, reference: Reference) -> LockedImage:
        """What a reference is locked to; or LockError."""
        name = reference.store_name
        if name in self._by_name:
            return self._by_name[name]
        raise errors.LockError(
            f"{self.place}: {name} is not in it",
            "Add it with lockstep.images.image_lock, or leave it out here.",
        )


def platforms_found(
    asked: t.Sequence[str], closure: Closure, images: t.Sequence[Image]
) -> dict[str, LockedPlatform]:
    """The image of each platform asked for, as a lock keeps it."""
    root, top = closure.manifests[-1]
    if top.is_index and ALL in asked:
        parts = [*(descriptor for descriptor, _manifest in closure.manifests), *closure.blobs]
        return {ALL: LockedPlatform(root.digest, None, sum(part.size for part in parts))}
    if top.is_index:
        return {str(image.wanted): _locked(image) for image in images}
    return {platform: _locked(images[0]) for platform in asked}


def _locked(image: Image) -> LockedPlatform:
    config = image.manifest.config
    return LockedPlatform(image.descriptor.digest, config.digest if config else None, image.size)


def _image(entry: t.Any, place: str, number: int) -> LockedImage:
    line = entry.get("line") if isinstance(entry, dict) else None
    place = f"{place}, line {line}" if isinstance(line, int) else f"{place}: images[{number}]"
    _check(entry, _FIELDS, (*_FIELDS, "line"), place)
    name, media_type, platforms = entry["name"], entry["media_type"], entry["platforms"]
    where = f"{place}: {errors.printable(str(name))}"
    try:
        reference = Reference.parse(name)
    except errors.LockstepError as exc:
        raise errors.LockError(f"{where}: name: {exc}") from exc
    if reference.store_name != name:
        raise errors.LockError(
            f"{where}: name is not in full, which would be {reference.store_name}"
        )
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        raise errors.LockError(f"{where}: media_type is not a media type")
    if not isinstance(platforms, dict) or not platforms:
        raise errors.LockError(
            f"{where}: platforms is not a mapping of platforms to what they have"
        )
    digest = _digest(entry["digest"], f"{where}: digest")
    if reference.digest not in (None, digest):
        raise errors.LockError(f"{where}: name and digest disagree")
    locked = {key: _platform(key, one, where) for key, one in platforms.items()}
    return LockedImage(name, digest, media_type, locked, place)


def _platform(key: t.Any, value: t.Any, where: str) -> LockedPlatform:
    where = f"{where}: platforms: {errors.printable(str(key))}"
    try:
        normal = key if key == ALL else str(Platform.parse(key))
    except errors.LockstepError as exc:
        raise errors.LockError(f"{where}: {exc}") from exc
    if normal != key:
        raise errors.LockError(f"{where}: is not in its normal form, which is {normal}")
    _check(value, _PLATFORM_FIELDS, _PLATFORM_FIELDS, where)
    size, config = value["size"], value["config"]
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
        raise errors.LockError(f"{where}: size is not a number of bytes")
    return LockedPlatform(
        _digest(value["manifest"], f"{where}: manifest"),
        None if config is None else _digest(config, f"{where}: config"),
        size,
    )


def _check(value: t.Any, needed: t.Sequence[str], known: t.Container[str], where: str) -> None:
    if not isinstance(value, dict):
        raise errors.LockError(f"{where}: is not a mapping")
    for key in needed:
        if key not in value:
            raise errors.LockError(f"{where}: {key} is missing")
    for key in value:
        if key not in known:
            raise errors.LockError(f"{where}: has the unknown key {errors.printable(str(key))}")


def _digest(value: t.Any, where: str) -> Digest:
    try:
        return Digest.parse(value)
    except errors.DigestError as exc:
        raise errors.LockError(f"{where}: {exc}") from exc


def _manifests(value: dict[t.Any, t.Any], place: str) -> dict[Digest, bytes]:
    found = {}
    for key, text in value.items():
        digest = _digest(key, f"{place}: manifests")
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else b""
        if not digest.matches(raw):
            raise errors.LockError(
                f"{place}: manifests: {digest} is carried along with other bytes"
            )
        found[digest] = raw
    return found
