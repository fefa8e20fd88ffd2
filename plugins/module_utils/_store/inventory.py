# SPDX-License-Identifier: GPL-3.0-or-later
"""A store as a directory: every file in it, and the disk it is on."""

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
from .index import IndexEntry, labels_of, points_at
from .partial import StagedBlob
from .store import ImageStore

_ALGORITHMS = ("sha256", "sha512")
QUICK, FULL = "quick", "full"  # content is checked by its size, or by all its bytes
OTHER_BYTES = "has other bytes than its digest says"
# What belongs to a store, beside the blobs themselves; lost+found is that of a file system of its own.
_OWN = {
    "": {"oci-layout", "index.json", "blobs", ".staging", "lost+found"},
    "blobs": {*_ALGORITHMS},
    **{f"blobs/{name}": {".staging"} for name in _ALGORITHMS},
}


def roots(store: ImageStore, without: t.Container[str] = ()) -> list[IndexEntry]:
    """What every entry of the index points at, but those with some labels; or CorruptStoreError."""
    entries = store.entries()
    return [
        points_at(entry, f"{store.path}/index.json: manifests[{n}]")
        for n, (entry, label) in enumerate(zip(entries, labels_of(entries)))
        if label not in without
    ]


def contents(store: ImageStore) -> dict[Digest, os.stat_result]:
    """Every blob there is, of whatever kind the file is."""
    found = {}
    for algorithm in _ALGORITHMS:
        for name, path in _listed(store, f"blobs/{algorithm}"):
            # Gone meanwhile: who mends a store removes what is wrong before it brings what is right.
            with access(path), contextlib.suppress(errors.DigestError, FileNotFoundError):
                digest = Digest.parse(f"{algorithm}:{name}")
                found[digest] = os.lstat(path)
    return found


def foreign(store: ImageStore) -> list[str]:
    """Paths, within the store, of what is no part of it."""
    found = []
    for directory, own in _OWN.items():
        for name, _path in _listed(store, directory):
            is_blob = directory.count("/") and _is_digest(f"{directory[6:]}:{name}")
            if name not in own and not is_blob:
                found.append(f"{directory}/{name}".lstrip("/"))
    return sorted(found)


def remove(store: ImageStore, digest: Digest) -> None:
    """Remove content that no name leads to; inside an exclusive ``hold``."""
    remove_file(store.blob_path(digest))


def verify_blob(store: ImageStore, digest: Digest) -> str:
    """What is wrong with a blob, by all its bytes; "" for nothing, or if it is gone meanwhile."""
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
    """A store some of whose blobs are known to be wrong: they count as missing, and may be brought again."""

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        super().__init__(path, lock_timeout)
        self.known_bad: set[Digest] = set()

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest not in self.known_bad and super().has(descriptor)

    def read(self, digest: Digest, limit: int = 4 * 1024 * 1024) -> bytes:
        if digest in self.known_bad:
            raise errors.NotFoundError(
                f"{self.path} does not hold {digest} as it should be", errors.NotInStoreError.advice
            )
        return super().read(digest, limit)

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        self._make_way(descriptor.digest)
        super().write(descriptor, chunks)

    def open_partial(  # type: ignore[override]  # no generator itself
        self, descriptor: Descriptor
    ) -> t.ContextManager[StagedBlob | None]:
        self._make_way(descriptor.digest)
        return super().open_partial(descriptor)

    def _make_way(self, digest: Digest) -> None:
        if digest in self.known_bad:
            # Its bytes are worth nothing, and a file of the right size would be taken for it. Unless somebody has mended it.
            if verify_blob(self, digest):
                remove_file(self.blob_path(digest))
            self.known_bad.discard(digest)


def disk(store: ImageStore) -> dict[str, t.Any]:
    """The file system that holds the content: mount point, type, bytes in all and free."""
    path = os.path.join(store.path, "blobs", "sha256")
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    with access(path):
        there = os.statvfs(path)
    mount, kind = _mount_of(os.path.realpath(path))
    return {
        "mount": mount,
        "type": kind,
        "size": there.f_blocks * there.f_frsize,
        "free": (there.f_bavail if os.geteuid() else there.f_bfree) * there.f_frsize,
    }


def has_overlay() -> bool:
    """Whether the kernel that runs offers overlayfs now; it may be able to load it."""
    with contextlib.suppress(OSError), open("/proc/filesystems", encoding="ascii") as handle:
        return any(line.split()[-1:] == ["overlay"] for line in handle)
    return False


def _mount_of(path: str) -> tuple[str | None, str | None]:
    """Mount point and type of the file system a path is on (proc_pid_mountinfo(5))."""
    best: tuple[str | None, str | None] = (None, None)
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as handle:
        for line in handle:
            before, _dash, after = line.decode("utf-8", "surrogateescape").partition(" - ")
            mount = before.split()[4].encode("latin-1", "replace").decode("unicode_escape")
            is_above = path == mount or path.startswith(mount.rstrip("/") + "/")
            if is_above and len(mount) >= len(best[0] or ""):
                best = (mount, after.split()[0])
    return best


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
