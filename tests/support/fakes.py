# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries and sinks in memory, which implement the protocols of ``_image/sources.py``."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    DigestMismatchError,
    NotFoundError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
    Manifest,
    verified,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import (
    Blob,
    ContentSource,
    Span,
)

from .publish import Item
from .storage import parse_object

CHUNK = 1000


@dataclass(frozen=True)
class Cut:
    """The right bytes of the requested range, which break off after this many."""

    after: int


@dataclass(frozen=True)
class Whole:
    """The whole blob instead of the requested range; it may break off."""

    after: int | None = None


Answer = t.Union[BaseException, bytes, Cut, Whole, t.Callable[[], t.Any]]


class FakeRepository(ContentSource):
    """One repository in memory, as a ``ContentSource``.

    ``content`` is bytes by digest, ``media_types`` those of manifests by digest, ``tagged`` digests
    by tag. ``reads`` are pairs of a verb (``resolve``, ``manifest``, ``blob``, ``tags``,
    ``referrers``) and its argument. ``script(verb, what, ...)`` sets the next answers: an exception
    is raised, bytes are the content of the answer, ``Cut`` and ``Whole`` are for blobs, a function
    is called and returns the answer, or None for the true one.

    ``others`` is the number of other sources that would remain if this one is reported as corrupt.
    """

    def __init__(self, name: str = "registry.example/app", patience: int = 5) -> None:
        self.name = name
        self.patience = patience
        self.content: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}
        self.tagged: dict[str, str] = {}
        self.reads: list[tuple[str, str]] = []
        self.pauses: list[int] = []
        self.spans: list[Span | None] = []
        self.ranges = True
        self.others = 0
        self._scripts: dict[tuple[str, str], list[Answer]] = {}

    def __str__(self) -> str:
        return self.name

    def publish(self, item: Item, *tags: str) -> str:
        """Store an image or index and tag it. Return its digest."""
        self.content.update(item.blobs())
        for digest, media_type, raw in item.manifests():
            self.content[digest] = raw
            self.media_types[digest] = media_type
        self.tagged.update(dict.fromkeys(tags, item.digest))
        return item.digest

    def script(self, verb: str, what: t.Any, *answers: Answer) -> None:
        """Queue answers for the next reads of ``what``; the true answer follows them."""
        self._scripts.setdefault((verb, str(what)), []).extend(answers)

    def resolve(self, tag: str) -> Digest:
        self._asked("resolve", tag)
        return Digest.parse(self._tagged(tag))

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        scripted = self._asked("manifest", str(identifier))
        by_digest = isinstance(identifier, Digest)
        digest = str(identifier) if by_digest else self._tagged(str(identifier))
        raw = self._bytes(digest) if scripted is None else scripted
        parsed = Digest.parse(digest)
        if not parsed.matches(raw):
            raise DigestMismatchError(f"{self}: {digest}")
        manifest = Manifest.parse(raw, self.media_types[digest], f"{self}@{digest}")
        return Descriptor(manifest.media_type, parsed, len(raw)), manifest

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        self.spans.append(span)
        scripted = self._asked("blob", str(descriptor.digest))
        first, end = span or (0, descriptor.size)
        raw = scripted
        if not isinstance(raw, bytes):
            raw = self._bytes(str(descriptor.digest))
            if isinstance(scripted, Whole):
                first, end = 0, descriptor.size
            raw = raw[first:end]
        after = getattr(scripted, "after", None)
        return (first, end), self._chunks(raw, after)

    def _chunks(self, raw: bytes, after: int | None) -> t.Generator[bytes, None, None]:
        stop = len(raw) if after is None else after
        for at in range(0, stop, CHUNK):
            yield raw[at : min(at + CHUNK, stop)]
        if after is not None:
            raise TruncatedError(f"{self}: broke off")

    def has_ranges(self, descriptor: Descriptor) -> bool:
        return self.ranges

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        self.reads.append(("distrust", str(descriptor.digest)))
        self.others -= 1
        return self.others >= 0

    def tags(self) -> list[str]:
        self._asked("tags", "")
        return sorted(self.tagged)

    def referrers(self, digest: Digest) -> list[Descriptor]:
        self._asked("referrers", str(digest))
        found = []
        for name in sorted(self.media_types):
            subject = parse_object(self.content[name]).get("subject") or {}
            if subject.get("digest") == str(digest):
                raw = self.content[name]
                found.append(Descriptor(self.media_types[name], Digest.parse(name), len(raw)))
        return found

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        self.pauses.append(attempt)
        return attempt <= self.patience

    def _asked(self, verb: str, what: str) -> t.Any:
        self.reads.append((verb, what))
        queue = self._scripts.get((verb, what))
        answer = queue.pop(0) if queue else None
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def _tagged(self, tag: str) -> str:
        if tag not in self.tagged:
            raise NotFoundError(f"{self}:{tag}: not found")
        return self.tagged[tag]

    def _bytes(self, digest: str) -> bytes:
        if digest not in self.content:
            raise NotFoundError(f"{self}@{digest}: not found")
        return self.content[digest]


class FakeSources:
    """All repositories of a task; initially each is empty."""

    def __init__(self) -> None:
        self.repositories: dict[str, FakeRepository] = {}
        self.warnings: list[str] = []
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> FakeRepository:
        """Return the repository with this full name (``registry/repository``); create it if needed."""
        with self._lock:
            return self.repositories.setdefault(name, FakeRepository(name))

    def prepare(self) -> None:
        """Do nothing: the real sources import libraries here."""

    def repository(self, reference: Reference) -> FakeRepository:
        return self[reference.name]

    def foreign(self, reference: Reference, descriptor: Descriptor) -> FakeRepository:
        """Return the place of all foreign layers."""
        return self["foreign"]

    def publish(self, reference: str, item: Item) -> str:
        """Store an image or index under a reference. Return its digest."""
        parsed = Reference.parse(reference)
        return self[parsed.name].publish(item, *([parsed.tag] if parsed.tag else []))

    @property
    def reads(self) -> list[tuple[str, str]]:
        """The reads of all repositories."""
        return [read for repository in self.repositories.values() for read in repository.reads]

    def forget(self) -> None:
        """Clear the reads of all repositories."""
        for repository in self.repositories.values():
            repository.reads.clear()

    def stats(self) -> dict[str, t.Any]:
        return {"reads": len(self.reads)}


class FakeSink:
    """A ``ContentSink`` in memory; ``log`` lists its writes in order.

    ``parts`` are the bytes that earlier runs have left, by digest. ``reset`` and ``finish`` of a
    part behave like those of the real one.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.names: dict[str, t.Any] = {}
        self.log: list[tuple[str, str]] = []
        self.parts: dict[str, bytes] = {}

    def has(self, descriptor: Descriptor) -> bool:
        content = self.content.get(str(descriptor.digest))
        return content is not None and len(content) == descriptor.size

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        self.content[str(descriptor.digest)] = b"".join(verified(chunks, descriptor))
        self.log.append(("write", str(descriptor.digest)))

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[FakePart]:
        yield FakePart(self, descriptor, self.parts.get(str(descriptor.digest), b""))

    def set_names(self, moves: t.Sequence[t.Any]) -> None:
        for move in moves:
            if self.names.get(move.name) not in (move.expected, move.target):
                raise ConflictError(f"{move.name} was moved")
        for move in moves:
            self.names[move.name] = move.target
            self.log.append(("set_name", move.name))


class FakePart:
    """A ``PartialBlob`` in memory; it begins with the ``resumed`` bytes of ``data``."""

    in_order = False

    def __init__(self, sink: FakeSink, descriptor: Descriptor, data: bytes = b"") -> None:
        self.size = descriptor.size
        self.resumed = len(data)
        self._sink = sink
        self._descriptor = descriptor
        self._data = bytearray(data.ljust(self.size, b"\0"))
        self._lock = threading.Lock()
        self._gaps = [(len(data), self.size)] if len(data) < self.size else []

    def missing(self) -> list[tuple[int, int]]:
        with self._lock:
            return list(self._gaps)

    def write(self, offset: int, chunk: bytes) -> None:
        end = offset + len(chunk)
        with self._lock:
            gap = next((gap for gap in self._gaps if gap[0] <= offset and end <= gap[1]), None)
            assert gap, "written twice"
            self._data[offset:end] = chunk
            at = self._gaps.index(gap)
            left = [(gap[0], offset), (end, gap[1])]
            self._gaps[at : at + 1] = [one for one in left if one[0] < one[1]]

    def hash_ahead(self) -> None:
        pass

    def reset(self) -> None:
        with self._lock:
            self._gaps, self.resumed = [(0, self.size)], 0

    def finish(self) -> None:
        try:
            self._sink.write(self._descriptor, [bytes(self._data)])
        except DigestMismatchError:
            self.reset()
            raise


def blob(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    """Return the descriptor of ``data``."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Descriptor(media_type, Digest.parse(digest), len(data))
