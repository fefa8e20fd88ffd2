# SPDX-License-Identifier: GPL-3.0-or-later
"""The graph of manifests: from a root to all that is reachable from it."""

from __future__ import annotations

import typing as t

from . import errors
from .manifest import Descriptor, ImageConfig, Manifest
from .names import Digest, Platform, choose
from .sources import ContentSource

_MAX_DEPTH = 8
_MAX_NODES = 10_000


class Image(t.NamedTuple):
    """An image manifest, and the platform it was chosen for."""

    descriptor: Descriptor
    manifest: Manifest
    wanted: Platform | None = None

    @property
    def size(self) -> int:
        """Bytes of manifest, config and layers."""
        sizes = {blob.digest: blob.size for blob in self.manifest.blobs}
        return self.descriptor.size + sum(sizes.values())

    def doubts(
        self,
        config: ImageConfig | None,
        platforms: t.Sequence[Platform],
        subject: str,
        allow: bool = False,
    ) -> str:
        """Return why it may not be what was asked for, "" if nothing says so.

        Raise NoPlatformError where no index says that it is, unless ``allow``. Artifacts have no platform.
        """
        there = config.platform if config else None
        if there is None or there.is_unknown:
            return ""
        promised = self.descriptor.platform
        if promised:
            is_kept = promised.rank(there) is not None
            return "" if is_kept else f"the index calls it {promised}, its configuration {there}"
        wanted = [self.wanted] if self.wanted else platforms
        unfit = [str(platform) for platform in wanted if platform.rank(there) is None]
        text = f"is for {there}, not for {', '.join(unfit)}" if unfit else ""
        if unfit and not allow:
            raise errors.NoPlatformError(
                f"{subject}: {text}",
                "Ask for a platform that it is for, or set allow_platform_mismatch to take it all the same.",
                platforms=[str(there)],
            )
        return text


class Closure(t.NamedTuple):
    """All that a name needs, children first; ``is_sparse`` when an index lists more than that."""

    manifests: tuple[tuple[Descriptor, Manifest], ...]
    images: tuple[Image, ...]
    is_sparse: bool = False
    others: tuple[Descriptor, ...] = ()  # that an index lists and that are no manifests

    @property
    def blobs(self) -> list[Descriptor]:
        """Configs, layers and others, each once."""
        blobs = [*self.others, *(blob for image in self.images for blob in image.manifest.blobs)]
        return list({blob.digest: blob for blob in blobs}.values())


def read_root(
    source: ContentSource, digest: Digest, tag: str | None, may_have_moved: bool = False
) -> tuple[Descriptor, Manifest]:
    """Read a manifest by its digest, or by its tag where nothing is served by digest.

    If the tag ``may_have_moved``, what it is now is returned, else NotFoundError is raised.
    """
    try:
        return source.read_manifest(digest)
    except errors.RegistryError as exc:
        is_closed = isinstance(exc, (errors.AuthenticationError, errors.DeniedError))
        if tag is None or is_closed or not exc.may_be_missing:
            raise
        try:
            found, manifest = source.read_manifest(tag)
        except errors.RegistryError:
            raise exc from None  # what was asked for is the digest
        if digest.matches(manifest.raw):
            return Descriptor(manifest.media_type, digest, len(manifest.raw)), manifest
        if may_have_moved:
            return found, manifest
        raise


Read = t.Callable[[Descriptor], Manifest]


def walk(
    root: Descriptor, platforms: t.Sequence[Platform] | None, read: Read, subject: str
) -> Closure:
    """The closure of ``root``, of an index for each platform, or for None of all it lists."""
    top = read(root)
    if not top.is_index:
        return Closure(((root, top),), (Image(root, top),))
    if platforms is None:
        return _whole(root, top, read, subject)
    manifests: dict[Digest, tuple[Descriptor, Manifest]] = {}
    images = []
    for platform in platforms:
        path = _descend(top, platform, read, subject)
        images.append(Image(*path[0], platform))
        for descriptor, manifest in path:
            # An index that two platforms share comes after the children of both.
            known = manifests.pop(descriptor.digest, (descriptor, manifest))
            manifests[descriptor.digest] = known
            if known[0].size != descriptor.size:
                raise errors.ManifestError(
                    f"{subject}: {descriptor.digest} is listed with two sizes"
                )
    return Closure((*manifests.values(), (root, top)), tuple(images), True)


def _whole(root: Descriptor, top: Manifest, read: Read, subject: str) -> Closure:
    found: dict[Digest, tuple[Descriptor, Manifest]] = {}
    others: dict[Digest, Descriptor] = {}

    def visit(descriptor: Descriptor, manifest: Manifest, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise errors.ManifestError(
                f"{subject}: indexes are nested deeper than {_MAX_DEPTH} levels"
            )
        for child in manifest.children:
            if not (child.is_index or child.is_manifest):
                others[child.digest] = child
                continue
            if child.digest not in found:
                visit(child, _read_child(child, read, subject), depth + 1)
            if found[child.digest][0].size != child.size:
                raise errors.ManifestError(f"{subject}: {child.digest} is listed with two sizes")
        found[descriptor.digest] = (descriptor, manifest)
        if len(found) > _MAX_NODES:
            raise errors.ManifestError(f"{subject}: has more than {_MAX_NODES} manifests")

    visit(root, top, 0)
    images = [Image(*pair) for pair in found.values() if not pair[1].is_index]
    return Closure(tuple(found.values()), tuple(images), False, tuple(others.values()))


_NOT_SERVED = "Push the image again. If the registry serves nothing by digest, give each platform a tag and name that."


def _read_child(chosen: Descriptor, read: Read, subject: str) -> Manifest:
    try:
        manifest = read(chosen)
    except errors.RegistryError as exc:
        if not exc.may_be_missing:
            raise
        which = f", the image for {chosen.platform}" if chosen.platform else ""
        is_closed = isinstance(exc, (errors.AuthenticationError, errors.DeniedError))
        raise type(exc)(
            f"{subject}: its index lists {chosen.digest}{which}, which the registry does not serve ({exc})",
            exc.hint if is_closed else _NOT_SERVED,
            **exc.details,
        ) from exc
    if len(manifest.raw) != chosen.size:
        raise errors.SizeMismatchError(
            f"{subject}: {chosen.digest} has {len(manifest.raw)} bytes, its index promised {chosen.size}"
        )
    return manifest


def _descend(
    index: Manifest, platform: Platform, read: Read, subject: str
) -> list[tuple[Descriptor, Manifest]]:
    path: list[tuple[Descriptor, Manifest]] = []
    while len(path) < _MAX_DEPTH:
        chosen = choose(platform, index.children, subject)
        if not (chosen.is_index or chosen.is_manifest):
            raise errors.UnsupportedError(
                f"{subject}: the entry for {platform} has the media type {errors.printable(chosen.media_type)},"
                " which is no image manifest or index"
            )
        index = _read_child(chosen, read, subject)
        path.insert(0, (chosen, index))
        if not index.is_index:
            return path
    raise errors.ManifestError(f"{subject}: indexes are nested deeper than {_MAX_DEPTH} levels")
