# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of a lock file: the digest of each name, and the image of each platform."""

from __future__ import annotations

import re
import typing as t

from . import errors
from .graph import Closure, Image
from .manifest import Descriptor
from .names import ALL, Digest, Platform, Reference

VERSION = 1
_FIELDS = ("name", "digest", "media_type", "platforms")
_VERDICT_FIELDS = ("digest", "rule", "policy", "by", "covers")
INDEX, UNSIGNED = "index", "unsigned"
_PLATFORM_FIELDS = ("manifest", "config", "size")
# Only what needs no quotes in YAML.
_MEDIA_TYPE = re.compile("[A-Za-z0-9][A-Za-z0-9.+_-]*/[A-Za-z0-9][A-Za-z0-9.+_-]*")
LOCK_AGAIN = "Lock again with lockstep.images.image_lock."


class LockedPlatform(t.NamedTuple):
    """The image of one platform: manifest, configuration, and ``size``, the bytes of both and of the layers.

    For ``all`` the manifest is that of the name itself, and ``size`` has the bytes of every platform.
    """

    manifest: Digest
    config: Digest | None
    size: int


class LockedImage(t.NamedTuple):
    """The entry of one name. ``digest`` is what the name pointed at in the registry, ``place`` the file and the line.

    ``verified`` is the verdict on it, None for none: its ``digest``, the ``rule`` with the digest of its ``policy``, the
    signers ``by``, and what it ``covers``: ``index``, the signed platforms between spaces, or ``unsigned``.
    """

    name: str
    digest: Digest
    media_type: str
    platforms: t.Mapping[str, LockedPlatform]
    verified: t.Mapping[str, t.Any] | None = None
    place: str = ""

    @property
    def size(self) -> int:
        """Return the bytes of all platforms; shared layers count for each."""
        return sum(locked.size for locked in self.platforms.values())

    def pin(self, reference: Reference) -> Reference:
        """Return the reference with the locked digest; raise LockError if it has another digest."""
        if reference.digest not in (None, self.digest):
            raise errors.LockError(
                f"{self.place}: {self.name} is locked to {self.digest}, but requested as {reference}",
                "Change one of them: a digest beside a lock must be the locked one.",
            )
        return Reference(reference.registry, reference.repository, reference.tag, self.digest)

    def require_platforms(self, platforms: t.Iterable[str]) -> None:
        """Raise LockError unless all platforms are locked."""
        for platform in platforms:
            if platform not in self.platforms:
                locked = ", ".join(sorted(self.platforms)) or "none"
                raise errors.LockError(
                    f"{self.place}: {self.name} is not locked for {platform}, only for {locked}",
                    "Lock this platform too, with the option platform of lockstep.images.image_lock.",
                )

    def require_match(
        self,
        platforms: t.Sequence[str],
        root: Descriptor,
        closure: Closure,
        images: t.Sequence[Image],
    ) -> None:
        """Raise LockError unless the digest leads to the images that are locked."""
        for platform, found in locked_platforms(platforms, closure, images).items():
            self.require_equal(platform, found, root.media_type)

    def require_equal(self, platform: str, found: LockedPlatform, media_type: str) -> None:
        """Raise LockError unless the image of a platform is the locked one."""
        locked = self.platforms[platform]
        pairs = {
            "media_type": (self.media_type, media_type),
            "manifest": (locked.manifest, found.manifest),
            "config": (locked.config, found.config),
            "size": (locked.size, found.size),
        }
        for key, (expected, actual) in pairs.items():
            if expected != actual:
                which = "" if key == "media_type" else f" for {platform}"
                raise errors.LockError(
                    f"{self.place}: {self.name}: {key}{which} is {expected}, but {self.digest} has {actual}",
                    f"The entry was edited. {LOCK_AGAIN[:-1]}, with its name in update.",
                )

    def type_mismatch(self, exc: errors.ContentError) -> errors.LockError:
        """Return the error for content that does not have the locked media type, which ``exc`` describes."""
        text = f"{self.place}: {self.name}: media_type is {self.media_type}, but {exc}"
        return errors.LockError(text, LOCK_AGAIN)


class Lock:
    """The entries of a lock file, sorted by name; the embedded ``manifests`` save requests to the registries."""

    def __init__(
        self,
        images: tuple[LockedImage, ...],
        place: str = "lock",
        manifests: t.Mapping[Digest, bytes] | None = None,
    ) -> None:
        self.images, self.place, self.manifests = images, place, manifests or {}
        self._by_name = {image.name: image for image in images}

    @classmethod
    def parse(cls, value: t.Any, verified: bool = False) -> Lock:
        """Return the lock that the value of a lock file states; if ``verified``, every entry must have a verdict.

        The lookup ``lock`` adds ``file``, ``manifests`` and a ``line`` for each entry. Raise LockError, which names the
        file and the entry, for anything else.
        """
        place = value.get("file") if isinstance(value, dict) else None
        place = place if isinstance(place, str) else "lock"
        if not isinstance(value, dict) or "images" not in value:
            raise errors.LockError(f"{place}: is not a lock file: it has no images")
        version = value.get("lockfile_version")
        if isinstance(version, (bool, float)) or version != VERSION:  # True and 1.0 are equal to 1
            raise errors.LockError(
                f"{place}: lockfile_version is {errors.printable(repr(version))}, this release reads {VERSION}",
                f"{LOCK_AGAIN[:-1]}, or install the release of the collection that wrote it.",
            )
        entries, manifests = value["images"], value.get("manifests") or {}
        if not isinstance(entries, list):
            raise errors.LockError(f"{place}: images is not a list")
        if not isinstance(manifests, dict):
            raise errors.LockError(f"{place}: manifests is not a mapping of digests to texts")
        _check(value, (), ("lockfile_version", "images", "file", "manifests"), place)
        found: dict[str, LockedImage] = {}
        for number, entry in enumerate(entries):
            image = image_at(entry, place, number)
            if verified and not image.verified:
                raise errors.LockError(
                    f"{image.place}: {image.name} is not verified", f"{LOCK_AGAIN[:-1]} and verify."
                )
            other = found.setdefault(image.name, image)
            if other is not image:
                how = "twice" if other.digest == image.digest else "with two digests"
                first = other.place[len(place) :].strip(", :")
                raise errors.LockError(
                    f"{image.place}: {image.name} is listed {how}, first at {first}"
                )
        images = tuple(sorted(found.values(), key=lambda image: image.name))
        return cls(images, place, manifests_of(manifests, place))

    def image(self, reference: Reference) -> LockedImage:
        """Return the entry of a reference; raise LockError if there is none."""
        name = reference.store_name
        if name in self._by_name:
            return self._by_name[name]
        raise errors.LockError(
            f"{self.place}: {name} is not locked",
            "Add it with lockstep.images.image_lock, or leave it out here.",
        )


def locked_platforms(
    platforms: t.Sequence[str], closure: Closure, images: t.Sequence[Image]
) -> dict[str, LockedPlatform]:
    """Return the image of each requested platform, as a lock records it."""
    root, top = closure.manifests[-1]
    if top.is_index and ALL in platforms:
        size = sum(content.size for content in closure.contents)
        return {ALL: LockedPlatform(root.digest, None, size)}
    if top.is_index:
        return {str(image.wanted): _locked(image) for image in images}
    return {platform: _locked(images[0]) for platform in platforms}


def _locked(image: Image) -> LockedPlatform:
    config = image.manifest.config
    return LockedPlatform(image.descriptor.digest, config.digest if config else None, image.size)


def image_at(entry: t.Any, place: str, number: int) -> LockedImage:
    """Return an entry of a lock file; raise LockError, which names the file and the number of the entry, if it is invalid."""
    line = entry.get("line") if isinstance(entry, dict) else None
    place = f"{place}, line {line}" if isinstance(line, int) else f"{place}: images[{number}]"
    _check(entry, _FIELDS, (*_FIELDS, "line", "verified"), place)
    name, media_type, platforms = entry["name"], entry["media_type"], entry["platforms"]
    where = f"{place}: {errors.printable(str(name))}"
    try:
        reference = Reference.parse(name)
    except errors.LockstepError as exc:
        raise errors.LockError(f"{where}: name: {exc}") from exc
    if reference.store_name != name:
        raise errors.LockError(f"{where}: name is incomplete, write {reference.store_name}")
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        raise errors.LockError(f"{where}: media_type is not a media type")
    if not isinstance(platforms, dict) or not platforms:
        raise errors.LockError(f"{where}: platforms is not a mapping of platforms to images")
    digest = _digest(entry["digest"], f"{where}: digest")
    if reference.digest not in (None, digest):
        raise errors.LockError(f"{where}: name has another digest")
    locked = {key: _platform(key, image, where) for key, image in platforms.items()}
    verified = entry.get("verified")
    if verified is not None:
        _check(verified, _VERDICT_FIELDS, _VERDICT_FIELDS, f"{where}: verified")
        covers = {*str(verified["covers"]).split()}
        is_whole = covers & {INDEX, UNSIGNED} or covers >= {*locked}
        if verified["digest"] != str(digest) or not (is_whole and verified["by"]):
            raise errors.LockError(f"{where}: verified: is not for this entry")
    return LockedImage(name, digest, media_type, locked, verified, place)


def _platform(key: t.Any, value: t.Any, where: str) -> LockedPlatform:
    where = f"{where}: platforms: {errors.printable(str(key))}"
    try:
        normal = key if key == ALL else str(Platform.parse(key))
    except errors.LockstepError as exc:
        raise errors.LockError(f"{where}: {exc}") from exc
    if normal != key:
        raise errors.LockError(f"{where}: is not in normal form, write {normal}")
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


def manifests_of(value: dict[t.Any, t.Any], place: str) -> dict[Digest, bytes]:
    """Return embedded content, verified; ``value`` has its texts by digest. Raise LockError if one does not match."""
    found = {}
    for key, text in value.items():
        digest = _digest(key, f"{place}: manifests")
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else b""
        if not digest.matches(raw):
            raise errors.LockError(f"{place}: manifests: {digest} does not match its bytes")
        found[digest] = raw
    return found
