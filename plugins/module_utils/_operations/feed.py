# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs of registries for an engine: downloaded shortly before they are needed, and removed after they were sent."""

from __future__ import annotations

import contextlib
import threading
import typing as t
from dataclasses import dataclass

from .._execution import Future, Pool
from .._image import errors
from .._image.copy_blob import copy_blob
from .._image.manifest import Descriptor
from .._image.names import Digest
from .._image.sources import ChunkPolicy, ContentSource
from .._store.files import access
from .._store.store import ImageStore
from .transit import TransitStore

# The most blobs that an engine asks for at once, twice as many as podman does by default.
_AT_ONCE = 12


class FedBlob(t.NamedTuple):
    """A blob and where it comes from."""

    descriptor: Descriptor
    source: ContentSource


@dataclass
class _Download:
    """A blob on the disk, or on its way there. ``place`` is its number in the order of the engine."""

    blob: Descriptor
    place: int
    future: Future[None]
    users: int = 0
    was_sent: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether it is complete, and nobody reads it."""
        return not self.users and self.future.done() and not self.future.exception()


class BlobFeed:
    """Downloads blobs in the order in which an engine will ask for them, as far ahead as its share of the disk allows.

    On the disk of ``store`` are at most the bytes of the ``window`` largest blobs, or as much as an earlier task has left,
    as long as the engine reads no more blobs than ``window`` at once. Those that were sent stay until others need the
    space: an engine may ask again. One that the engine passes over, because it has it, also gives way, and so does what
    an earlier task has left of later ones.
    ``expect`` comes first, then ``running``. Any thread may call ``open``.
    """

    def __init__(self, store: ImageStore, chunks: ChunkPolicy, window: int) -> None:
        self._home, self._sink = store, TransitStore(store)
        self._chunks, self._window = chunks, window
        self._changed = threading.Condition()
        self._sources: dict[Digest, FedBlob] = {}
        self._places: dict[Digest, int] = {}
        self._expected: dict[Digest, Descriptor] = {}  # not started, in their order
        self._downloads: dict[Digest, _Download] = {}
        # The bytes on the disk of blobs that are not started: of an earlier task, or of a download that failed.
        self._left: dict[Digest, int] = {}
        self._limit = self._size = 0  # bytes, on the disk or on their way
        self._reached = 0  # the last place that the engine has asked for
        self._is_finished = False
        self._pool: Pool | None = None

    def add(self, blob: FedBlob) -> None:
        """Say where a blob comes from."""
        self._sources.setdefault(blob.descriptor.digest, blob)

    def expect(self, blobs: t.Iterable[Descriptor]) -> None:
        """Say which blobs the engine will ask for, in this order; raise NoSpaceError if the disk is too small for that."""
        self._expected = {blob.digest: blob for blob in blobs if not self._home.has(blob)}
        self._places = {digest: place for place, digest in enumerate(self._expected)}
        sizes = sorted((blob.size for blob in self._expected.values()), reverse=True)
        self._left = {one: self._sink.used_by(blob) for one, blob in self._expected.items()}
        self._size = sum(self._left.values())
        # An earlier task may have left more than that: it had larger blobs to download, which the engine has now.
        self._limit = max(self._size, sum(sizes[: self._window]))
        self._sink.require_space(max(0, self._limit - self._size), self._sources)

    @contextlib.contextmanager
    def running(self) -> t.Iterator[None]:
        """Download until the end of the block. The blobs on the disk stay for the next task, unless ``finish`` was called.

        Only one task at a time does so in a store; others wait.
        """
        self._home.prepare()
        with self._sink.hold(exclusive=True):
            self._sink.prepare(self._places)
            self._sink.keep_only(self._places)
            with Pool(self._window) as self._pool:
                with self._changed:
                    self._fill()
                yield
            if self._is_finished:
                self._sink.clear()

    def finish(self) -> None:
        """Say that no blob is needed from now on."""
        self._is_finished = True

    @contextlib.contextmanager
    def open(self, blob: Descriptor) -> t.Iterator[t.BinaryIO]:
        """Open a blob, as soon as it has been downloaded and verified; raise the error of the download."""
        digest = blob.digest
        if self._home.has(blob):
            with _opened(self._home.blob_path(digest)) as file:
                yield file
            return
        with self._changed:
            download = self._urgent(digest)
            download.users += 1
            self._reached = max(self._reached, download.place)
        try:
            download.future.result()
            with _opened(self._sink.blob_path(digest)) as file:
                yield file
        finally:
            with self._changed:
                download.users -= 1
                download.was_sent = True
                self._fill()
                self._changed.notify_all()

    def _fill(self) -> None:
        """Start downloads up to the limit."""
        while self._expected and not self._has_ended:
            digest, blob = next(iter(self._expected.items()))
            if not self._make_room(blob.size - self._left[digest], self._is_spare):
                return
            self._start(digest)

    def _urgent(self, digest: Digest) -> _Download:
        """Return the download of a blob that the engine waits for. It takes the place of all blobs that are not being read."""
        while digest not in self._downloads and not self._has_ended:
            more = self._sources[digest].descriptor.size - self._left.get(digest, 0)
            fits = (
                self._make_room(more, self._is_spare)
                or self._make_room(more, lambda _other: True)
                or self._drop_left(more, digest)
            )
            # Only a download without a reader can still give way, once it has ended.
            if fits or all(one.users or one.future.done() for one in self._downloads.values()):
                return self._start(digest, (-1.0,))
            self._changed.wait(1.0)  # or until the pool has ended
        return self._downloads.get(digest) or self._start(digest)

    def _start(self, digest: Digest, urgency: tuple[float, ...] | None = None) -> _Download:
        """Start a download, by default in the order of the engine."""
        if self._pool is None or self._has_ended:
            raise errors.NotInStoreError(f"{digest}: nothing is downloaded after the end of a load")
        fed = self._sources[digest]
        self._expected.pop(digest, None)
        self._size += fed.descriptor.size - self._left.pop(digest, 0)
        place = self._places.get(digest, len(self._places))
        future = self._pool.submit(lambda: self._download(fed), urgency or (float(place),))
        download = self._downloads[digest] = _Download(fed.descriptor, place, future)
        future.add_done_callback(lambda done: self._note_end(fed.descriptor, done))
        return download

    def _download(self, fed: FedBlob) -> None:
        pool = t.cast(Pool, self._pool)
        copy_blob(fed.descriptor, fed.source, self._sink, pool, self._chunks)

    def _note_end(self, blob: Descriptor, done: Future[None]) -> None:
        """Count what a download that failed has left, and wake those that wait for space."""
        with self._changed:
            if done.exception():
                left = self._left[blob.digest] = self._sink.used_by(blob)
                self._size -= blob.size - left
            self._changed.notify_all()

    def _drop_left(self, size: int, needed: Digest) -> bool:
        """Remove what is left of blobs except ``needed``, the last one first, until ``size`` bytes fit; return whether they do."""
        later = sorted(self._left, key=lambda one: self._places.get(one, 0), reverse=True)
        for digest in (one for one in later if one != needed and self._left[one]):
            if self._size + size <= self._limit:
                break
            self._sink.drop(digest)
            self._size -= self._left[digest]
            self._left[digest] = 0
        return self._size + size <= self._limit

    def _make_room(self, size: int, may_go: t.Callable[[_Download], bool]) -> bool:
        """Remove idle blobs until ``size`` bytes fit, the oldest first; return whether they fit."""
        for download in list(self._downloads.values()):
            if self._size + size <= self._limit:
                break
            if download.is_idle and may_go(download):
                del self._downloads[download.blob.digest]
                self._sink.drop(download.blob.digest)
                self._size -= download.blob.size
        return self._size + size <= self._limit

    def _is_spare(self, download: _Download) -> bool:
        """Return whether the engine has read a blob, or passed it over."""
        return download.was_sent or download.place + _AT_ONCE <= self._reached

    @property
    def _has_ended(self) -> bool:
        return self._pool is None or self._pool.stopped


@contextlib.contextmanager
def _opened(path: str) -> t.Iterator[t.BinaryIO]:
    with contextlib.ExitStack() as held:
        with access(path):
            file = held.enter_context(open(path, "rb"))
        yield file
