# SPDX-License-Identifier: GPL-3.0-or-later
"""More than was named: all tags, and what refers to an image (signatures, attestations, SBOMs)."""

from __future__ import annotations

import typing as t

from .._image import errors
from .._image.names import Digest, Reference
from .._image.sources import ContentSource, Sources
from .._plan import PlanBuilder
from .._registry.repository import lacks, referrers_tag
from .actions import Planned

_MAX_LEVELS = 3  # of signatures of attestations of an image
# The tag that stands in for a list of referrers, and those of cosign.
_SUFFIXES = ("", ".sig", ".att", ".sbom")


def referrers_of(
    reference: Reference, source: ContentSource, digests: t.Iterable[Digest]
) -> list[Reference]:
    """Return what refers to the content of a reference: tags by name, other manifests by digest."""
    found: dict[Reference, None] = {}
    for digest in digests:
        for suffix in _SUFFIXES:
            tag = f"{referrers_tag(digest)}{suffix}"
            if _has(source, tag):
                found[reference.with_tag(tag)] = None
        for one in source.referrers(digest):
            found[Reference(reference.registry, reference.repository, None, one.digest)] = None
    return list(found)


def _has(source: ContentSource, tag: str) -> bool:
    try:
        source.resolve(tag)
    except errors.NotInStoreError:
        return False
    except errors.RegistryError as exc:
        if lacks(source, tag, exc):
            return False
        raise
    return True


Item = t.TypeVar("Item")
P = t.TypeVar("P", bound=Planned)


def follow(
    plans: t.Sequence[P],
    referrers: t.Callable[[P], list[Item]],
    plan: t.Callable[[Item], P],
    name_of: t.Callable[[Item], str],
    builder: PlanBuilder,
) -> list[P]:
    """Plan what refers to the images of ``plans``, and what refers to that in turn; each name once."""
    known = {one.name for one in plans}
    found: list[P] = []
    latest = list(plans)
    for _level in range(_MAX_LEVELS):
        listed = builder.each(referrers, latest, lambda one: one.name)
        new = {name_of(item): item for items in listed for item in items}
        fresh = [item for name, item in new.items() if name not in known]
        latest = builder.each(plan, fresh, name_of)
        known.update(new)
        found += latest
    return found


def expand_tags(
    references: t.Sequence[Reference], sources: Sources, builder: PlanBuilder
) -> list[Reference]:
    """Return every tag of repositories; raise InputError for a reference with a tag or digest."""
    for reference in references:
        if reference.digest or reference.tag != "latest":
            raise errors.InputError(
                f"{reference}: all_tags takes a name with neither tag nor digest"
            )

    def expand(reference: Reference) -> list[Reference]:
        return [reference.with_tag(tag) for tag in sources.repository(reference).tags()]

    once = list(dict.fromkeys(references))
    expanded = builder.each(expand, once)
    return [reference for tagged in expanded for reference in tagged]
