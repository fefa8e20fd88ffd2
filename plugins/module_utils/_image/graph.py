# SPDX-License-Identifier: GPL-3.0-or-later
"""The graph of manifests: from a root to all that is reachable from it."""

from __future__ import annotations

import typing as t

from . import errors
from .manifest import Descriptor, ImageConfig, Manifest
from .names import Digest, Platform, choose

# As deep and as wide as a graph of a registry may be: a small index can list itself into millions of manifests.
_MAX_DEPTH = 8
_MAX_MANIFESTS = 10_000


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
    """All that a name needs, children before their parents; the root comes last."""

    manifests: tuple[tuple[Descriptor, Manifest], ...]
    images: tuple[Image, ...]
    others: tuple[Descriptor, ...] = ()  # that an index lists and that are no manifests

    @property
    def blobs(self) -> list[Descriptor]:
        """Configs, layers and others, each once."""
        blobs = [*self.others, *(blob for image in self.images for blob in image.manifest.blobs)]
        return list({blob.digest: blob for blob in blobs}.values())


class Node(t.NamedTuple):
    """One step of a walk: ``manifest`` is None for other content, or if it cannot be read; a root has the ``depth`` 0."""

    descriptor: Descriptor
    manifest: Manifest | None
    depth: int


Read = t.Callable[[Descriptor], t.Optional[Manifest]]


def walk(
    root: Descriptor,
    read: Read,
    choose_children: t.Callable[[Manifest], t.Sequence[Descriptor]] = lambda manifest: (
        manifest.children
    ),
    subject: str = "",
    seen: set[Digest] | None = None,
) -> t.Iterator[Node]:
    """Yield what is reachable from a root: parents before children, in the order of the indexes, each digest once.

    ``read`` returns the manifest of a descriptor, or None if nothing can be followed there. ``choose_children`` returns
    the entries of an index to follow. ``seen`` holds digests to leave out, and gets those that are found.

    With a ``subject``, which errors name, the graph comes from a registry and is bounded: raise ManifestError for more
    than 8 levels below the root or 10,000 manifests, and for a digest that is listed with two sizes.
    """
    seen = set() if seen is None else seen
    sizes: dict[Digest, int] = {}
    todo, count = [(root, 0)], 0
    while todo:
        descriptor, depth = todo.pop()
        if subject and sizes.setdefault(descriptor.digest, descriptor.size) != descriptor.size:
            raise errors.ManifestError(f"{subject}: {descriptor.digest} is listed with two sizes")
        if descriptor.digest in seen:
            continue
        seen.add(descriptor.digest)
        if subject and (descriptor.is_index or descriptor.is_manifest):
            count += 1
            _require_bounds(depth, count, subject)
        manifest = read(descriptor)
        yield Node(descriptor, manifest, depth)
        if manifest and manifest.is_index:
            todo += [(child, depth + 1) for child in reversed(choose_children(manifest))]


def _require_bounds(depth: int, count: int, subject: str) -> None:
    if depth > _MAX_DEPTH:
        raise errors.ManifestError(f"{subject}: indexes are nested deeper than {_MAX_DEPTH} levels")
    if count > _MAX_MANIFESTS:
        raise errors.ManifestError(f"{subject}: has more than {_MAX_MANIFESTS} manifests")


def images_of(index: Manifest) -> list[Descriptor]:
    """Return the entries of an index that are images or indexes, without attestations."""
    return [
        child
        for child in index.children
        if (child.is_index or child.is_manifest)
        and not (child.platform and child.platform.is_unknown)
    ]


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
    """Return all that a root needs: of an index the images for ``platforms``, or for None all that it lists.

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
        if path[0][1].is_index:  # of a source that gives other bytes than it was asked for
            raise errors.ManifestError(f"{subject}: its indexes list one another")
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
    """Reorder a walk: a registry takes an index only when it has what the index lists."""
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
                " which is no image manifest or index"
            )
        return [chosen]

    return choose_child


_NOT_SERVED = "Push the image again. If the registry serves nothing by digest, give each platform a tag and name that."


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
