# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs of registries for an engine: downloaded shortly before they are needed, and removed once they were sent."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import typing as t

from .._image import errors
from .._image.copy_blob import copy_blob
from .._image.manifest import Descriptor
from .._image.names import Digest
from .._image.sources import ChunkPolicy, ContentSource
from .._plan import Pool
from .._store.store import ImageStore

_PLACE = "engine"


class FedBlob(t.NamedTuple):
    """A blob and where it comes from."""

    descriptor: Descriptor
    source: ContentSource


class BlobFeed:
    """Downloads blobs in the order in which an engine will ask for them, a few ahead of it.

    At most ``window`` blobs are on the disk before the engine asks for them: below ``.staging`` of ``store``, where a task
    that was interrupted resumes them. ``wait`` is in seconds, for another task that does the same. ``expect`` and ``start`` come first.
    """

    def __init__(
        self, store: ImageStore, chunks: ChunkPolicy, window: int, wait: float = 900.0
    ) -> None:
        self._home = store
        self._path = os.path.join(store.path, ".staging", _PLACE)
        self._sink = ImageStore(self._path, wait)
        self._chunks, self._window = chunks, window
        self._lock = threading.Lock()
        self._sources: dict[Digest, FedBlob] = {}
        self._expected: list[Digest] = []
        self._fetching: dict[Digest, t.Any] = {}  # digest -> future
        self._users: dict[Digest, int] = {}
        self._pool: Pool | None = None

    def add(self, blob: FedBlob) -> None:
        """Say where a blob comes from."""
        self._sources.setdefault(blob.descriptor.digest, blob)

    def expect(self, blobs: t.Iterable[Descriptor]) -> None:
        """Say which blobs the engine will ask for, in this order."""
        self._expected = list(dict.fromkeys(blob.digest for blob in blobs))

    @property
    def most_bytes(self) -> int:
        """The bytes on the disk, if the largest blobs come together."""
        sizes = (self._sources[digest].descriptor.size for digest in self._expected)
        return sum(sorted(sizes, reverse=True)[: self._window])

    @contextlib.contextmanager
    def running(self, pool: Pool) -> t.Iterator[None]:
        """Download with the threads of ``pool`` until the end of the block; nothing stays if that ends well.

        Only one task at a time does so in a store; others wait.
        """
        self._home.prepare()
        with self._sink.hold(exclusive=True):
            self._sink.prepare(self._sources)
            self._pool = pool
            self._fill()
            yield
            shutil.rmtree(self._path, ignore_errors=True)

    @contextlib.contextmanager
    def open(self, blob: Descriptor) -> t.Iterator[t.BinaryIO]:
        """Open a blob, as soon as it has been downloaded and verified; raise the error of the download."""
        digest = blob.digest
        held = self._home.blob_path(digest)
        if self._home.has(blob):
            with open(held, "rb") as file:
                yield file
            return
        with self._lock:
            self._users[digest] = self._users.get(digest, 0) + 1
            future = self._fetch(digest)
        try:
            future.result()
            with open(self._sink.blob_path(digest), "rb") as file:
                yield file
        finally:
            self._release(digest)

    def _fill(self) -> None:
        """Start downloads up to the window."""
        with self._lock:
            while self._expected and len(self._fetching) < self._window:
                digest = self._expected.pop(0)
                if not self._home.has(self._sources[digest].descriptor):
                    self._fetch(digest)

    def _fetch(self, digest: Digest) -> t.Any:
        """Return the download of a blob, started unless it is on its way; call it with the lock."""
        if digest not in self._fetching:
            pool, blob = self._pool, self._sources[digest]
            if pool is None:
                raise errors.InputError(f"{digest}: was asked for before the download began")
            if digest in self._expected:
                self._expected.remove(digest)
            self._fetching[digest] = pool.submit(
                lambda: copy_blob(blob.descriptor, blob.source, self._sink, pool, self._chunks),
                (float(len(self._sources) - len(self._expected)),),
            )
        return self._fetching[digest]

    def _release(self, digest: Digest) -> None:
        with self._lock:
            self._users[digest] -= 1
            if not self._users[digest]:
                # It is downloaded again if the engine asks again, as after an interruption.
                self._fetching.pop(digest, None)
                with contextlib.suppress(OSError):
                    os.unlink(self._sink.blob_path(digest))
        self._fill()
