# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageStore: content and names in an OCI image layout."""

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
from .._image.sources import verified
from .files import access, free_bytes, make_directory, read_file, write_chunks, write_file
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
from .lock import StoreLock, locked
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
_MAX_INDEX = 256 * 1024 * 1024


class ImageStore:
    """A directory of content and names; a missing one reads as empty."""

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        self.path = os.path.realpath(path)
        self._timeout = lock_timeout
        self._seen = ""  # the fingerprint while nothing was locked, for exclusive use
        self._trusted: set[Descriptor] = set()  # that was here while nothing was locked
        self._counting = threading.Lock()
        self.resumed = 0  # bytes that earlier runs had brought, and that were of use
        self._index_path = os.path.join(self.path, "index.json")
        self._layout_path = os.path.join(self.path, "oci-layout")
        self._staging = os.path.join(self.path, ".staging")
        self._lock = StoreLock(os.path.join(self._staging, "store.lock"), lock_timeout)

    def names(self) -> t.Mapping[str, IndexEntry]:
        """Every name; or CorruptStoreError, for a wrong entry when it is looked at."""
        entries = self._read_index()["manifests"]
        # Of one name the last entry counts.
        return EntriesByName(
            {name_of(entry): entry for entry in entries if name_of(entry)}, self._index_path
        )

    def labelled(self) -> t.Mapping[str, IndexEntry]:
        """Every entry by its label (``labels_of``); or CorruptStoreError, as for ``names``."""
        return self._labelled(self._read_index()["manifests"])

    def set_names(self, moves: t.Sequence[t.Any]) -> None:
        """Move names, all or for ConflictError none: ``name``, ``expected``, and ``target``, None to drop it."""
        with self._index_lock():
            index = self._read_index()
            names, dropped = self._labelled(index["manifests"]), set()
            for move in moves:
                current = names.get(move.name)
                if current not in (move.expected, move.target):
                    there = current.target.digest if current else "nothing"
                    raise errors.ConflictError(
                        f"{move.name} was moved to {there} by somebody else meanwhile"
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
        """The descriptors of the index, of those without a name too, as they are written."""
        return self._read_index()["manifests"]

    def is_exactly(self, names: t.Mapping[str, IndexEntry]) -> bool:
        """Whether the files hold, once there, these names as this collection writes them and nothing else."""
        wanted = {self._layout_path: (_LAYOUT, _LAYOUT)}
        wanted[self._index_path] = (render_names(names), render_names({}))
        for path, (data, made) in wanted.items():
            try:
                there = read_file(path, _MAX_INDEX)
            except FileNotFoundError:
                there = made
            if there != data:
                return False
        return True

    def make_exactly(self, names: t.Mapping[str, IndexEntry]) -> None:
        """Have these names alone, in the files as ``is_exactly`` wants them."""
        with self._index_lock():
            write_file(self._layout_path, self._staging, _LAYOUT)
            write_file(self._index_path, self._staging, render_names(names))

    def upgrade_lock(self, is_as_planned: t.Callable[[], bool]) -> None:
        """Wait, inside ``hold``, until nobody else uses the store; or ConflictError, if it is not as planned then."""
        self._lock.upgrade()
        if not is_as_planned():
            raise errors.ConflictError(
                f"{self.path}: names were changed by somebody else meanwhile", "Run again."
            )

    def fingerprint(self, moved: t.Mapping[str, IndexEntry] | None = None) -> str:
        """Digest of the canonical index, once these names are set."""
        index = self._read_index()
        index["manifests"] += [entry_json(*pair) for pair in (moved or {}).items()]
        return str(Digest.of(render_index(index)))

    def has(self, descriptor: Descriptor) -> bool:
        path = self.blob_path(descriptor.digest)
        with access(path):
            try:
                there = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        if not stat.S_ISREG(there.st_mode):
            raise errors.StoreAccessError(f"{path}: is not a regular file", path=path)
        is_here = there.st_size == descriptor.size
        if is_here and not self._lock.is_held:
            self._trusted.add(descriptor)
        return is_here

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        path, staging = self._place(descriptor.digest)
        write_chunks(path, staging, verified(chunks, descriptor))

    @contextlib.contextmanager
    def open_partial(self, descriptor: Descriptor) -> t.Iterator[StagedBlob | None]:
        digest, size = descriptor.digest, descriptor.size
        with open_partial(*self._place(digest), digest, size, self._timeout) as part:
            yield part
            with self._counting:
                self.resumed += part.resumed if part else 0

    def staged(self, descriptor: Descriptor) -> int:
        """Bytes of a blob that earlier runs have left."""
        return max(
            staged_bytes(part_path(staging, descriptor.digest), descriptor.size)
            for staging in self._stagings()
        )

    def staging(self) -> dict[str, int]:
        """How many blobs are here in part, and the bytes they take."""
        parts = [path for staging in self._stagings() for path in parts_of(staging)]
        return {"blobs": len(parts), "bytes": sum(map(part_size, parts))}

    def require_space(self, size: int, wanted: t.Container[Digest] = ()) -> None:
        """Or NoSpaceError, if ``size`` more bytes do not fit once ``prepare`` has made room."""
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
        """Content, verified; or NotFoundError, DigestMismatchError."""
        path = self.blob_path(digest)
        try:
            data = read_file(path, limit)
        except FileNotFoundError:
            raise errors.NotFoundError(
                f"{self.path} does not hold {digest}", errors.NotInStoreError.advice
            ) from None
        if not digest.matches(data):
            raise errors.DigestMismatchError(
                f"{path}: its bytes do not have the digest in its name"
            )
        return data

    def manifest(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """A manifest, None when it is missing or spoilt."""
        try:
            raw = self.read(digest)
        except (errors.NotFoundError, errors.DigestMismatchError):
            return None
        return Manifest.parse(raw, media_type, f"{self.path}: {digest}")

    def blob_path(self, digest: Digest) -> str:
        """Where content lies."""
        return os.path.join(self.path, "blobs", digest.algorithm, digest.encoded)

    @contextlib.contextmanager
    def hold(self, exclusive: bool = False) -> t.Iterator[ImageStore]:
        """Keep content from being removed meanwhile (``exclusive``: used). Changes nothing until ``prepare``."""
        self._check()
        with self._lock.hold(exclusive):
            self._trusted.clear()
            self._seen = self.fingerprint() if exclusive and not self._lock.is_held else ""
            yield self

    def prepare(self, wanted: t.Container[Digest] = (), stale: bool = True) -> None:
        """Make the layout and remove what is ``stale``, but parts of ``wanted``; inside ``hold``."""
        make_directory(self._staging)
        with self._index_lock():
            make_directory(os.path.join(self.path, "blobs", "sha256"))
            empty = render_index(empty_index())
            for path, data in (
                (self._layout_path, _LAYOUT),
                (self._index_path, empty),
            ):
                if not os.path.lexists(path):
                    write_file(path, self._staging, data)
        if not self._lock.is_held:
            self._lock.create()
            if self._seen and self._seen != self.fingerprint():
                raise errors.ConflictError(f"{self.path} was changed by somebody else meanwhile")
            if not all(map(self.has, self._trusted)):
                hint = "Run again: it is fetched then."
                raise errors.ConflictError(
                    f"{self.path}: content was removed by somebody else", hint
                )
        for path in self.stale(wanted) if stale else ():
            remove_unlocked(path)

    def _stagings(self) -> list[str]:
        """Also those for content on another disk."""
        parts = ("", "blobs/sha256", "blobs/sha512")
        return [os.path.join(self.path, part, ".staging") for part in parts]

    def stale(self, wanted: t.Container[Digest] = (), age: float = KEPT) -> t.Iterator[str]:
        """What dead writers may have left, and parts that nobody has gone on with for ``age`` seconds."""

        def is_done(digest: Digest) -> bool:
            return os.path.lexists(self.blob_path(digest))

        for staging in self._stagings():
            yield from stale_files(staging, wanted, is_done, time.time() - age)

    def _place(self, digest: Digest) -> tuple[str, str]:
        """Where content goes, and where it is staged for that."""
        path, staging = self.blob_path(digest), self._staging
        directory = os.path.dirname(path)
        make_directory(directory)
        with access(path):
            if os.stat(directory).st_dev != os.stat(staging).st_dev:
                # A link to another disk: no rename leads there from here.
                staging = os.path.join(directory, ".staging")
                make_directory(staging)
        return path, staging

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
        # In this order: who makes a store writes the index before the first blob.
        if self._has_blobs() and not os.path.lexists(self._index_path):
            raise errors.CorruptStoreError(
                f"{self.path} holds blobs but no index.json",
                "Put index.json back, or move the directory aside to start anew.",
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
                there = set(os.listdir(self.path))
            if "oci-layout" in there:  # another process has just made the store
                return self._check_layout_file()
            foreign = sorted(there - {".staging", "blobs", "lost+found"}) or ["blobs"] * has_blobs
            reason = f"it has no oci-layout file but {', '.join(foreign[:5])}" if foreign else ""
        except errors.ManifestError as exc:
            reason = str(exc)
        if reason:
            raise errors.NotALayoutError(
                f"{self.path} is not an OCI image layout: {reason}",
                "Give another directory as store: this one is left as it is.",
                path=self.path,
            )

    def _check_directory(self, path: str) -> None:
        """A link to another disk has to lead to a directory of ours."""
        with access(path):
            try:
                there = os.stat(path)
            except FileNotFoundError:
                if os.path.lexists(path):
                    raise
                return
        if not stat.S_ISDIR(there.st_mode):
            raise errors.NotALayoutError(f"{path} is not a directory", path=path)
        if os.path.islink(path) and there.st_uid != os.geteuid():
            raise errors.StoreAccessError(
                f"{path} leads to a directory that belongs to user {there.st_uid}", path=path
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
            index = parse_object(read_file(path, _MAX_INDEX), path)
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
            "It was not touched. Put a good copy back, or move the directory aside to start anew."
        )
        raise errors.CorruptStoreError(reason, hint, path=path)


def open_store(
    path: str | None, exclusive: bool = False, kind: type[ImageStore] = ImageStore
) -> t.ContextManager[ImageStore]:
    """Hold the store at ``path``, by default that of the user, so that nobody prunes it; ``exclusive``: nor uses it."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    default = f"{data}/lockstep/images" if os.geteuid() else "/var/lib/lockstep/images"
    return kind(path or default).hold(exclusive)
