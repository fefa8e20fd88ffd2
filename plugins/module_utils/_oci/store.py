# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageStore, an OCI image layout, and the only place that writes to a disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.content import (
    MAX_MANIFEST,
    OCI_INDEX,
    Descriptor,
    Manifest,
    parse_object,
    verified,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    ConflictError,
    CorruptStoreError,
    DigestMismatchError,
    LockedError,
    ManifestError,
    NotALayoutError,
    NotFoundError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.names import (
    Digest,
    Reference,
)

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
_STAGED = "part-"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def access(path: str) -> t.Iterator[None]:
    """Turn the system's refusal into StoreAccessError."""
    try:
        yield
    except OSError as exc:
        hint = "Free some space and run again." if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StoreAccessError(f"{path}: {exc.strerror or exc}", hint, path=path) from exc


def make_directory(path: str, mode: int = DIRECTORY_MODE) -> None:
    """Create a directory and what is missing above it."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_directory(parent)
    with access(path):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if os.path.isdir(path):  # somebody else was faster
                return
            raise
        os.chmod(path, mode)
    sync_directory(parent)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    with access(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_file(path: str, staging: str, data: bytes, mode: int = FILE_MODE) -> None:
    """Write a small file."""
    write_chunks(path, staging, [data], mode)


def write_chunks(path: str, staging: str, chunks: t.Iterable[bytes], mode: int = FILE_MODE) -> None:
    """Write a file, which gets its name if ``chunks`` ends well; ``staging`` is on the same file system."""
    fd, name = _open_staged(staging, path)
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            with access(path):
                while view:
                    view = view[os.write(fd, view) :]
        with access(path):
            os.fchmod(fd, mode)
            os.fsync(fd)
            os.rename(name, path)
        sync_directory(os.path.dirname(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    finally:
        os.close(fd)


def _open_staged(staging: str, path: str) -> tuple[int, str]:
    while True:
        name = os.path.join(staging, f"{_STAGED}{secrets.token_hex(8)}")
        with access(path):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if _same_file(fd, name):
                    return fd, name
            except BaseException:
                os.close(fd)
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
            os.close(fd)  # another process took it for an abandoned one before it was locked


def remove_stale(staging: str) -> None:
    """Remove staged files whose writers are gone."""
    with contextlib.suppress(OSError):
        for name in os.listdir(staging):
            if name.startswith(_STAGED):
                path = os.path.join(staging, name)
                with contextlib.suppress(OSError):
                    fd = os.open(path, _READ)
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(path)
                    finally:
                        os.close(fd)


def read_file(path: str, limit: int) -> bytes:
    """A regular file of up to ``limit`` bytes; anything else is an error and never blocks."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        raise
    except OSError as exc:
        reason = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror
        raise StoreAccessError(f"{path}: {reason}", path=path) from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreAccessError(f"{path}: is not a regular file", path=path)
    with access(path), os.fdopen(fd, "rb") as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise StoreAccessError(f"{path}: is larger than {limit} bytes", path=path)
    return data


@contextlib.contextmanager
def locked(path: str, exclusive: bool, timeout: float, create: bool = True) -> t.Iterator[None]:
    """Hold a ``flock``; without ``create`` a missing file is no lock. Or LockedError after ``timeout`` seconds."""
    fd = _lock(path, exclusive, timeout, create)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _lock(path: str, exclusive: bool, timeout: float, create: bool) -> int | None:
    deadline = time.monotonic() + timeout
    while True:
        fd = _open_lock(path, create)
        if fd is None:
            return None
        try:
            _wait_for_lock(fd, path, exclusive, deadline)
            with access(path):
                if _same_file(fd, path):
                    if exclusive and create:
                        os.ftruncate(fd, 0)
                        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the file was removed while we waited: others lock a new one by now


def _open_lock(path: str, create: bool) -> int | None:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    with access(path):
        if create:
            fd = os.open(path, flags | os.O_RDWR | os.O_CREAT, FILE_MODE)
            with contextlib.suppress(OSError):  # a file of somebody else has the mode it has
                os.fchmod(fd, FILE_MODE)
            return fd
        try:
            return os.open(path, flags | os.O_RDONLY)
        except FileNotFoundError:
            return None


def _wait_for_lock(fd: int, path: str, exclusive: bool, deadline: float) -> None:
    how = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            return fcntl.flock(fd, how)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = b"" if os.path.isdir(path) else os.pread(fd, 32, 0).strip()
                by = f" by process {int(holder)}" if holder.isdigit() else ""
                raise LockedError(f"{path} is locked{by}, gave up waiting", path=path) from None
            time.sleep(0.05)
        except OSError as exc:
            hint = "The file system must support flock."
            raise StoreAccessError(
                f"{path}: cannot be locked: {exc.strerror}", hint, path=path
            ) from exc


def _same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


REF_NAME = "org.opencontainers.image.ref.name"
PLATFORMS = "io.lockstep.platforms"
_MAX_INDEX = 256 * 1024 * 1024


@dataclass(frozen=True)
class Name:
    """What a name points at, and the platforms asked for."""

    target: Descriptor
    platforms: tuple[str, ...] = ()


def store_name(reference: Reference) -> str:
    """The name an image is kept under; a digest beside a tag is no part of it, the next pin moves it."""
    return f"{reference.name}:{reference.tag}" if reference.tag else str(reference)


class ImageStore:
    """A directory of content and names; a missing one reads as empty."""

    def __init__(self, path: str, lock_timeout: float = 60.0) -> None:
        self.path = os.path.realpath(path)
        self._timeout = lock_timeout
        self._held = contextlib.ExitStack()
        self._locked = False
        self._index_path = os.path.join(self.path, "index.json")
        self._layout_path = os.path.join(self.path, "oci-layout")
        self._staging = os.path.join(self.path, ".staging")
        self._lock_path = os.path.join(self._staging, "store.lock")

    def names(self) -> dict[str, Name]:
        """Every name; or CorruptStoreError."""
        found: dict[str, Name] = {}
        for entry in self._read_index()["manifests"]:
            name = _name_of(entry)
            if name:
                try:
                    target = Descriptor.from_json(entry, f"{self._index_path}: {name}")
                except ManifestError as exc:
                    raise CorruptStoreError(str(exc), path=self._index_path) from exc
                asked = target.annotations.get(PLATFORMS, "")
                found[name] = Name(target, tuple(filter(None, asked.split(","))))
        return found

    def set_name(self, name: str, target: Name, expected: Name | None) -> None:
        annotations = {REF_NAME: name}
        if target.platforms:
            annotations[PLATFORMS] = ",".join(sorted(target.platforms))
        with self._index_lock():
            current = self.names().get(name)
            if current not in (expected, target):
                there = current.target.digest if current else "nothing"
                raise ConflictError(f"{name} was moved to {there} by somebody else meanwhile")
            index = self._read_index()
            index["manifests"].append(dict(target.target.as_json(), annotations=annotations))
            write_file(self._index_path, self._staging, render_index(index))

    def fingerprint(self) -> str:
        """Digest of the canonical index."""
        return str(Digest.of(render_index(self._read_index())))

    def has(self, descriptor: Descriptor) -> bool:
        path = self.blob_path(descriptor.digest)
        with access(path):
            try:
                there = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        if not stat.S_ISREG(there.st_mode):
            raise StoreAccessError(f"{path}: is not a regular file", path=path)
        return there.st_size == descriptor.size

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        path = self.blob_path(descriptor.digest)
        directory, staging = os.path.dirname(path), self._staging
        make_directory(directory)
        with access(path):
            if os.stat(directory).st_dev != os.stat(staging).st_dev:
                # A link to another disk: no rename leads there from here.
                staging = os.path.join(directory, ".staging")
                make_directory(staging)
        write_chunks(path, staging, verified(chunks, descriptor))

    def read(self, digest: Digest, limit: int = MAX_MANIFEST) -> bytes:
        """Content, verified; or NotFoundError, DigestMismatchError."""
        path = self.blob_path(digest)
        try:
            data = read_file(path, limit)
        except FileNotFoundError:
            raise NotFoundError(f"{self.path} does not hold {digest}") from None
        if not digest.matches(data):
            raise DigestMismatchError(f"{path}: its bytes do not have the digest in its name")
        return data

    def manifest(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """A manifest, None when it is missing or spoilt."""
        try:
            raw = self.read(digest)
        except (NotFoundError, DigestMismatchError):
            return None
        return Manifest.parse(raw, media_type, f"{self.path}: {digest}")

    def blob_path(self, digest: Digest) -> str:
        """Where content lies."""
        return os.path.join(self.path, "blobs", digest.algorithm, digest.encoded)

    @contextlib.contextmanager
    def hold(self, exclusive: bool = False) -> t.Iterator[ImageStore]:
        """Keep content from being removed meanwhile (``exclusive``: used). Changes nothing until ``prepare``."""
        self._check()
        with contextlib.ExitStack() as self._held:
            self._locked = os.path.exists(self._lock_path)
            if self._locked:
                self._held.enter_context(
                    locked(self._lock_path, exclusive, self._timeout, create=False)
                )
            yield self

    def prepare(self) -> None:
        """Make the layout and remove what dead writers left; inside ``hold``."""
        make_directory(self._staging)
        with self._index_lock():
            make_directory(os.path.join(self.path, "blobs", "sha256"))
            empty = render_index(_empty_index())
            for path, data in (
                (self._layout_path, b'{"imageLayoutVersion":"1.0.0"}'),
                (self._index_path, empty),
            ):
                if not os.path.lexists(path):
                    write_file(path, self._staging, data)
        if not self._locked:
            self._held.enter_context(locked(self._lock_path, False, self._timeout))
            self._locked = True
        for part in ("", "blobs/sha256", "blobs/sha512"):
            remove_stale(os.path.join(self.path, part, ".staging"))

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
            raise CorruptStoreError(
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
        except ManifestError as exc:
            reason = str(exc)
        if reason:
            raise NotALayoutError(
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
            raise NotALayoutError(f"{path} is not a directory", path=path)
        if os.path.islink(path) and there.st_uid != os.geteuid():
            raise StoreAccessError(
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
            entries, reason = index.get("manifests"), f"{path}: manifests is not a list of objects"
            if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
                return index
        except FileNotFoundError:
            return _empty_index()
        except ManifestError as exc:
            reason = str(exc)
        hint = (
            "It was not touched. Put a good copy back, or move the directory aside to start anew."
        )
        raise CorruptStoreError(reason, hint, path=path)


def render_index(index: dict[str, t.Any]) -> bytes:
    """The canonical bytes: sorted, of one name the last entry."""
    entries = {
        (_name_of(entry) or "", "" if _name_of(entry) else _canonical(entry)): entry
        for entry in index["manifests"]
    }
    return _canonical(dict(index, manifests=[entries[key] for key in sorted(entries)])).encode(
        "ascii"
    )


def _canonical(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _empty_index() -> dict[str, t.Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def _name_of(entry: dict[str, t.Any]) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
