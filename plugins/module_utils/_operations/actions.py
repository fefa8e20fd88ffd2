# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions on content and names that several verbs share, and their order."""

from __future__ import annotations

import contextlib
import typing as t

from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest, Reference
from .._image.sources import ChunkPolicy, ContentSink, ContentSource
from .._plan import Action, Plan

if t.TYPE_CHECKING:
    from .._execution import Pool

T = t.TypeVar("T")
_CHUNKS = ChunkPolicy()
_SMALL = 256 * 1024  # bytes; a far registry takes longer to answer than to send them


def fetch() -> t.Any:
    """Return the module ``copy_blob``, imported late: a run that fetches nothing need not compile it.

    Call it first in the main thread, as ``zipimport`` is not safe in others.
    """
    from .._image import copy_blob as module

    return module


class StoreContent(Action):
    """Store bytes that were read for the plan."""

    is_small = True

    def __init__(self, descriptor: Descriptor, raw: bytes, sink: ContentSink) -> None:
        self.descriptor, self.raw, self.sink = descriptor, raw, sink

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="store_content")

    def apply(self, pool: Pool) -> None:
        self.sink.write(self.descriptor, [self.raw])


class FetchBlob(Action):
    """Bring one blob, from the first source that can give it."""

    def __init__(
        self,
        descriptor: Descriptor,
        source: ContentSource,
        sink: ContentSink,
        pieces: ChunkPolicy = _CHUNKS,
        others: t.Sequence[ContentSource] = (),
    ) -> None:
        self.descriptor, self.source, self.sink = descriptor, source, sink
        self.pieces, self.others = pieces, others

    @property
    def is_small(self) -> bool:  # type: ignore[override]
        return self.descriptor.size <= _SMALL

    def summary(self) -> dict[str, t.Any]:
        return dict(self.descriptor.as_result(), action="fetch_blob", source=str(self.source))

    def apply(self, pool: Pool) -> None:
        copy_blob = fetch().copy_blob
        *firsts, last = (self.source, *self.others)
        for source in firsts:
            with contextlib.suppress(errors.RegistryError, errors.ContentError):
                return copy_blob(self.descriptor, source, self.sink, pool, self.pieces)
        copy_blob(self.descriptor, last, self.sink, pool, self.pieces)


Content = t.Union[StoreContent, FetchBlob]
# What a failed result does not say of an image.
_OMITTED = ("id", "layers", "media_type", "platforms")


def shorten_images(facts: t.Mapping[str, t.Any], _arrived: t.Container[str]) -> dict[str, t.Any]:
    """Return ``images`` of a failed result: those that differ, without their layers."""
    return {
        "images": [
            {key: image[key] for key in image if key not in _OMITTED}
            for image in facts["images"]
            if image.get("status") != "up_to_date"
        ]
    }


def without_details(plan: Plan) -> Plan:
    """Return a plan whose result has neither actions nor layers."""
    images = [
        {key: value for key, value in image.items() if key != "layers"}
        for image in plan.facts["images"]
    ]
    return plan._replace(facts={**plan.facts, "images": images}, lists_actions=False)


class Planned(t.Protocol):
    """The plan of one image: its name, and the content that is missing where it goes."""

    @property
    def name(self) -> str:
        """The name that waits for the content."""

    @property
    def content(self) -> t.Sequence[Content]:
        """The actions that bring the content."""


def missing_bytes(plan: Planned) -> int:
    """Return the bytes of the content that an image lacks."""
    return sum(action.descriptor.size for action in plan.content)


def merged(plans: t.Sequence[Planned]) -> tuple[Content, ...]:
    """Deduplicate the content of ``plans``; order it by the bytes that its image lacks, then by size."""
    users: dict[tuple[int, Digest, int], list[tuple[Planned, Content]]] = {}
    for plan in plans:
        for action in plan.content:
            # Another size is another promise, of which one is wrong.
            key = (id(action.sink), action.descriptor.digest, action.descriptor.size)
            users.setdefault(key, []).append((plan, action))
    content: list[Content] = []
    for (_sink, _digest, size), pairs in users.items():
        needed_by = tuple(plan.name for plan, _action in pairs)
        urgency = (min(missing_bytes(plan) for plan, _action in pairs), size)
        action = pairs[0][1].replaced(needed_by=needed_by, urgency=urgency)
        if isinstance(action, FetchBlob):
            sources = {
                str(one.source): one.source for _plan, one in pairs if isinstance(one, FetchBlob)
            }
            action = action.replaced(others=tuple(sources.values())[1:])
            fetch()  # before threads do
        content.append(action)
    return tuple(content)


def each_once(items: t.Iterable[T], reference_of: t.Callable[[T], Reference]) -> list[T]:
    """Return items by the name that their reference has in a store; raise InputError for one name that means two."""
    found: dict[str, T] = {}
    for item in items:
        name = reference_of(item).store_name
        one, other = reference_of(item), reference_of(found.setdefault(name, item))
        if one != other:
            raise errors.InputError(f"{name} is asked for twice, as {other} and as {one}")
    return list(found.values())
