# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageStore: a store that is written, in the form of an OCI image layout (image-spec v1.1, "Image Layout")."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, verified
from .._image.names import Digest
from .files import access
from .reader import (
    IndexEntry,
    StoreReader,
    entry_json,
    labels_of,
    part_size,
    path_of_store,
    render_index,
    render_names,
)
from .writing import locked, make_directory, write_chunks, write_file

# An incomplete blob is stale after so many seconds without progress: a week.
KEPT = 7 * 24 * 60 * 60.0
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
S = t.TypeVar("S", bound="ImageStore")


class ImageStore(StoreReader):
    """A store that is read and written. Every method raises StoreAccessError if the system refuses a call."""

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        super().__init__(path, lock_timeout)
        self._seen = ""  # the fingerprint before the lock was taken, for exclusive use
        self._trusted: set[Descriptor] = set()  # content that was found before the lock was taken
        self._counting = threading.Lock()
        self.resumed = 0  # bytes of earlier tasks that were used

    def set_names(self, moves: t.Sequence[t.Any]) -> None:
        """Set or remove names, all or none; raise ConflictError if one is neither as ``expected`` nor as ``target``.

        A move has a ``name``, an ``expected`` IndexEntry, None if there was none, and a ``target``, None to remove it.
        """
        with self._index_lock():
            index = self._read_index()
            names, dropped = self._labelled(index["manifests"]), set()
            for move in moves:
                current = names.get(move.name)
                if current not in (move.expected, move.target):
                    found = current.target.digest if current else "nothing"
                    raise errors.ConflictError(
                        f"{move.name} was moved to {found} by another process"
                    )
                if move.target is None:
                    dropped.add(move.name)
                    continue
                index["manifests"].append(entry_json(move.name, move.target))
            entries = index["manifests"]
            index["manifests"] = [
                entry for entry, label in zip(entries, labels_of(entries)) if label not in dropped
            ]
            write_file(self._index_path, self._staging, render_index(index))

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the store has a blob, as ``StoreReader.has`` does."""
        is_here = super().has(descriptor)
        if is_here and not self._lock.is_held:
            self._trusted.add(descriptor)
        return is_here

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """Write content as ``ContentSink.write`` describes it."""
        write_chunks(*self._place(descriptor.digest), verified(chunks, descriptor))

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[t.Any]:
        """Open a blob for writing as a StagedBlob, with the bytes of earlier tasks; None if another process has completed it."""
        from . import partial

        with partial.open_partial(
            *self._place(descriptor.digest), descriptor, self._timeout
        ) as part:
            yield part
            with self._counting:
                self.resumed += part.resumed if part else 0

    def staged(self, descriptor: Descriptor) -> int:
        """Return how many bytes of a blob earlier tasks have left."""
        from . import partial

        return max(
            partial.staged_bytes(partial.part_path(staging, descriptor.digest), descriptor.size)
            for staging in self.stagings()
        )

    def require_space(self, size: int, wanted: t.Container[Digest] = ()) -> None:
        """Raise NoSpaceError unless ``size`` more bytes fit after ``prepare(wanted)`` has removed stale files."""
        if not size:
            return
        free = free_bytes(os.path.join(self.path, "blobs", "sha256"))
        free += sum(part_size(path) for path in self.stale(wanted))
        if size > free:
            raise errors.NoSpaceError(
                f"{self.path}: {errors.readable_size(size)} needed, {errors.readable_size(free)} free,"
                f" {errors.readable_size(size - free)} missing",
                path=self.path,
                missing=size - free,
            )

    @contextlib.contextmanager
    def hold(self: S, exclusive: bool = False) -> t.Iterator[S]:
        """Hold the lock as ``StoreReader.hold`` does. Nothing is written until ``prepare``."""
        with super().hold(exclusive):
            self._trusted.clear()
            self._seen = self.fingerprint() if exclusive and not self._lock.is_held else ""
            yield self

    def prepare(self, wanted: t.Container[Digest] = (), stale: bool = True) -> None:
        """Create the layout and remove stale files, except the incomplete blobs of ``wanted``; call it inside ``hold``.

        Raise ConflictError if another process changed the store before the lock was taken.
        """
        make_directory(self._staging)
        with self._index_lock():
            make_directory(os.path.join(self.path, "blobs", "sha256"))
            for path, data in self._files_of({}).items():
                if not os.path.lexists(path):
                    write_file(path, self._staging, data)
        if not self._lock.is_held:
            self._lock.create()
            if self._seen and self._seen != self.fingerprint():
                raise errors.ConflictError(f"{self.path} was changed by another process")
            if not all(map(self.has, self._trusted)):
                hint = "Run again to fetch it."
                raise errors.ConflictError(
                    f"{self.path}: content was removed by another process", hint
                )
        from . import partial

        for path in self.stale(wanted) if stale else ():
            partial.remove_unlocked(path)

    def stale(self, wanted: t.Container[Digest] = (), age: float = KEPT) -> t.Iterator[str]:
        """Yield the stale files (``stale_files``); an incomplete blob is stale after ``age`` seconds without progress."""

        def is_done(digest: Digest) -> bool:
            return os.path.lexists(self.blob_path(digest))

        from . import partial

        for staging in self.stagings():
            yield from partial.stale_files(staging, wanted, is_done, time.time() - age)

    def _place(self, digest: Digest) -> tuple[str, str]:
        """Return the path of content and the directory to stage it in; create both directories."""
        path, staging = self.blob_path(digest), self._staging
        directory = os.path.dirname(path)
        make_directory(directory)
        with access(path):
            if os.stat(directory).st_dev != os.stat(staging).st_dev:
                # A link to another disk, to which no file can be renamed from here.
                staging = os.path.join(directory, ".staging")
                make_directory(staging)
        return path, staging

    def _files_of(self, names: t.Mapping[str, IndexEntry]) -> dict[str, bytes]:
        """Return oci-layout and index.json of a store with exactly these names, by their paths, in the order of writing."""
        return {self._layout_path: _LAYOUT, self._index_path: render_names(names)}

    def _index_lock(self) -> t.ContextManager[None]:
        return locked(os.path.join(self._staging, "index.lock"), True, self._timeout)


def open_store(
    path: str | None, exclusive: bool = False, kind: type[ImageStore] = ImageStore
) -> t.ContextManager[ImageStore]:
    """Hold the store at ``path``, or the default store of the user, as ``ImageStore.hold`` does; ``kind`` is its class."""
    return kind(path_of_store(path)).hold(exclusive)


def free_bytes(path: str) -> int:
    """Return the bytes that this user can still write to the disk of a directory, which need not exist yet."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    with access(path):
        disk = os.statvfs(path)
    return (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize
