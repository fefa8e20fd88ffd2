# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocols between the rooms: where content comes from, and where it goes to."""

from __future__ import annotations

import hashlib
import threading
import typing as t
from dataclasses import dataclass

from . import errors
from .manifest import Descriptor, Manifest
from .names import Digest, Reference


class ContentSource(t.Protocol):
    """The content of one repository; reading changes nothing."""

    def resolve(self, tag: str) -> Digest:
        """The digest a tag stands for now; or NotFoundError."""

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """A manifest by digest or tag, verified."""

    def read_blob(
        self,
        descriptor: Descriptor,
        first: int = 0,
        end: int | None = None,
        patient: bool = True,
    ) -> tuple[tuple[int, int], t.Generator[bytes, None, None]]:
        """Bytes of a blob, **not** verified, and which they are: those asked for, or all; or RangeError.

        Not ``patient``: what is refused is not tried again, and nobody is given up for it.
        """

    def has_ranges(self, descriptor: Descriptor) -> bool:
        """Whether a blob may be asked for in pieces that need not be."""

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        """It gave wrong bytes: whether others will be asked for them now."""

    def giver(self, descriptor: Descriptor) -> str:
        """Who gave bytes of a blob last, as an error names it."""

    def tags(self) -> list[str]:
        """Every tag, sorted."""

    def referrers(self, digest: Digest) -> t.Sequence[Descriptor]:
        """The manifests whose subject is that one, each once, sorted by digest."""

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        """Wait before try ``attempt`` + 1 for this content, for 0 not at all; False when that is too many."""


class Sources(t.Protocol):
    """All repositories of a task."""

    @property
    def warnings(self) -> t.Sequence[str]:
        """What users should know."""

    def prepare(self) -> None:
        """Import what asking takes; call it in the main thread before a pool starts."""

    def repository(self, reference: Reference) -> ContentSource:
        """The repository a reference is in."""

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        """Where a layer comes from that registries do not have."""

    def stats(self) -> t.Mapping[str, t.Any]:
        """What reading has cost."""


class PartialBlob(t.Protocol):
    """A blob that is being put together."""

    size: int
    resumed: int
    in_order: bool  # bytes must be written from the first to the last

    def missing(self) -> list[tuple[int, int]]:
        """The gaps, as (first, end)."""

    def write(self, offset: int, chunk: bytes) -> None:
        """Keep bytes that came."""

    def hash_ahead(self) -> None:
        """Use a moment in which there is nothing else to do."""

    def reset(self) -> None:
        """Forget all bytes."""

    def finish(self) -> None:
        """No error means: it is there, verified and durable. After DigestMismatchError it is empty."""


@dataclass(frozen=True)
class ChunkPolicy:
    """How large blobs are cut: bytes of the smallest piece, connections for one blob."""

    size: int = 16 * 1024 * 1024
    connections: int = 6

    def __post_init__(self) -> None:
        if self.size < 1 or self.connections < 1:
            raise errors.InputError("chunk_size and connections_per_blob must be at least 1")


class ContentSink(t.Protocol):
    """Where content goes to."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there with the promised size."""

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """No error means: it is there, verified and durable."""

    def open_partial(self, descriptor: Descriptor) -> t.ContextManager[PartialBlob | None]:
        """A part to fill, with what earlier tries have left; None if it is there meanwhile."""


class NameSink(t.Protocol):
    """Where names point at content."""

    def set_names(self, moves: t.Sequence[t.Any]) -> None:
        """Point names at content; or ConflictError, and none is moved."""


def verified(chunks: t.Iterable[bytes], descriptor: Descriptor) -> t.Iterator[bytes]:
    """The same chunks, checked as they pass; or a ContentError."""
    digest, size = descriptor.digest, 0
    hasher = hashlib.new(digest.algorithm)
    for chunk in chunks:
        size += len(chunk)
        if size > descriptor.size:
            raise errors.SizeMismatchError(
                f"{digest} is longer than the {descriptor.size} bytes promised"
            )
        hasher.update(chunk)
        yield chunk
    if size < descriptor.size:
        raise errors.TruncatedError(f"{digest} ended after {size} of {descriptor.size} bytes")
    if hasher.hexdigest() != digest.encoded:
        got = f"{digest.algorithm}:{hasher.hexdigest()}"
        raise errors.DigestMismatchError(
            f"{digest}: the {size} bytes received have the digest {got}"
        )


class TransferStats:
    """What a task cost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = {"bytes_fetched": 0, "retries": 0, "seconds_waited": 0}

    def add(self, name: str, amount: float = 1) -> None:
        """Count bytes, seconds, or requests by their method."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def as_result(
        self,
        connections: int = 0,
        mirrors: t.Mapping[str, t.Any] | None = None,
        limits: t.Mapping[str, t.Any] | None = None,
    ) -> dict[str, t.Any]:
        """The counts, with what mirrors served and what registries told of their limits."""
        requests = {name: count for name, count in sorted(self._counts.items()) if name.isupper()}
        others = {name: round(count, 3) for name, count in self._counts.items() if name.islower()}
        return dict(
            others,
            requests=requests,
            connections=connections,
            mirrors=mirrors or {},
            rate_limit=limits or {},
        )
