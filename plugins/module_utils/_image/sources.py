# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other rooms implement: the sources and sinks of content, and the statistics of a transfer."""

from __future__ import annotations

import threading
import typing as t

from . import errors
from .manifest import Descriptor, Manifest
from .names import Digest, Reference

Span = tuple[int, int]  # (first, end) in bytes, without the byte at end
Blob = tuple[Span, t.Generator[bytes, None, None]]


class ContentSource:
    """The content of one repository. Reading changes nothing, and any thread may read.

    A new medium implements ``resolve``, ``read_manifest`` and ``read_blob``, and ``__str__`` for its name in errors.
    """

    def resolve(self, tag: str) -> Digest:
        """Return the digest that a tag points at now; raise NotFoundError if there is no such tag, as by default."""
        raise errors.NotFoundError(f"{self}: has no tag {tag}")

    def read_manifest(self, identifier: Digest | str) -> tuple[Descriptor, Manifest]:
        """Return a manifest by digest or tag, verified; raise NotFoundError if it is missing, as by default."""
        raise errors.NotFoundError(f"{self}: has no manifest {identifier}")

    def read_blob(
        self, descriptor: Descriptor, span: Span | None = None, retry: bool = True
    ) -> Blob:
        """Return the span that is served and its bytes, which are **not** verified; ``span`` None asks for all bytes.

        Either the requested span is served or the whole blob. Raise RangeError for a server that does neither.
        Without ``retry``, a failed request is not repeated, and the failure does not count against the server.
        """
        raise NotImplementedError

    def has_ranges(self, descriptor: Descriptor) -> bool:
        """Return whether to read a large blob in several spans at once; by default not."""
        return False

    def report_corrupt(self, descriptor: Descriptor) -> bool:
        """Report that the last bytes of a blob were wrong; return whether another server will be asked now."""
        return False

    def served_by(self, descriptor: Descriptor) -> str:
        """Return the name of the server that last sent bytes of a blob, for error messages."""
        return str(self)

    def tags(self) -> list[str]:
        """Return every tag, sorted."""
        return []

    def referrers(self, digest: Digest) -> t.Sequence[Descriptor]:
        """Return the manifests whose subject has this digest, each once, sorted by digest."""
        return []

    def backoff(self, attempt: int, descriptor: Descriptor | None = None) -> bool:
        """Wait before retry ``attempt`` of this content; 0 means without a wait, as the last try made progress.

        Return False if there is no further retry, which is the default.
        """
        return False


class Sources(t.Protocol):
    """The repositories that a task reads from."""

    @property
    def warnings(self) -> t.Sequence[str]:
        """Return the warnings for the user so far."""

    def prepare(self) -> None:
        """Import the modules that reading needs. Call it in the main thread, before a pool starts."""

    def repository(self, reference: Reference) -> ContentSource:
        """Return the repository of a reference as a source, with its mirrors."""

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        """Return the source of a layer that its registry does not distribute; ``reference`` is the image."""

    def stats(self) -> t.Mapping[str, t.Any]:
        """Return what reading has cost so far, as ``TransferStats.as_result`` describes it."""


class PartialBlob(t.Protocol):
    """A blob of which a sink has some of the bytes."""

    size: int  # bytes of the whole blob
    resumed: int  # bytes that an earlier task has left
    in_order: bool  # bytes must be written from the first to the last

    def missing(self) -> list[Span]:
        """Return the spans that are still to be written, in order."""

    def write(self, offset: int, chunk: bytes) -> None:
        """Keep the bytes of ``chunk``, the first of which is byte ``offset`` of the blob."""

    def hash_ahead(self) -> None:
        """Hash received bytes while the caller waits for others; it may do nothing."""

    def reset(self) -> None:
        """Drop all bytes."""

    def finish(self) -> None:
        """Verify the blob and make it durable; without an error it is both.

        Raise DigestMismatchError for other bytes than the descriptor's, and drop them.
        """


class ChunkPolicy(t.NamedTuple):
    """How a large blob is read in pieces over several connections."""

    size: int = 16 * 1024 * 1024  # bytes of the smallest piece
    connections: int = 6  # at most, for one blob


class ContentSink(t.Protocol):
    """A destination of content. It trusts no source, and verifies what it keeps."""

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the sink has the content, in the size that the descriptor states."""

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """Write content whole; without an error it is verified and durable. Raise a ContentError for other bytes."""

    def open_partial(self, descriptor: Descriptor) -> t.ContextManager[PartialBlob | None]:
        """Open a blob for writing, with the bytes that earlier tries have left; None if the sink has the blob already."""


class TransferStats:
    """Counters of a task, for any number of threads: bytes, retries, seconds and requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = {"bytes_fetched": 0, "retries": 0, "seconds_waited": 0}

    def add(self, name: str, amount: float = 1) -> None:
        """Add to a counter; requests are counted under their HTTP method, in capitals."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def as_result(
        self,
        connections: int = 0,
        mirrors: t.Mapping[str, t.Any] | None = None,
        limits: t.Mapping[str, t.Any] | None = None,
    ) -> dict[str, t.Any]:
        """Return the counters as a module returns them, with what mirrors served and registries' rate limits, by name."""
        requests = {name: count for name, count in sorted(self._counts.items()) if name.isupper()}
        others = {name: round(count, 3) for name, count in self._counts.items() if name.islower()}
        return dict(
            others,
            requests=requests,
            connections=connections,
            mirrors=mirrors or {},
            rate_limit=limits or {},
        )
