# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image needs: its manifests and blobs, and the reader of one image."""

from __future__ import annotations

import typing as t

from . import errors
from .manifest import Descriptor, ImageConfig, Manifest
from .names import Digest, Platform, Reference, choose
from .sources import ContentSource
from .walk import Node, walk


class Image(t.NamedTuple):
    """An image manifest, and the platform that it was chosen for; None if no index was involved."""

    descriptor: Descriptor
    manifest: Manifest
    wanted: Platform | None = None

    @property
    def size(self) -> int:
        """Return the bytes of manifest, configuration and layers, a repeated layer once."""
        sizes = {blob.digest: blob.size for blob in self.manifest.blobs}
        return self.descriptor.size + sum(sizes.values())

    def doubts(
        self,
        config: ImageConfig | None,
        platforms: t.Sequence[Platform],
        subject: str,
        allow: bool = False,
    ) -> str:
        """Return why the platform of the image could be wrong, "" if nothing indicates it.

        ``config`` is the configuration of the image, ``platforms`` are the requested ones. Artifacts have no platform.
        An index that contradicts the configuration is only a doubt. Without an index, raise NoPlatformError unless
        ``allow``.
        """
        actual = config.platform if config else None
        if actual is None or actual.is_unknown:
            return ""
        promised = self.descriptor.platform
        if promised:
            is_kept = promised.rank(actual) is not None
            return "" if is_kept else f"the index says {promised}, the configuration {actual}"
        wanted = [self.wanted] if self.wanted else platforms
        unfit = [str(platform) for platform in wanted if platform.rank(actual) is None]
        text = f"is for {actual}, not for {', '.join(unfit)}" if unfit else ""
        if unfit and not allow:
            raise errors.NoPlatformError(
                f"{subject}: {text}",
                "Ask for the platform of the image, or set allow_platform_mismatch to accept any.",
                platforms=[str(actual)],
            )
        return text


class Closure(t.NamedTuple):
    """Everything that a name needs, children before their parents; the root is the last manifest."""

    manifests: tuple[tuple[Descriptor, Manifest], ...]
    images: tuple[Image, ...]
    others: tuple[Descriptor, ...] = ()  # blobs that an index lists

    @property
    def blobs(self) -> list[Descriptor]:
        """Return configurations, layers and other blobs, each digest once."""
        blobs = [*self.others, *(blob for image in self.images for blob in image.manifest.blobs)]
        return list({blob.digest: blob for blob in blobs}.values())

    @property
    def contents(self) -> list[Descriptor]:
        """Return manifests and blobs."""
        return [*(descriptor for descriptor, _manifest in self.manifests), *self.blobs]


def require_size(manifest: Manifest, descriptor: Descriptor, subject: str) -> None:
    """Raise SizeMismatchError unless a manifest has the size that its index promised."""
    if len(manifest.raw) != descriptor.size:
        raise errors.SizeMismatchError(
            f"{subject}: {descriptor.digest} has {len(manifest.raw)} bytes, its index promised {descriptor.size}"
        )


def closure_of(
    root: Descriptor,
    platforms: t.Sequence[Platform] | None,
    read: t.Callable[[Descriptor], Manifest],
    subject: str,
) -> Closure:
    """Return everything that a root needs: of an index the images for ``platforms``, or for None every entry.

    Raise NoPlatformError if an index has no image for a platform, ManifestError if the graph is not valid,
    SizeMismatchError if a manifest has another size than its index promised, and what ``read`` raises.
    """
    top = read(root)

    def read_node(descriptor: Descriptor) -> Manifest | None:
        if descriptor is root:
            return top
        is_followed = descriptor.is_index or descriptor.is_manifest
        return _read_child(descriptor, read, subject) if is_followed else None

    if platforms is None or not top.is_index:
        nodes = _children_first(walk(root, read_node, subject=subject))
        pairs = [(node.descriptor, node.manifest) for node in nodes if node.manifest]
        images = [Image(*pair) for pair in pairs if not pair[1].is_index]
        others = [node.descriptor for node in nodes if not node.manifest]
        return Closure(tuple(pairs), tuple(images), tuple(others))
    manifests: dict[Digest, tuple[Descriptor, Manifest]] = {}
    images = []
    for platform in platforms:
        nodes = _children_first(walk(root, read_node, _chooser(platform, subject), subject))
        path = [(node.descriptor, t.cast(Manifest, node.manifest)) for node in nodes]
        if path[0][1].is_index:  # only a source that does not verify digests
            raise errors.ManifestError(f"{subject}: its indexes list each other")
        images.append(Image(*path[0], platform))
        for descriptor, manifest in path:
            # An index that two platforms share comes after the children of both.
            known = manifests.pop(descriptor.digest, (descriptor, manifest))
            manifests[descriptor.digest] = known
            if known[0].size != descriptor.size:
                raise errors.ManifestError(
                    f"{subject}: {descriptor.digest} is listed with two sizes"
                )
    return Closure(tuple(manifests.values()), tuple(images))


def _children_first(nodes: t.Iterable[Node]) -> list[Node]:
    """Return the nodes of a walk, children before parents: a registry takes an index after its entries only."""
    ordered: list[Node] = []
    path: list[Node] = []
    for node in nodes:
        while path and path[-1].depth >= node.depth:
            ordered.append(path.pop())
        path.append(node)
    return ordered + path[::-1]


def _chooser(platform: Platform, subject: str) -> t.Callable[[Manifest], list[Descriptor]]:
    def choose_child(index: Manifest) -> list[Descriptor]:
        chosen = choose(platform, index.children, subject)
        if not (chosen.is_index or chosen.is_manifest):
            raise errors.UnsupportedError(
                f"{subject}: the entry for {platform} has the media type {errors.printable(chosen.media_type)},"
                " not that of a manifest or index"
            )
        return [chosen]

    return choose_child


_NOT_SERVED = "Push the image again. If the registry serves nothing by digest, tag each platform and use that tag."


def _read_child(
    chosen: Descriptor, read: t.Callable[[Descriptor], Manifest], subject: str
) -> Manifest:
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
    require_size(manifest, chosen, subject)
    return manifest


class ImageReader:
    """Reads one image: its tag is asked for once, and every manifest is read once. Planners extend it.

    ``digest`` is that of the root, None until ``resolve``. ``subject`` names the image in errors. ``manifests`` are
    those that the source gave.
    """

    # Return the source of the image, which is needed for this content, None for the root.
    source: t.Callable[[t.Optional[Digest]], ContentSource]

    def __init__(self, reference: Reference, digest: Digest | None, subject: str) -> None:
        self.reference, self.digest, self.subject = reference, digest, subject
        self.manifests: dict[Digest, Manifest] = {}
        self._is_tagged = digest is None

    def known(self, digest: Digest, media_type: str) -> Manifest | None:
        """Return a manifest that need not be read from the source, by default none."""
        return None

    def resolve(self) -> Digest:
        """Return the digest of the image; ask the source for the tag if nothing else says it."""
        self.digest = self.digest or self.source(None).resolve(str(self.reference.tag))
        return self.digest

    def read_root(self, media_type: str = "") -> Descriptor:
        """Return the descriptor of the root, whose manifest is read then; raise NotFoundError if it is missing.

        A tag that is not resolved yet costs one request: the manifest under it states its digest.
        """
        tag, found = self.reference.tag, None
        if self.digest is None:
            found = self.source(None).read_manifest(str(tag))
            self.digest = found[0].digest
        manifest = self.known(self.digest, media_type)
        if manifest:
            return Descriptor(manifest.media_type, self.digest, len(manifest.raw))
        # A tag that was just resolved may have moved, and its first manifest be gone already.
        found = found or read_root(self.source(None), self.digest, tag, self._is_tagged)
        self.manifests[found[0].digest] = found[1]
        return found[0]

    def read(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest, from the source if it is not known."""
        digest = descriptor.digest
        manifest = self.manifests.get(digest) or self.known(digest, descriptor.media_type)
        if manifest is None:
            manifest = self.manifests[digest] = self.source(digest).read_manifest(digest)[1]
        return manifest

    def closure(self, root: Descriptor, platforms: t.Sequence[Platform] | None) -> Closure:
        """Return everything that the image needs for ``platforms``, None for all; errors are those of ``closure_of``."""
        return closure_of(root, platforms, self.read, self.subject)


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
