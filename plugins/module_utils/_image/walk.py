# SPDX-License-Identifier: GPL-3.0-or-later
"""The one walk through a graph of manifests. Every operation that follows indexes uses it."""

from __future__ import annotations

import typing as t

from . import errors
from .manifest import Descriptor, Manifest
from .names import Digest

# The limits of a graph from a registry: a few small indexes that list each other can expand to millions of manifests.
_MAX_DEPTH = 8
_MAX_MANIFESTS = 10_000


class Node(t.NamedTuple):
    """One step of a walk.

    ``manifest`` is None for other content and for an unreadable manifest. ``depth`` is 0 for the root.
    """

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

    ``read`` returns the manifest of a descriptor, or None if there is nothing to follow. ``choose_children`` returns
    the entries of an index to follow. ``seen`` has the digests to leave out; the walk adds those that it yields.

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
            if depth > _MAX_DEPTH:
                raise errors.ManifestError(
                    f"{subject}: indexes are nested deeper than {_MAX_DEPTH} levels"
                )
            if count > _MAX_MANIFESTS:
                raise errors.ManifestError(f"{subject}: has more than {_MAX_MANIFESTS} manifests")
        manifest = read(descriptor)
        yield Node(descriptor, manifest, depth)
        if manifest and manifest.is_index:
            todo += [(child, depth + 1) for child in reversed(choose_children(manifest))]


def images_of(index: Manifest) -> list[Descriptor]:
    """Return the entries of an index that are images or indexes, without attestations."""
    return [
        child
        for child in index.children
        if (child.is_index or child.is_manifest)
        and not (child.platform and child.platform.is_unknown)
    ]
