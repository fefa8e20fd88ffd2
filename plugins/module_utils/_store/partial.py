# SPDX-License-Identifier: GPL-3.0-or-later
"""Incomplete blobs: their bytes are kept, and the next task continues with them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
import time
import typing as t

from .._image import errors
from .._image.manifest import BlobHash, Descriptor
from .._image.names import Digest
from .files import PIECE, access, read_file
from .writing import FILE_MODE, STAGED, is_same_file, open_staged, open_unlocked, sync_directory

_MAX_JOURNAL = 16 * 1024 * 1024
Spans = list[tuple[int, int]]


def _merged(spans: Spans) -> Spans:
    found: Spans = []
    for first, end in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif first < end:
            found.append((first, end))
    return found


def read_journal(path: str, limit: int) -> Spans:
    """Return the spans that a journal lists, merged, up to the offset ``limit``."""
    lines = read_file(path, _MAX_JOURNAL).split(b"\n")[:-1]
    pairs = (line.split(b" ") for line in lines)
    return _merged(
        [
            (int(pair[0]), min(int(pair[1]), limit))
            for pair in pairs
            if len(pair) == 2 and all(number.isdigit() and len(number) < 19 for number in pair)
        ]
    )


def staged_bytes(path: str, size: int) -> int:
    """Return how many bytes of a blob of ``size`` bytes the staged file ``path`` has; 0 if it is missing."""
    try:
        spans = read_journal(journal_of(path), min(os.lstat(path).st_size, size))
    except (OSError, errors.StoreAccessError):
        return 0
    return sum(end - first for first, end in spans)


class StagedBlob:
    """An incomplete blob: a staged file, and a journal of the bytes in it. Both outlive the process.

    Any thread can write bytes in any order; they are hashed from the first to the last.
    """

    in_order = False

    def __init__(self, name: str, path: str, blob: Descriptor, fd: int) -> None:
        self.size = blob.size
        self.name = name
        self._path = path
        self._fd = fd
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._spans: Spans = []
        self._done = False
        self._hash = BlobHash(blob)
        with access(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            flags |= os.O_NONBLOCK
            self._journal = os.open(journal_of(name), flags, 0o600)
        with contextlib.suppress(errors.StoreAccessError):
            limit = min(os.fstat(fd).st_size, blob.size)
            self._spans = read_journal(journal_of(name), limit)
        self.resumed = self.written

    @property
    def written(self) -> int:
        """Return the number of written bytes."""
        return sum(end - first for first, end in self._spans)

    def missing(self) -> Spans:
        """Return the spans that are not written yet, in order."""
        with self._lock:
            ends = [0, *(end for _first, end in self._spans)]
            firsts = [*(first for first, _end in self._spans), self.size]
        return [gap for gap in zip(ends, firsts) if gap[0] < gap[1]]

    def write(self, offset: int, chunk: bytes) -> None:
        """Write a chunk at an offset; raise ValueError for bytes that are hashed already."""
        if offset < self._hash.hashed:
            raise ValueError("bytes that are hashed must not change")
        view, at = memoryview(chunk), offset
        with access(self._path):
            while view:
                count = os.pwrite(self._fd, view, at)
                view, at = view[count:], at + count
            os.write(self._journal, b"%d %d\n" % (offset, at))
        with self._lock:
            self._spans = _merged([*self._spans, (offset, at)])
        if self._hashing.acquire(blocking=False):
            try:
                if offset == self._hash.hashed:
                    self._hash.update(chunk)
                else:
                    self._hash_written(2 * len(chunk))
            finally:
                self._hashing.release()

    def hash_ahead(self) -> None:
        """Hash the written bytes up to the first gap. Call it while the process waits for other bytes."""
        with self._hashing:
            self._hash_written(self.size)

    def reset(self) -> None:
        """Drop all bytes."""
        with self._hashing, self._lock, access(self._path):
            os.ftruncate(self._journal, 0)
            os.ftruncate(self._fd, 0)
            self._spans, self.resumed = [], 0
            self._hash.reset()

    def finish(self) -> None:
        """Verify the blob, make it durable, and rename it into place.

        Raise TruncatedError if bytes are missing, DigestMismatchError if the digest is wrong, and drop the bytes then.
        """
        self.hash_ahead()
        try:
            self._hash.require_match()
        except errors.DigestMismatchError:
            self.reset()
            raise
        with access(self._path):
            os.ftruncate(self._fd, self.size)
            os.fchmod(self._fd, FILE_MODE)
            os.fsync(self._fd)
            os.rename(self.name, self._path)
        self._done = True
        sync_directory(os.path.dirname(self._path))

    def close(self) -> None:
        """Release the staged file; remove it if it is empty or renamed."""
        if self._done or not self._spans:
            discard(self.name)
        os.close(self._journal)
        os.close(self._fd)

    def _hash_written(self, limit: int) -> None:
        with self._lock:
            hashed = self._hash.hashed
            reach = next((end for first, end in self._spans if first <= hashed < end), 0)
        stop = min(reach, hashed + limit)
        while hashed < stop:
            with access(self._path):
                piece = os.pread(self._fd, min(PIECE, stop - hashed), hashed)
            if not piece:
                raise errors.StoreAccessError(
                    f"{self._path}: its staged file became shorter", path=self._path
                )
            self._hash.update(piece)
            hashed += len(piece)


@contextlib.contextmanager
def open_partial(
    path: str, staging: str, blob: Descriptor, timeout: float
) -> t.Iterator[StagedBlob | None]:
    """Open the blob that will be at ``path`` for writing; wait while another process writes it.

    None if the other process has completed it. After ``timeout`` seconds without progress, start a second staged file.
    """
    name = part_path(staging, blob.digest)
    fd = _claim(name, path, timeout)
    if fd is None:  # the process that holds it makes no progress
        fd, name = open_staged(staging, path)
    try:
        part = StagedBlob(name, path, blob, fd)
    except BaseException:  # also an interruption: no empty file may stay
        if not os.fstat(fd).st_size:
            discard(name)
        os.close(fd)
        raise
    try:
        if _is_file_of(path, blob.size):
            part.reset()
            yield None
        else:
            yield part
    except errors.StoreAccessError:
        discard(name)
        raise
    finally:
        part.close()


def _claim(name: str, path: str, timeout: float) -> int | None:
    """Open and lock a staged file; return None after ``timeout`` seconds in which its holder added nothing."""
    seen, since = None, time.monotonic()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        with access(path):
            fd = os.open(name, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_same_file(fd, name):
                    if os.fstat(fd).st_nlink == 1:
                        return fd
                    # A copy of the store by hard links: the other file must not change.
                    discard(name)
            except BlockingIOError:
                found = os.fstat(fd)
                if (found.st_size, found.st_mtime_ns) != seen:
                    seen, since = (found.st_size, found.st_mtime_ns), time.monotonic()
                elif time.monotonic() - since > timeout:
                    os.close(fd)
                    return None
                time.sleep(0.1)
            except BaseException:  # also an interruption: no empty file may stay
                if not os.fstat(fd).st_size:
                    discard(name)
                os.close(fd)
                raise
            os.close(fd)


def _is_file_of(path: str, size: int) -> bool:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return stat.S_ISREG(found.st_mode) and found.st_size == size
    return False


def stale_files(
    staging: str,
    wanted: t.Container[Digest],
    is_done: t.Callable[[Digest], bool],
    oldest: float,
) -> t.Iterator[str]:
    """Yield the stale files of a staging directory: those of killed writers, and incomplete blobs of no more use.

    A blob is of no use if it is in the store (``is_done``) or was last written before the time ``oldest``. Blobs in
    ``wanted`` are kept. A process can still write to a file: ``remove_unlocked`` leaves that one alone.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(staging):
            path = os.path.join(staging, name)
            stem, suffix = os.path.splitext(name)
            with contextlib.suppress(OSError, errors.DigestError):
                part = os.path.join(staging, f"{stem}.part")
                if name.startswith(STAGED) or (suffix == ".journal" and not os.path.lexists(part)):
                    yield path
                elif suffix == ".part":
                    digest = Digest.parse(stem.replace("-", ":"))
                    if digest not in wanted and (
                        is_done(digest) or os.lstat(path).st_mtime < oldest
                    ):
                        yield path


def remove_unlocked(path: str) -> None:
    """Remove a staged file unless a process is writing it; never fail."""
    fd = open_unlocked(path)
    if fd is not None:
        discard(path)
        os.close(fd)


def discard(path: str) -> None:
    """Remove a staged file and its journal; never fail."""
    with contextlib.suppress(OSError):
        os.unlink(journal_of(path))
    with contextlib.suppress(OSError):
        os.unlink(path)


def journal_of(path: str) -> str:
    """Return the path of the journal of a staged file."""
    return f"{os.path.splitext(path)[0]}.journal"


def part_path(staging: str, digest: Digest) -> str:
    """Return the path of the staged file of a blob."""
    return os.path.join(staging, f"{digest.algorithm}-{digest.encoded}.part")
