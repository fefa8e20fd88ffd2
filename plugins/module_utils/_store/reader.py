# SPDX-License-Identifier: GPL-3.0-or-later
"""StoreReader: the index and the content of an OCI image layout (image-spec v1.1, "Image Layout"), read under its lock."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import typing as t

from .._image import errors
from .._image.manifest import (
    MAX_MANIFEST,
    OCI_INDEX,
    Descriptor,
    Manifest,
    entries_of,
    parse_object,
)
from .._image.names import Digest
from .files import access, read_file
from .writing import StoreLock

REF_NAME = "org.opencontainers.image.ref.name"
PLATFORMS = "io.lockstep.platforms"
MAX_INDEX = 256 * 1024 * 1024
S = t.TypeVar("S", bound="StoreReader")


class StoreReader:
    """A directory of content and names, which it never changes. A missing directory reads as an empty store.

    Every method raises StoreAccessError if the system refuses a call.
    """

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        self.path = os.path.realpath(path)
        self._timeout = lock_timeout
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
        return found.st_size == descriptor.size

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

    def staging(self) -> dict[str, int]:
        """Return the number of incomplete blobs, and the bytes that they use on the disk."""
        sizes = []
        for staging in self.stagings():
            with access(staging), contextlib.suppress(FileNotFoundError):
                names = [name for name in os.listdir(staging) if name.endswith(".part")]
                sizes += [part_size(os.path.join(staging, name)) for name in names]
        return {"blobs": len(sizes), "bytes": sum(sizes)}

    @contextlib.contextmanager
    def hold(self: S, exclusive: bool = False) -> t.Iterator[S]:
        """Hold the lock, so that no other process removes content (``exclusive``: nor uses the store).

        Raise NotALayoutError for another directory, LockedError after a timeout.
        """
        self._check()
        with self._lock.hold(exclusive):
            yield self

    def stagings(self) -> list[str]:
        """Return the staging directories, also those for content on another disk."""
        parts = ("", "blobs/sha256", "blobs/sha512")
        return [os.path.join(self.path, part, ".staging") for part in parts]

    def _labelled(self, entries: t.Sequence[dict[str, t.Any]]) -> t.Mapping[str, IndexEntry]:
        return EntriesByName(dict(zip(labels_of(entries), entries)), self._index_path)

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


def part_size(path: str) -> int:
    """Return the bytes that a staged file uses on the disk; 0 if it is missing."""
    with contextlib.suppress(OSError):  # another process has completed it
        return os.lstat(path).st_blocks * 512
    return 0


def path_of_store(path: str | None) -> str:
    """Return the path of a store; that of the default store of the user if ``path`` is None or empty."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    default = f"{data}/lockstep/images" if os.geteuid() else "/var/lib/lockstep/images"
    return path or default


def read_store(path: str | None) -> t.ContextManager[StoreReader]:
    """Hold the store at ``path``, or the default store of the user, to read it only."""
    return StoreReader(path_of_store(path)).hold()


# The entries of index.json: names, labels, and the canonical bytes (image-spec v1.1, "Image Layout").


class IndexEntry(t.NamedTuple):
    """The content that a name points at, and the platforms that were requested for it."""

    target: Descriptor
    platforms: tuple[str, ...] = ()


class EntriesByName(t.Mapping[str, IndexEntry]):
    """The entries of an index, parsed when they are read: of ten thousand names a task needs a few.

    Reading an invalid entry raises CorruptStoreError.
    """

    def __init__(self, entries: t.Mapping[str, dict[str, t.Any]], path: str) -> None:
        self._entries = entries
        self._path = path

    def __getitem__(self, name: str) -> IndexEntry:
        return parse_entry(self._entries[name], f"{self._path}: {name}")

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def parse_entry(entry: dict[str, t.Any], where: str) -> IndexEntry:
    """Return an entry of index.json, parsed; raise CorruptStoreError, which names ``where``, if it is invalid."""
    try:
        target = Descriptor.from_json(entry, where)
    except errors.ManifestError as exc:
        raise errors.CorruptStoreError(str(exc), path=where.partition(": ")[0]) from exc
    asked = target.annotations.get(PLATFORMS, "")
    return IndexEntry(target, tuple(filter(None, asked.split(","))))


def labels_of(entries: t.Sequence[dict[str, t.Any]]) -> list[str]:
    """Return the label of each entry of an index: its name, or its digest if it has no name.

    Other tools write only a tag, which can occur several times: the label is then NAME@DIGEST.
    """
    pairs = [(name_of(entry), str(entry.get("digest"))) for entry in entries]
    last = dict(pairs)
    several = {name for name, digest in pairs if last[name] != digest and "/" not in (name or "/")}
    return [f"{name}@{digest}" if name in several else name or digest for name, digest in pairs]


def render_index(index: dict[str, t.Any]) -> bytes:
    """Return the canonical bytes of an index: sorted, with only the last entry of each full name."""
    entries = {
        (name_of(entry), "" if "/" in name_of(entry) else _canonical(entry)): entry
        for entry in index["manifests"]
    }
    return _canonical(dict(index, manifests=[entries[key] for key in sorted(entries)])).encode()


def render_names(names: t.Mapping[str, IndexEntry]) -> bytes:
    """Return the canonical bytes of an index with exactly these names."""
    entries = [entry_json(name, points_to) for name, points_to in names.items()]
    return render_index(dict(empty_index(), manifests=entries))


def entry_json(name: str, points_to: IndexEntry) -> dict[str, t.Any]:
    """Return the entry of a name as a JSON value of index.json."""
    annotations = {REF_NAME: name}
    if points_to.platforms:
        annotations[PLATFORMS] = ",".join(sorted(points_to.platforms))
    return dict(points_to.target.as_json(), annotations=annotations)


def _canonical(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def empty_index() -> dict[str, t.Any]:
    """Return an index without entries."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def name_of(entry: dict[str, t.Any]) -> str:
    """Return the name of an entry of index.json, "" if it has none."""
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
