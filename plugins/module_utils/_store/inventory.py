# SPDX-License-Identifier: GPL-3.0-or-later
"""A store as a directory: every file in it, and its repair."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import typing as t

from .._image import errors
from .._image.manifest import Descriptor
from .._image.names import Digest
from .files import access, read_chunks, remove_file
from .index import IndexEntry, labels_of, parse_entry
from .partial import StagedBlob
from .store import ImageStore

_ALGORITHMS = ("sha256", "sha512")
QUICK, FULL = "quick", "full"  # check the size of content, or every byte
OTHER_BYTES = "does not match its digest"
# The files of a store except the blobs. A store that is a file system has a lost+found.
_OWN = {
    "": {"oci-layout", "index.json", "blobs", ".staging", "lost+found"},
    "blobs": {*_ALGORITHMS},
    **{f"blobs/{name}": {".staging"} for name in _ALGORITHMS},
}


def roots(store: ImageStore, without: t.Container[str] = ()) -> list[IndexEntry]:
    """Return every entry of the index except those with the labels ``without``; raise CorruptStoreError if one is invalid."""
    entries = store.entries()
    return [
        parse_entry(entry, f"{store.path}/index.json: manifests[{n}]")
        for n, (entry, label) in enumerate(zip(entries, labels_of(entries)))
        if label not in without
    ]


def contents(store: ImageStore) -> dict[Digest, os.stat_result]:
    """Return the ``lstat`` of everything in the store that is named as a blob, also of a link or a directory."""
    found = {}
    for algorithm in _ALGORITHMS:
        for name, path in _listed(store, f"blobs/{algorithm}"):
            # A blob can disappear here: a repair removes corrupt content before it fetches it again.
            with access(path), contextlib.suppress(errors.DigestError, FileNotFoundError):
                digest = Digest.parse(f"{algorithm}:{name}")
                found[digest] = os.lstat(path)
    return found


def foreign(store: ImageStore) -> list[str]:
    """Return the paths within the store of files that do not belong to it, sorted."""
    found = []
    for directory, own in _OWN.items():
        for name, _path in _listed(store, directory):
            is_blob = directory.count("/") and _is_digest(f"{directory[6:]}:{name}")
            if name not in own and not is_blob:
                found.append(f"{directory}/{name}".lstrip("/"))
    return sorted(found)


def remove(store: ImageStore, digest: Digest) -> None:
    """Remove a blob. Call it only for unreferenced content, inside an exclusive ``hold``."""
    remove_file(store.blob_path(digest))


def verify_blob(store: ImageStore, digest: Digest) -> str:
    """Read every byte of a blob, and return the reason why it is corrupt; "" if it is intact or missing."""
    path = store.blob_path(digest)
    hasher = hashlib.new(digest.algorithm)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "is not a regular file"
        for chunk in read_chunks(path):
            hasher.update(chunk)
    except FileNotFoundError:
        return ""
    except errors.StoreAccessError as exc:
        return "" if isinstance(exc.__cause__, FileNotFoundError) else f"cannot be read: {exc}"
    return "" if hasher.hexdigest() == digest.encoded else OTHER_BYTES


class RepairStore(ImageStore):
    """A store in which the blobs in ``known_bad`` count as missing, so that they can be written again."""

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        super().__init__(path, lock_timeout)
        self.known_bad: set[Digest] = set()

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
    ) -> t.ContextManager[StagedBlob | None]:
        """Open a blob for writing, and remove a corrupt file first."""
        self._make_way(descriptor.digest)
        return super().open_partial(descriptor)

    def _make_way(self, digest: Digest) -> None:
        if digest in self.known_bad:
            # A corrupt file of the right size would count as the blob. Another process can have repaired it already.
            if verify_blob(self, digest):
                remove_file(self.blob_path(digest))
            self.known_bad.discard(digest)


def _listed(store: ImageStore, directory: str) -> t.Iterator[tuple[str, str]]:
    path = os.path.join(store.path, directory)
    names: list[str] = []
    with access(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = os.listdir(path)
    return ((name, os.path.join(path, name)) for name in names)


def _is_digest(text: str) -> bool:
    try:
        return bool(Digest.parse(text))
    except errors.DigestError:
        return False
