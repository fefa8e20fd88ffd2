# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy one blob: resume it, use several connections where that is faster, and verify it."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from . import errors
from .manifest import Descriptor, ImageConfig, Manifest, verified
from .sources import ChunkPolicy, ContentSink, ContentSource, PartialBlob, Span

# If one connection needs less than this many seconds for the rest, more connections do not pay.
_PAYS = 1.0
# The seconds that a piece takes on one connection. Longer pieces would leave nothing for idle connections.
_PIECE_SECONDS = 4.0
_MEASURED = 1024 * 1024
_LARGE_STEP = 64 * 1024
_SMALL_STEPS = 100
# The bytes do not match the descriptor.
_WRONG = (errors.DigestMismatchError, errors.SizeMismatchError, errors.EncodingError)


class Threads(t.Protocol):
    """The threads of a task; ``stopped`` means that the task ends and copying must stop."""

    stopped: bool

    @property
    def is_busy(self) -> bool:
        """Return whether work waits for a thread."""

    def assist(self, function: t.Callable[[], None]) -> None:
        """Run ``function`` once when a thread is idle."""


def read_content(descriptor: Descriptor, source: ContentSource) -> bytes:
    """Return the bytes of a small blob, verified.

    Retry as the source allows, and try its other servers. Raise the error of the last try.
    """
    if descriptor.data is not None:
        return descriptor.data
    attempt, mismatches = 0, 0
    while True:
        attempt += 1
        try:
            with contextlib.closing(source.read_blob(descriptor)[1]) as chunks:
                return b"".join(verified(chunks, descriptor))
        except errors.TruncatedError:
            if not source.backoff(attempt, descriptor):
                if not source.report_corrupt(descriptor):
                    raise
                attempt = 0
        except _WRONG as exc:
            blamed = _blamed(exc, source, descriptor)
            if not source.report_corrupt(descriptor):
                mismatches += 1
                if mismatches > 1 or not source.backoff(attempt, descriptor):
                    raise blamed from exc


def _blamed(
    exc: errors.LockstepError, source: ContentSource, descriptor: Descriptor
) -> errors.LockstepError:
    """Return a copy of an error that names the server of the bytes."""
    return type(exc)(
        f"{exc}; received from {source.served_by(descriptor)}", exc.hint, **exc.details
    )


def read_config(manifest: Manifest, source: ContentSource, subject: str) -> ImageConfig | None:
    """Return the configuration of an image, verified; None for an artifact. ``subject`` names the image in errors."""
    config = manifest.config
    if config is None or not config.is_image_config:
        return None
    return ImageConfig.parse(read_content(config, source), f"{subject}: config {config.digest}")


def copy_blob(
    descriptor: Descriptor,
    source: ContentSource,
    sink: ContentSink,
    pool: Threads,
    policy: ChunkPolicy,
) -> None:
    """Copy a blob to the sink unless it has the blob; without an error the blob is verified and durable.

    Idle threads of ``pool`` fetch pieces of a large blob, as ``policy`` says. Raise a ContentError for wrong bytes, a
    RegistryError if no server delivers the blob, a StoreError if the sink fails.
    """
    if sink.has(descriptor):  # another process was faster
        return
    if descriptor.data is not None:
        return sink.write(descriptor, [descriptor.data])
    with sink.open_partial(descriptor) as part:
        if part:
            _Fetch(descriptor, source, part, pool, policy).run()


class _Progress:
    """Decides when to continue an interrupted blob: at once after large progress, after a wait otherwise."""

    def __init__(self, missing: int) -> None:
        self._least = missing  # the lowest number of missing bytes so far
        self.reset()

    def reset(self) -> None:
        """Start to count again, as for another server."""
        self._attempt = 0  # interruptions in a row without progress
        self._small_steps = 0

    def interrupted(self, missing: int | None) -> int | None:
        """Return the attempt to back off for, 0 for none, or None to give up.

        ``missing`` is the number of missing bytes, None if the blob starts again.
        """
        step = 0
        if missing is not None:
            # The number can grow: an upload can lose bytes.
            step, self._least = max(0, self._least - missing), min(self._least, missing)
        if step >= _LARGE_STEP:
            self.reset()
            return 0
        self._attempt = 1 if step else self._attempt + 1
        self._small_steps += 1  # so that a blob cannot take for ever
        return self._attempt if self._small_steps <= _SMALL_STEPS else None


class _Fetch:
    """The transfer of one blob. The main thread fetches pieces from the front, idle threads of the pool those after it.

    The helping threads are called assistants.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        source: ContentSource,
        part: PartialBlob,
        pool: Threads,
        policy: ChunkPolicy,
    ) -> None:
        self._descriptor = descriptor
        self._source = source
        self._part = part
        self._pool = pool
        self._policy = policy
        self._changed = threading.Condition()
        self._taken: list[Span] = []
        self._most = policy.connections - 1  # useful assistants
        self._called = 0  # assistants that are queued or at work
        self._assistants = 0  # assistants at work
        self._bug: BaseException | None = None
        self._answers = 2 if part.resumed else 0  # responses that the bytes are from
        self._progress = _Progress(descriptor.size)
        self._rate = 0.0  # bytes a second of one connection
        self._is_over = False
        self._is_whole = False  # all bytes must be from one response
        self._has_ranges = True  # no server has refused a range

    def run(self) -> None:
        """Fetch, verify and store the blob; raise the error of the last try."""
        mistakes = 0
        try:
            while True:
                try:
                    self._gather()
                    return self._part.finish()
                except _WRONG as exc:
                    blamed = _blamed(exc, self._source, self._descriptor)
                    # Bytes from several responses do not show which response was wrong.
                    mixed = self._answers > 1 and not mistakes
                    others = not mixed and self._report_corrupt()
                    self._restart()
                    mistakes += not others
                    if mistakes > 1 or not (mixed or others or self._backoff(1)):
                        raise blamed from exc
        finally:
            with self._changed:
                self._is_over = True
            self._wait_for_assistants()

    def _gather(self) -> None:
        gaps = self._part.missing()
        self._progress = _Progress(_length(gaps))
        while gaps:
            try:
                piece = self._take()
                while piece:
                    self._stream(*piece)
                    self._call_assistants()
                    piece = self._take()
                self._wait_for_assistants()
            except errors.RangeError:
                # No server continues from the middle, so the received bytes are useless.
                self._has_ranges = False
                self._restart()
            except errors.TruncatedError:
                if self._pool.stopped or not self._may_continue():
                    raise
            gaps = self._part.missing()

    def _may_continue(self) -> bool:
        """Back off after an interruption, and return whether to continue, with this server or with another one."""
        missing = None
        if self._has_ranges:
            self._is_whole = False
            missing = _length(self._part.missing())
            if not missing:
                return True
        else:
            self._restart()
        attempt = self._progress.interrupted(missing)
        if attempt is not None and self._backoff(attempt):
            return True
        self._progress.reset()
        return self._report_corrupt()

    def _report_corrupt(self) -> bool:
        others = self._source.report_corrupt(self._descriptor)
        self._has_ranges = self._has_ranges or others
        return others

    def _backoff(self, attempt: int) -> bool:
        return self._source.backoff(attempt, self._descriptor)

    def _restart(self) -> None:
        with self._changed:
            self._is_whole = True
        self._wait_for_assistants()
        self._answers = 0
        self._part.reset()

    def _take(self, assists: bool = False) -> Span | None:
        """Return the next span that no thread is fetching, None if there is none."""
        with self._changed:
            if assists and (self._is_over or not self._is_cut):
                return None
            size, missing = self._part.size, self._part.missing()
            gap = next(_without(missing, self._taken), None)
            if gap is None:
                return None
            if self._is_whole:
                gap = (0, size)
            elif self._is_cut and (not self._rate or _length(missing) > self._rate * _PAYS):
                share = _length(missing) / (2 * self._assistants + 2)
                length = int(max(self._policy.size, min(self._rate * _PIECE_SECONDS, share)))
                gap = (gap[0], min(gap[1], gap[0] + length))
            self._taken.append(gap)
            return gap

    @property
    def _is_cut(self) -> bool:
        policy = self._policy
        return (
            self._part.size >= 2 * policy.size
            and policy.connections > 1
            and not self._is_whole
            and not self._part.in_order
            and self._source.has_ranges(self._descriptor)
        )

    def _stream(self, first: int, end: int, assists: bool = False) -> None:
        taken = (first, end)
        asked = None if taken == (0, self._part.size) else taken
        try:
            self._answers += 1
            span, chunks = self._source.read_blob(self._descriptor, asked, retry=not assists)
            with contextlib.closing(chunks):
                if span != taken:
                    if assists:
                        raise errors.RangeError(f"{self._source} gives the whole blob only")
                    self._has_ranges = False
                    self._restart()
                self._store(*span, chunks, assists)
        finally:
            with self._changed:
                self._taken.remove(taken)

    def _store(self, first: int, end: int, chunks: t.Iterator[bytes], assists: bool) -> None:
        offset, started = first, time.monotonic()
        for chunk in chunks:
            if offset + len(chunk) > end:
                raise errors.SizeMismatchError(
                    f"{self._descriptor.digest}: received more than the {end - first} bytes promised"
                )
            if self._pool.stopped or self._is_over or (assists and self._is_whole):
                break
            self._part.write(offset, chunk)
            offset += len(chunk)
            if offset - first >= _MEASURED:
                # Measure repeatedly: many links are fast only for their first bytes.
                self._rate = (offset - first) / max(time.monotonic() - started, 1e-6)
                self._call_assistants()
        if offset < end:
            raise errors.TruncatedError(
                f"{self._descriptor.digest} ended after {offset} of {self._part.size} bytes"
                f" from {self._source.served_by(self._descriptor)}"
            )
        self._rate = (end - first) / max(time.monotonic() - started, 1e-6)

    def _call_assistants(self) -> None:
        left = _length(self._part.missing())
        if self._is_cut and left > self._rate * _PAYS:
            most = min(self._most, left // self._policy.size)
            with self._changed:
                more, self._called = most - self._called, max(most, self._called)
            for _one in range(more):
                self._pool.assist(self._assist)

    def _assist(self) -> None:
        with self._changed:
            if self._is_over or self._is_whole:
                return
            self._assistants += 1
        leaves = True
        try:
            piece = self._take(assists=True)
            while piece:
                self._stream(*piece, assists=True)
                if self._pool.is_busy:  # the pool's own work comes first
                    leaves = False
                    return
                piece = self._take(assists=True)
        except errors.TruncatedError:
            pass  # the main thread finds the gap and retries
        except errors.LockstepError:
            with self._changed:  # the server does not accept so many connections
                self._most = min(self._most, self._assistants - 1)
        except Exception as exc:  # not an error of a transfer: the main thread raises it
            self._bug = exc
        finally:
            with self._changed:
                self._assistants -= 1
                self._called -= leaves
                self._changed.notify_all()
            if not leaves:
                self._pool.assist(self._assist)

    def _wait_for_assistants(self) -> None:
        error = None
        while self._assistants:  # also after an error: they still write to the partial blob
            try:
                if error is None:
                    self._part.hash_ahead()
            except errors.LockstepError as exc:
                error = exc
            with self._changed:
                if self._assistants:
                    self._changed.wait(0.1)
        if self._bug or error:
            raise self._bug or error  # type: ignore[misc]


def _length(spans: t.Iterable[Span]) -> int:
    return sum(end - first for first, end in spans)


def _without(spans: t.Iterable[Span], taken: t.Iterable[Span]) -> t.Iterator[Span]:
    left = list(spans)
    for one in taken:
        left = [
            part
            for first, end in left
            for part in ((first, min(end, one[0])), (max(first, one[1]), end))
            if part[0] < part[1]
        ]
    return iter(left)
