# SPDX-License-Identifier: GPL-3.0-or-later
"""Find corrupt blobs of a store, and write them and the index again."""

from __future__ import annotations

import os
import stat
import typing as t

from .._image import errors
from .._image.manifest import Descriptor, verified
from .._image.names import Digest
from .files import read_chunks, read_file
from .reader import MAX_INDEX, IndexEntry
from .store import ImageStore
from .writing import remove_file, write_file

FULL = "full"  # check every byte of content, not only its size
OTHER_BYTES = "does not match its digest"


def verify_blob(store: RepairStore, digest: Digest) -> str:
    """Read every byte of a blob, and return the reason why it is corrupt; "" if it is intact or missing."""
    path = store.blob_path(digest)
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return "is not a regular file"
        for chunk in verified(read_chunks(path), Descriptor("", digest, found.st_size)):
            store.reads.append(len(chunk))
    except FileNotFoundError:
        return ""
    except errors.ContentError:
        return OTHER_BYTES
    except errors.StoreAccessError as exc:
        return "" if isinstance(exc.__cause__, FileNotFoundError) else f"cannot be read: {exc}"
    return ""


class RepairStore(ImageStore):
    """A store that is brought into a known state.

    The blobs in ``known_bad`` count as missing, so that they can be written again. The index is compared and written as a
    whole.
    """

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        super().__init__(path, lock_timeout)
        self.known_bad: set[Digest] = set()
        self.reads: list[int] = []  # the bytes of each read of ``verify_blob``, in any thread

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the store has a blob that is not known to be corrupt."""
        return descriptor.digest not in self.known_bad and super().has(descriptor)

    def read(self, digest: Digest, limit: int = 4 * 1024 * 1024) -> bytes:
        """Return content, verified; raise NotFoundError if it is missing or known to be corrupt."""
        if digest in self.known_bad:
            raise errors.NotFoundError(
                f"{self.path}: {digest} is corrupt", errors.NotInStoreError.advice
            )
        return super().read(digest, limit)

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """Write content, and remove a corrupt file first."""
        self._make_way(descriptor.digest)
        super().write(descriptor, chunks)

    def open_partial(  # type: ignore[override]  # no generator itself
        self, descriptor: Descriptor
    ) -> t.ContextManager[t.Any]:
        """Open a blob for writing, and remove a corrupt file first."""
        self._make_way(descriptor.digest)
        return super().open_partial(descriptor)

    def is_exactly(self, names: t.Mapping[str, IndexEntry]) -> bool:
        """Return whether index.json and oci-layout have the bytes that ``make_exactly`` writes for these names.

        A missing file counts as ``prepare`` would create it.
        """
        created = self._files_of({})
        for path, data in self._files_of(names).items():
            try:
                found = read_file(path, MAX_INDEX)
            except FileNotFoundError:
                found = created[path]
            if found != data:
                return False
        return True

    def make_exactly(self, names: t.Mapping[str, IndexEntry]) -> None:
        """Write index.json with exactly these names, and oci-layout."""
        with self._index_lock():
            for path, data in self._files_of(names).items():
                write_file(path, self._staging, data)

    def upgrade_lock(self, is_as_planned: t.Callable[[], bool]) -> None:
        """Wait, inside ``hold``, until no other process uses the store; raise ConflictError unless it is as planned then."""
        self._lock.upgrade()
        if not is_as_planned():
            raise errors.ConflictError(f"{self.path}: names were changed by another process")

    def _make_way(self, digest: Digest) -> None:
        if digest in self.known_bad:
            # A corrupt file of the right size would count as the blob. Another process can have repaired it already.
            if verify_blob(self, digest):
                remove_file(self.blob_path(digest))
            self.known_bad.discard(digest)
