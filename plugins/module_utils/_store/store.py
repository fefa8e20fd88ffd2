# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageStore: content and names in an OCI image layout (image-spec v1.1, "Image Layout")."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
import typing as t

from .._image import errors
from .._image.manifest import (
    MAX_MANIFEST,
    Descriptor,
    Manifest,
    entries_of,
    parse_object,
)
from .._image.names import Digest
from .._image.verify_blob import verified
from .filelock import StoreLock, locked
from .files import access, make_directory, read_file, write_chunks, write_file
from .index import (
    EntriesByName,
    IndexEntry,
    empty_index,
    entry_json,
    labels_of,
    name_of,
    render_index,
    render_names,
)
from .partial import (
    KEPT,
    StagedBlob,
    open_partial,
    part_path,
    part_size,
    parts_of,
    remove_unlocked,
    staged_bytes,
    stale_files,
)

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
MAX_INDEX = 256 * 1024 * 1024


class ImageStore:
    """A directory of content and names. A missing directory reads as an empty store.

    Every method raises StoreAccessError if the system refuses a call.
    """

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        self.path = os.path.realpath(path)
        self._timeout = lock_timeout
        self._seen = ""  # the fingerprint before the lock was taken, for exclusive use
        self._trusted: set[Descriptor] = set()  # content that was found before the lock was taken
        self._counting = threading.Lock()
        self.resumed = 0  # bytes of earlier tasks that were used
        self._index_path = os.path.join(self.path, "index.json")
        self._layout_path = os.path.join(self.path, "oci-layout")
        self._staging = os.path.join(self.path, ".staging")
        self._lock = StoreLock(os.path.join(self._staging, "store.lock"), lock_timeout)

    def names(self) -> t.Mapping[str, IndexEntry]:
        """Return every name; raise CorruptStoreError for a malformed index, or when an invalid entry is read."""
        entries = self._read_index()["manifests"]
        # The last entry of a name counts.
        return EntriesByName(
            {name_of(entry): entry for entry in entries if name_of(entry)}, self._index_path
        )

    def labelled(self) -> t.Mapping[str, IndexEntry]:
        """Return every entry by its label (``labels_of``); raise CorruptStoreError as ``names`` does."""
        return self._labelled(self._read_index()["manifests"])

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

    def entries(self) -> list[dict[str, t.Any]]:
        """Return the entries of index.json as JSON values, also those without a name."""
        return self._read_index()["manifests"]

    def fingerprint(self, moved: t.Mapping[str, IndexEntry] | None = None) -> str:
        """Return the digest of the canonical index, as if the names ``moved`` were set."""
        index = self._read_index()
        index["manifests"] += [entry_json(*pair) for pair in (moved or {}).items()]
        return str(Digest.of(render_index(index)))

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the store has a blob in this size; raise StoreAccessError if its path is not a regular file."""
        path = self.blob_path(descriptor.digest)
        with access(path):
            try:
                found = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        if not stat.S_ISREG(found.st_mode):
            raise errors.StoreAccessError(f"{path}: is not a regular file", path=path)
        is_here = found.st_size == descriptor.size
        if is_here and not self._lock.is_held:
            self._trusted.add(descriptor)
        return is_here

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """Write content as ``ContentSink.write`` describes it."""
        write_chunks(*self._place(descriptor.digest), verified(chunks, descriptor))

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[StagedBlob | None]:
        """Open a blob for writing, with the bytes of earlier tasks; None if another process has completed it."""
        with open_partial(*self._place(descriptor.digest), descriptor, self._timeout) as part:
            yield part
            with self._counting:
                self.resumed += part.resumed if part else 0

    def staged(self, descriptor: Descriptor) -> int:
        """Return how many bytes of a blob earlier tasks have left."""
        return max(
            staged_bytes(part_path(staging, descriptor.digest), descriptor.size)
            for staging in self._stagings()
        )

    def staging(self) -> dict[str, int]:
        """Return the number of incomplete blobs, and the bytes that they use on the disk."""
        parts = [path for staging in self._stagings() for path in parts_of(staging)]
        return {"blobs": len(parts), "bytes": sum(map(part_size, parts))}

    def require_space(self, size: int, wanted: t.Container[Digest] = ()) -> None:
        """Raise NoSpaceError unless ``size`` more bytes fit after ``prepare(wanted)`` has removed stale files."""
        free = free_bytes(os.path.join(self.path, "blobs", "sha256"))
        free += sum(part_size(path) for path in self.stale(wanted))
        if size > free:
            raise errors.NoSpaceError(
                f"{self.path}: {errors.readable_size(size)} needed, {errors.readable_size(free)} free,"
                f" {errors.readable_size(size - free)} missing",
                path=self.path,
                missing=size - free,
            )

    def read(self, digest: Digest, limit: int = MAX_MANIFEST) -> bytes:
        """Return content, verified; raise NotFoundError if it is missing, DigestMismatchError if it is corrupt."""
        path = self.blob_path(digest)
        try:
            data = read_file(path, limit)
        except FileNotFoundError:
            raise errors.NotFoundError(
                f"{self.path} does not hold {digest}", errors.NotInStoreError.advice
            ) from None
        if not digest.matches(data):
            raise errors.DigestMismatchError(f"{path}: its bytes do not match its name")
        return data

    def manifest(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """Return a manifest, None if it is missing or corrupt; raise a ContentError if it is invalid."""
        try:
            raw = self.read(digest)
        except (errors.NotFoundError, errors.DigestMismatchError):
            return None
        return Manifest.parse(raw, media_type, f"{self.path}: {digest}")

    def blob_path(self, digest: Digest) -> str:
        """Return the path of content, which need not exist."""
        return os.path.join(self.path, "blobs", digest.algorithm, digest.encoded)

    @contextlib.contextmanager
    def hold(self, exclusive: bool = False) -> t.Iterator[ImageStore]:
        """Hold the lock, so that no other process removes content (``exclusive``: nor uses the store).

        Nothing is written until ``prepare``. Raise NotALayoutError for another directory, LockedError after a timeout.
        """
        self._check()
        with self._lock.hold(exclusive):
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
        for path in self.stale(wanted) if stale else ():
            remove_unlocked(path)

    def _stagings(self) -> list[str]:
        """Return the staging directories, also those for content on another disk."""
        parts = ("", "blobs/sha256", "blobs/sha512")
        return [os.path.join(self.path, part, ".staging") for part in parts]

    def stale(self, wanted: t.Container[Digest] = (), age: float = KEPT) -> t.Iterator[str]:
        """Yield the stale files (``stale_files``); an incomplete blob is stale after ``age`` seconds without progress."""

        def is_done(digest: Digest) -> bool:
            return os.path.lexists(self.blob_path(digest))

        for staging in self._stagings():
            yield from stale_files(staging, wanted, is_done, time.time() - age)

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

    def _labelled(self, entries: t.Sequence[dict[str, t.Any]]) -> t.Mapping[str, IndexEntry]:
        return EntriesByName(dict(zip(labels_of(entries), entries)), self._index_path)

    def _index_lock(self) -> t.ContextManager[None]:
        return locked(os.path.join(self._staging, "index.lock"), True, self._timeout)

    def _check(self) -> None:
        if not os.path.lexists(self.path):
            return
        for part in ("", "blobs", "blobs/sha256", "blobs/sha512"):
            self._check_directory(os.path.join(self.path, part) if part else self.path)
        self._check_layout_file()
        # In this order: a process that creates a store writes the index before the first blob.
        if self._has_blobs() and not os.path.lexists(self._index_path):
            raise errors.CorruptStoreError(
                f"{self.path} holds blobs but no index.json",
                "Restore index.json, or move the directory aside and pull again.",
                path=self.path,
            )

    def _check_layout_file(self) -> None:
        try:
            layout = parse_object(read_file(self._layout_path, MAX_MANIFEST), self._layout_path)
            version = layout.get("imageLayoutVersion")
            is_ours = isinstance(version, str) and version.split(".")[0] == "1"
            reason = "" if is_ours else f"its version is {str(version)[:20]}, not 1"
        except FileNotFoundError:
            has_blobs = self._has_blobs()
            with access(self.path):
                names = set(os.listdir(self.path))
            if "oci-layout" in names:  # another process has just created the store
                return self._check_layout_file()
            foreign = sorted(names - {".staging", "blobs", "lost+found"}) or ["blobs"] * has_blobs
            reason = f"it has no oci-layout file but {', '.join(foreign[:5])}" if foreign else ""
        except errors.ManifestError as exc:
            reason = str(exc)
        if reason:
            raise errors.NotALayoutError(
                f"{self.path} is not an OCI image layout: {reason}",
                "Give another directory as store: this one was not changed.",
                path=self.path,
            )

    def _check_directory(self, path: str) -> None:
        """Raise unless a path is missing or a directory; the target of a link must belong to this user."""
        with access(path):
            try:
                found = os.stat(path)
            except FileNotFoundError:
                if os.path.lexists(path):
                    raise
                return
        if not stat.S_ISDIR(found.st_mode):
            raise errors.NotALayoutError(f"{path} is not a directory", path=path)
        if os.path.islink(path) and found.st_uid != os.geteuid():
            raise errors.StoreAccessError(
                f"{path} links to a directory that belongs to user {found.st_uid}", path=path
            )

    def _has_blobs(self) -> bool:
        for algorithm in ("sha256", "sha512"):
            path = os.path.join(self.path, "blobs", algorithm)
            with access(path), contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
                if any(entry.name != ".staging" for entry in entries):
                    return True
        return False

    def _read_index(self) -> dict[str, t.Any]:
        path = self._index_path
        try:
            index = parse_object(read_file(path, MAX_INDEX), path)
            reason = f"{path}: manifests is not a list of objects"
            if "manifests" in index:
                index["manifests"] = entries_of(index, "manifests", path)
                if all(isinstance(entry, dict) for entry in index["manifests"]):
                    return index
        except FileNotFoundError:
            return empty_index()
        except errors.ManifestError as exc:
            reason = str(exc)
        hint = (
            "It was not changed. Restore a good copy, or move the directory aside and pull again."
        )
        raise errors.CorruptStoreError(reason, hint, path=path)


def open_store(
    path: str | None, exclusive: bool = False, kind: type[ImageStore] = ImageStore
) -> t.ContextManager[ImageStore]:
    """Hold the store at ``path``, or the default store of the user, as ``ImageStore.hold`` does; ``kind`` is its class."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    default = f"{data}/lockstep/images" if os.geteuid() else "/var/lib/lockstep/images"
    return kind(path or default).hold(exclusive)


def free_bytes(path: str) -> int:
    """Return the bytes that this user can still write to the disk of a directory, which need not exist yet."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    with access(path):
        disk = os.statvfs(path)
    return (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize
