# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageStore: an OCI image layout on disk (image-spec v1.1, image-layout.md), as a source and a sink.

Names are full canonical references in ``org.opencontainers.image.ref.name``. ``index.json`` is canonical: sorted
by name, sorted keys, no blanks, so that equal content means equal bytes. Entries and fields of other tools are
kept. Where two entries have one name, the last one counts and the next change of names drops the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci import files
from ansible_collections.lockstep.images.plugins.module_utils._oci.descriptor import (
    OCI_INDEX,
    Descriptor,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.digest import Digest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    ConflictError,
    CorruptStoreError,
    DigestMismatchError,
    ManifestError,
    NotALayoutError,
    NotFoundError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.fetch import verified
from ansible_collections.lockstep.images.plugins.module_utils._oci.manifest import (
    MAX_MANIFEST,
    Manifest,
    parse_object,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import Reference

REF_NAME = "org.opencontainers.image.ref.name"
PLATFORMS = "io.lockstep.platforms"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_INDEX = 256 * 1024 * 1024
_LOCK_TIMEOUT = 60.0


@dataclass(frozen=True)
class Name:
    """What a name points at: a manifest or an index, and of an index the platforms that were asked for."""

    target: Descriptor
    platforms: tuple[str, ...] = ()


def store_name(reference: Reference) -> str:
    """The name an image is kept under: with a tag ``registry/repository:tag``, else ``registry/repository@digest``.

    A digest beside a tag says which content the name has, it is no part of the name: the next pin moves it.
    """
    return f"{reference.name}:{reference.tag}" if reference.tag else str(reference)


class ImageStore:
    """A directory of content and names. Reading creates nothing, and a missing directory reads as empty."""

    def __init__(self, path: str, lock_timeout: float = _LOCK_TIMEOUT) -> None:
        self.path = os.path.realpath(os.path.abspath(path))
        self._timeout = lock_timeout
        self._held = contextlib.ExitStack()
        self._locked = False

    # -- names

    def names(self) -> dict[str, Name]:
        """Every name with what it points at; raises CorruptStoreError when the index makes no sense."""
        found: dict[str, Name] = {}
        for entry in self._read_index()["manifests"]:
            name = _name_of(entry)
            if name:
                where = f"{self._index_path}: {name}"
                try:
                    target = Descriptor.from_json(entry, where)
                except ManifestError as exc:
                    raise CorruptStoreError(str(exc), path=self._index_path) from exc
                asked = target.annotations.get(PLATFORMS, "")
                found[name] = Name(target, tuple(p for p in asked.split(",") if p))
        return found

    def set_name(self, name: str, target: Name, expected: Name | None) -> None:
        """Point a name at content; raises ConflictError when it no longer points where ``expected`` says."""
        annotations = {REF_NAME: name}
        if target.platforms:
            annotations[PLATFORMS] = ",".join(sorted(target.platforms))
        entry = dict(target.target.as_json(), annotations=annotations)
        with files.locked(self._staging_path("index.lock"), exclusive=True, timeout=self._timeout):
            current = self.names().get(name)
            if current not in (expected, target):
                there = current.target.digest if current else "nothing"
                raise ConflictError(f"{name} was moved to {there} by somebody else meanwhile")
            index = self._read_index()
            others = [other for other in index["manifests"] if _name_of(other) != name]
            index["manifests"] = [*others, entry]
            files.write_file(self._index_path, self._staging_path(), render_index(index))

    def fingerprint(self) -> str:
        """``sha256:...`` of the canonical index: equal on two hosts that hold the same names, digests and platforms."""
        return str(Digest.of(render_index(self._read_index())))

    # -- content

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the content is there with the promised size; raises StoreAccessError where no file can be."""
        path = self.blob_path(descriptor.digest)
        with files.access(path):
            try:
                there = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        if not stat.S_ISREG(there.st_mode):
            raise StoreAccessError(f"{path}: is not a regular file", path=path)
        return there.st_size == descriptor.size

    def write(self, descriptor: Descriptor, chunks: t.Iterable[bytes]) -> None:
        """Store content; no error means it is there, verified against size and digest, and durable."""
        path = self.blob_path(descriptor.digest)
        files.make_directory(os.path.dirname(path))
        files.write_chunks(path, self._staging_path(), verified(chunks, descriptor))

    def read(self, digest: Digest, limit: int = MAX_MANIFEST) -> bytes:
        """Content of up to ``limit`` bytes, verified; raises NotFoundError or DigestMismatchError."""
        path = self.blob_path(digest)
        try:
            data = files.read_file(path, limit)
        except FileNotFoundError:
            raise NotFoundError(f"{self.path} does not hold {digest}") from None
        if not digest.matches(data):
            raise DigestMismatchError(f"{path}: its bytes do not have the digest in its name")
        return data

    def manifest(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """The manifest with this digest, or None when it is missing or its bytes have changed."""
        try:
            raw = self.read(digest)
        except (NotFoundError, DigestMismatchError):
            return None
        return Manifest.parse(raw, media_type, f"{self.path}: {digest}")

    def blob_path(self, digest: Digest) -> str:
        """Where content of this digest lies."""
        return os.path.join(self.path, "blobs", digest.algorithm, digest.encoded)

    # -- life

    @contextlib.contextmanager
    def hold(self, exclusive: bool = False) -> t.Iterator[ImageStore]:
        """Keep content from being removed (or, exclusive, from being used) while the block runs.

        Changes nothing: a store that is not there is not made, and not locked, until ``prepare``. Raises
        NotALayoutError when something else lives in the directory, LockedError after the time-out.
        """
        self._check()
        with contextlib.ExitStack() as self._held:
            lock = self._staging_path("store.lock")
            self._locked = os.path.exists(lock)
            if self._locked:
                self._held.enter_context(files.locked(lock, exclusive, self._timeout, create=False))
            yield self

    def prepare(self) -> None:
        """Make the layout where there is none, and remove partial files whose writers are gone; inside ``hold``."""
        self._create()
        if not self._locked:
            lock = self._staging_path("store.lock")
            self._held.enter_context(files.locked(lock, exclusive=False, timeout=self._timeout))
            self._locked = True
        files.remove_stale(self._staging_path())

    def _create(self) -> None:
        files.make_directory(self._staging_path())
        with files.locked(self._staging_path("index.lock"), exclusive=True, timeout=self._timeout):
            files.make_directory(os.path.join(self.path, "blobs", "sha256"))
            for path, data in (
                (os.path.join(self.path, "oci-layout"), _LAYOUT),
                (self._index_path, render_index(_empty_index())),
            ):
                if not os.path.lexists(path):
                    files.write_file(path, self._staging_path(), data)

    def _check(self) -> None:
        """Refuse a directory that is something else, or whose files make no sense."""
        if not os.path.lexists(self.path):
            return
        if not os.path.isdir(self.path):
            raise NotALayoutError(f"{self.path} is not a directory", path=self.path)
        for directory in (
            "blobs",
            os.path.join("blobs", "sha256"),
            os.path.join("blobs", "sha512"),
        ):
            self._check_directory(os.path.join(self.path, directory))
        self._check_layout_file()
        # In this order: who makes a store writes the index before the first blob.
        if self._has_blobs() and not os.path.lexists(self._index_path):
            raise CorruptStoreError(
                f"{self.path} holds blobs but no index.json",
                "Put index.json back, or move the directory aside to start anew.",
                path=self.path,
            )

    def _check_layout_file(self) -> None:
        path = os.path.join(self.path, "oci-layout")
        hint = "Give another directory as store: this one is left as it is."
        try:
            layout = parse_object(files.read_file(path, MAX_MANIFEST), path)
        except FileNotFoundError:
            has_blobs = self._has_blobs()
            with files.access(self.path):
                there = set(os.listdir(self.path))
            if "oci-layout" in there:  # another process has just made the store
                self._check_layout_file()
                return
            foreign = sorted(there - {".staging", "blobs", "lost+found"})
            if foreign or has_blobs:
                raise NotALayoutError(
                    f"{self.path} is not an OCI image layout: it has no oci-layout file but {', '.join(foreign[:5]) or 'blobs'}",
                    hint,
                    path=self.path,
                ) from None
            return
        except ManifestError as exc:
            raise NotALayoutError(
                f"{self.path} is not an OCI image layout: {exc}", hint, path=self.path
            ) from exc
        version = layout.get("imageLayoutVersion")
        if not isinstance(version, str) or version.split(".")[0] != "1":
            raise NotALayoutError(
                f"{self.path} is not an OCI image layout of version 1 but {version!r}",
                hint,
                path=self.path,
            )

    def _check_directory(self, path: str) -> None:
        """A link to another disk is fine when it leads to a directory of ours, and to nobody else's."""
        with files.access(path):
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
            with (
                files.access(path),
                contextlib.suppress(FileNotFoundError),
                os.scandir(path) as entries,
            ):
                if any(entries):
                    return True
        return False

    @property
    def _index_path(self) -> str:
        return os.path.join(self.path, "index.json")

    def _staging_path(self, *name: str) -> str:
        return os.path.join(self.path, ".staging", *name)

    def _read_index(self) -> dict[str, t.Any]:
        try:
            raw = files.read_file(self._index_path, _MAX_INDEX)
        except FileNotFoundError:
            return _empty_index()
        hint = (
            "It was not touched. Put a good copy back, or move the directory aside to start anew."
        )
        try:
            index = parse_object(raw, self._index_path)
        except ManifestError as exc:
            raise CorruptStoreError(str(exc), hint, path=self._index_path) from exc
        entries = index.get("manifests")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise CorruptStoreError(
                f"{self._index_path}: manifests is not a list of objects",
                hint,
                path=self._index_path,
            )
        return index


def render_index(index: dict[str, t.Any]) -> bytes:
    """The canonical bytes of an index: entries by name then digest, the last of one name, keys sorted, no blanks."""
    by_name: dict[str, t.Any] = {}
    unnamed: dict[str, t.Any] = {}
    for entry in index["manifests"]:
        name = _name_of(entry)
        if name:
            by_name[name] = entry
        else:
            unnamed[json.dumps(entry, sort_keys=True)] = entry
    value = dict(
        index,
        manifests=[unnamed[key] for key in sorted(unnamed)]
        + [by_name[name] for name in sorted(by_name)],
    )
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _empty_index() -> dict[str, t.Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def _name_of(entry: dict[str, t.Any]) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
