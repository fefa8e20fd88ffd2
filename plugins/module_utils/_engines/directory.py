# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of image archives that an engine imports, such as ``agent/images`` of k3s and RKE2. No engine is asked.

k3s imports all archives when it starts, and while it runs each one whose size and time of change are new (k3s,
pkg/agent/containerd/watcher.go). So an archive that is right is not touched, and a new one appears at once as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import typing as t

from .._archive.archive import IMAGE_NAME, Archive
from .._archive.archive_file import DescriptorOutput, first_difference, read_image, read_index
from .._archive.image_archive import (
    Entry,
    ImageContent,
    OpenBlob,
    image_archive,
    unopened,
)
from .._image import errors as image_errors
from .._image.manifest import Descriptor
from .._image.names import Digest, Reference
from . import errors
from .engine import (
    Engine,
    EngineFacts,
    Finding,
    HeldImage,
    KnownImage,
    Load,
    LoadOptions,
    require_disk,
    require_loadable,
)

_SUFFIX, _PART = ".tar", ".tar.part"  # k3s ignores files that end in .part
_MODE = 0o644
_LONGEST_NAME = 255 - len(_PART)
_KEPT = 150  # characters of a name that is too long for a file
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_RANCHER = ("k3s", "rke2")
_SPACE = "Free disk space, or give a directory on a larger disk."
_ADVICE = "Move it away: this task replaces only regular files."
_NO_DIRECTORY = (
    "Give the directory from which the engine of this host imports images, or create it."
)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class DirectoryEngine(Engine):
    """The archives in the directory ``path``, one for each name."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        # What a file was when its bytes were compared last, so that they are read once.
        self._proven: dict[str, tuple[tuple[int, ...], str]] = {}

    def facts(self) -> EngineFacts:
        """Return what the engine is."""
        return EngineFacts("directory", store="directory", root=self._path)

    def images(self, details: bool = False) -> list[HeldImage]:
        """Return the images of all archives of this collection; raise EngineNotFoundError if there is no such directory."""
        held = []
        for name in self._files():
            with self._opened(name) as descriptor:
                held += [] if descriptor is None else _held(descriptor)
        return held

    def refresh(self) -> None:
        """Do nothing: files are looked at each time."""

    def find(self, image: ImageContent, options: LoadOptions) -> Finding:
        """Return whether the archive of an image has the right bytes."""
        require_loadable(image)
        kept = image.alone
        if not image.reference.tag and kept is not image:
            raise errors.UnsupportedByEngineError(
                f"{image.name}: an archive for k3s cannot keep the digest of an index of other platforms",
                "Name the image by a tag, as in name:tag@digest.",
            )
        name, wanted = archive_name(image.name), str(kept.root.digest)
        before, is_right = None, False
        with self._opened(name) as descriptor:
            if descriptor is not None:
                before = next((one.id for one in _held(descriptor)), None)
                is_right = self._is_right(name, descriptor, _archive(image, unopened), wanted)
        missing = () if is_right else tuple(image.manifest.layers)
        return Finding(wanted, before, is_right, is_right, missing)

    def held_as(
        self, reference: Reference, root: Digest, known: KnownImage | None, options: LoadOptions
    ) -> str | None:
        """Return what the archive of an image names, if all its bytes are right."""
        alone = known.alone if known else None
        if known is None or alone is None or (alone != root and not reference.tag):
            return None
        name = archive_name(reference.store_name)
        with self._opened(name) as descriptor:
            image = None if descriptor is None else read_image(descriptor, reference, alone)
            if descriptor is None or image is None or image.config_blob.digest != known.config:
                return None
            archive = _archive(image, unopened)
            return str(alone) if self._is_right(name, descriptor, archive, str(alone)) else None

    def keeps_digest(self, root: Digest, image_id: str) -> bool:
        """Return whether an archive names the digest in the registry."""
        return image_id == str(root)

    def to_send(
        self, image: ImageContent, found: Finding, options: LoadOptions, sent: set[Digest]
    ) -> tuple[Descriptor, ...]:
        """Return all layers of an image, as every archive is complete."""
        return super().to_send(image, found, options, set())

    def size_of(self, loads: t.Sequence[Load]) -> int:
        """Return the size of the archives."""
        return sum(_archive(load.image, unopened).size for load in loads)

    def send(self, loads: t.Sequence[Load], open_blob: OpenBlob, options: LoadOptions) -> None:
        """Write the archives."""
        with _access(self._path):
            _make_directory(self._path)
            self._remove_stale()
        for load in loads:
            self._write(load, open_blob)

    def restore(self, load: Load) -> None:
        """Do nothing: an archive replaces another one only after its bytes were compared."""

    def require_space(self, size: int) -> None:
        """Raise EngineNoSpaceError if the disk has less than ``size`` bytes."""
        place = self._path
        while not os.path.isdir(place) and place != os.path.dirname(place):
            place = os.path.dirname(place)
        require_disk(place, size, _SPACE)

    def _files(self) -> list[str]:
        """Return the archives in the directory; none if it is missing, and k3s or RKE2 will create it."""
        path = self._path
        if not os.path.exists(path) and _belongs_to_rancher(path):
            return []
        if not os.path.isdir(path):
            what = "is not a directory" if os.path.exists(path) else "does not exist"
            raise errors.EngineNotFoundError(f"{path} {what}", _NO_DIRECTORY, path=path)
        with _access(path), os.scandir(path) as entries:
            found = (one for one in entries if one.is_file(follow_symlinks=False))
            return sorted(one.name for one in found if one.name.endswith(_SUFFIX))

    def _is_right(self, name: str, descriptor: int, archive: Archive, target: str) -> bool:
        """Return whether an open file has the bytes of an archive of ``target``; a file that did not change is read once."""
        state = _state(descriptor), target
        if self._proven.get(name) != state:
            if first_difference(descriptor, archive) is not None:
                return False
            self._proven[name] = state
        return True

    def _write(self, load: Load, open_blob: OpenBlob) -> None:
        """Write an archive beside the place of its file, and rename it once all its bytes are right and on the disk."""
        name, archive = archive_name(load.name), _archive(load.image, open_blob)
        path = os.path.join(self._path, name)
        part = path + _PART[len(_SUFFIX) :]
        with _access(part), _locked(part) as descriptor, contextlib.ExitStack() as undo:
            undo.callback(os.unlink, part)
            output = DescriptorOutput(descriptor)
            output.note = self.count_sent
            archive.write_to(output)
            _require_right(load.name, descriptor, archive)
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
            os.rename(part, path)
            undo.pop_all()
            self._proven[name] = _state(descriptor), load.finding.id
        with _access(self._path):
            _sync(self._path)

    @contextlib.contextmanager
    def _opened(self, name: str) -> t.Iterator[int | None]:
        """Open a file to read, None if it is missing; raise EngineError for anything but a regular file."""
        path = os.path.join(self._path, name)
        with _access(path):
            try:
                descriptor = os.open(path, _READ)
            except FileNotFoundError:
                descriptor = -1
        if descriptor < 0:
            yield None
            return
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise errors.EngineError(f"{path}: is not a regular file", _ADVICE)
            yield descriptor
        finally:
            os.close(descriptor)

    def _remove_stale(self) -> None:
        """Remove what tasks that were killed have left."""
        for name in os.listdir(self._path):
            if _is_part(name):
                path = os.path.join(self._path, name)
                with contextlib.suppress(errors.EngineConflictError), _access(path), _locked(path):
                    os.unlink(path)


def archive_name(name: str) -> str:
    """Return the file of an image: its name with + for / and = for :, which no name has. A long one ends with its digest."""
    text = name.replace("/", "+").replace(":", "=")
    if len(text) > _LONGEST_NAME:
        text = f"{text[:_KEPT]}~{hashlib.sha256(name.encode()).hexdigest()}"
    return text + _SUFFIX


def _is_part(name: str) -> bool:
    """Return whether a file is an archive of this collection that is not finished."""
    text = name[: -len(_PART)].replace("+", "/").replace("=", ":")
    with contextlib.suppress(image_errors.ReferenceError):
        complete = archive_name(Reference.parse(text).store_name)
        return name == complete + _PART[len(_SUFFIX) :]
    return False


def _archive(image: ImageContent, open_blob: OpenBlob) -> Archive:
    """Return the archive of an image: without an index of other platforms, as k3s imports everything that one lists."""
    kept = image.alone
    by_digest = f"{image.reference.name}@{kept.root.digest}"
    names = tuple(dict.fromkeys((image.name, by_digest)))
    return image_archive([Entry(kept, names, kept.manifest.layers)], open_blob, docker=False)


def _held(descriptor: int) -> list[HeldImage]:
    """Return the images in an archive."""
    names: dict[str, list[str]] = {}
    for one in read_index(descriptor):
        annotations = one.get("annotations") or {}
        if isinstance(annotations, dict) and annotations.get(IMAGE_NAME):
            names.setdefault(str(one.get("digest")), []).append(str(annotations[IMAGE_NAME]))
    size = os.fstat(descriptor).st_size
    return [
        HeldImage(
            digest,
            tuple(name for name in found if "@" not in name),
            tuple(name for name in found if "@" in name),
            size=size,
        )
        for digest, found in names.items()
    ]


def _require_right(name: str, descriptor: int, archive: Archive) -> None:
    wrong = first_difference(descriptor, archive)
    if wrong is not None:
        raise image_errors.CorruptStoreError(f"{name}: {wrong} does not match its digest")


def _state(descriptor: int) -> tuple[int, ...]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _locked(path: str) -> t.Iterator[int]:
    """Create a file, or take over one that a killed task has left: empty, and locked until the end of the block.

    Raise EngineConflictError if another task writes it.
    """
    descriptor = os.open(path, _WRITE, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:
            raise errors.EngineConflictError(f"{path}: another task writes this file")
        os.ftruncate(descriptor, 0)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _access(path: str) -> t.Iterator[None]:
    """Convert an OSError in the block to an EngineError."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno in _FULL:
            raise errors.EngineNoSpaceError(f"{path}: {reason}", _SPACE, path=path) from exc
        if exc.errno in _REFUSED:
            hint = "Set become, or give a directory in which the user of the task may write."
            raise errors.EngineRefusedError(f"{path}: {reason}", hint, path=path) from exc
        if exc.errno == errno.ELOOP:
            raise errors.EngineError(f"{path}: is a symbolic link", _ADVICE, path=path) from exc
        raise errors.EngineError(f"{path}: {reason}", path=path) from exc


def _belongs_to_rancher(path: str) -> bool:
    """Return whether a path is below the directory of an installed k3s or RKE2."""
    while path != os.path.dirname(path):
        parent, name = os.path.split(path)
        if name in _RANCHER and os.path.basename(parent) == "rancher" and os.path.isdir(path):
            return True
        path = parent
    return False


def _make_directory(path: str) -> None:
    """Create the directory of an engine that has not started yet, with the modes that the engine uses."""
    if _belongs_to_rancher(path) and not os.path.isdir(path):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        os.mkdir(path, 0o755)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
