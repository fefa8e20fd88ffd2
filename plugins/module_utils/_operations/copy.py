# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy: registries get what other registries hold; nothing is kept on the way."""

from __future__ import annotations

import collections
import re
import typing as t
from dataclasses import dataclass

from .._image import errors
from .._image.copy_blob import read_config
from .._image.dates import Moment
from .._image.manifest import Descriptor, Manifest
from .._image.names import Reference, parse_registry, trimmed
from .._image.sources import ContentSource
from .._image.walk import images_of, walk
from .._plan import Plan
from .newest import Dated, Newest, join_some, newest
from .referrers import expand_tags
from .sending import SendPlanner, Transfer


@dataclass(frozen=True)
class Destination:
    """A registry, what stands before the repositories in it, and how their paths are changed."""

    registry: str
    prefix: str
    rewrites: tuple[tuple[re.Pattern[str], str], ...] = ()

    @classmethod
    def parse(cls, text: str, rewrites: t.Sequence[t.Mapping[str, str]] = ()) -> Destination:
        """Read ``host[:port][/prefix]``; or InputError."""
        host, _slash, prefix = trimmed(text).rstrip("/").partition("/")
        registry = parse_registry(host)
        if Reference.parse(f"{registry}/name").registry != registry:
            raise errors.InputError(
                f"{errors.shown_name(text)}: {registry} has no dot and no port, so it names no registry"
            )
        return cls(
            registry,
            prefix,
            tuple((_pattern("rewrite", one["match"]), one["replace"]) for one in rewrites),
        )

    def of(self, reference: Reference) -> Reference:
        """Return the reference of an image at the destination. The first rewrite that matches its path is applied."""
        path = reference.repository
        for pattern, replacement in self.rewrites:
            try:
                changed, count = pattern.subn(replacement, path, count=1)
            except (re.error, IndexError) as exc:
                raise errors.InputError(
                    f"rewrite {pattern.pattern}: {replacement!r} is not a valid replacement: {exc}"
                ) from exc
            if count:
                path = changed
                break
        if not path:  # a registry alone would be an image of another
            raise errors.InputError(f"{reference}: rewrite leaves nothing of its repository")
        name = "/".join(filter(None, [self.registry, self.prefix, path]))
        target = Reference.parse(f"{name}:{reference.tag or 'latest'}")
        if reference.tag:
            return target
        return Reference(target.registry, target.repository, None, reference.digest)


@dataclass(frozen=True)
class Tags:
    """Which tags of a repository are meant, where a name stands for them."""

    matching: re.Pattern[str] | None
    newest: int | None

    @classmethod
    def of(cls, all_tags: bool, matching: str | None, newest: int | None) -> Tags | None:
        """Read the options; return None if a name means one image. Raise InputError for a pattern or count that is not valid."""
        if newest is not None and newest < 1:
            raise errors.InputError("newest must be at least 1")
        if not all_tags and matching is None and newest is None:
            return None
        return cls(_pattern("tags_matching", matching) if matching is not None else None, newest)


def plan_copy(
    references: t.Sequence[Reference],
    destination: Destination,
    tags: Tags | None,
    planner: SendPlanner,
) -> Plan:
    """Plan to send images, or those that ``tags`` chooses from their repositories, to ``destination``."""
    registries = planner.registries
    if tags:
        references = expand_tags(references, registries, planner)
        matching = tags.matching
        if matching:
            references = [one for one in references if matching.search(str(one.tag))]
    left: Newest[Reference] = Newest([], [], [])
    if tags and tags.newest:
        left = _newest(references, tags.newest, planner)
        references = left.chosen
    transfers = []
    for reference in references:
        target = destination.of(reference)
        if target.name == reference.name:
            raise errors.InputError(f"{reference}: would be copied to itself")
        content = registries.repository(reference)
        transfers.append(Transfer(reference, target, content, planner.sinks.of(target)))
    plan = planner.plan(transfers)
    unknown = sorted(map(str, left.unknown))
    text = f"newest: it is not known when these were made, so others come before them: {join_some(unknown)}"
    return plan._replace(
        facts={
            **plan.facts,
            "unknown_dates": unknown,
            "equal_dates": sorted(map(str, left.equal)),
        },
        warnings=lambda: [*plan.warnings(), *([text] if unknown else [])],
    )


def _newest(
    references: t.Sequence[Reference],
    count: int,
    planner: SendPlanner,
) -> Newest[Reference]:
    """Choose the latest images of each repository; one of unknown date only where too few have a date."""

    def dated(reference: Reference) -> Dated[Reference]:
        made = _created(planner.registries.repository(reference), reference)
        return Dated(reference, reference.name, str(reference.tag), made)

    found = newest(planner.each(dated, references), count)
    chosen = collections.Counter(one.name for one in found.chosen)
    for one in found.unknown:
        if chosen[one.name] < count:
            chosen[one.name] += 1
            found.chosen.append(one)
    return found


def _created(source: ContentSource, reference: Reference) -> Moment | None:
    """Return when an image was made, by the first image of an index; None if its configuration has no date."""
    root, top = source.read_manifest(reference.digest or str(reference.tag))

    def read(descriptor: Descriptor) -> Manifest:
        return top if descriptor is root else source.read_manifest(descriptor.digest)[1]

    def first_child(index: Manifest) -> list[Descriptor]:
        # The first in a repository may be an attestation, which has no date.
        followed = (child for child in index.children if child.is_index or child.is_manifest)
        return (images_of(index) or list(followed))[:1]

    *_indexes, leaf = walk(root, read, first_child, str(reference))
    manifest = t.cast(Manifest, leaf.manifest)
    config = read_config(manifest, source, str(reference))
    return Moment.parse(config.value.get("created")) if config else None


def _pattern(option: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as exc:
        raise errors.InputError(f"{option}: {text!r} is not a regular expression: {exc}") from exc
