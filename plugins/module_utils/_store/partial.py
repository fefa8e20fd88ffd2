# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs that are here in part: what has come is kept, and resumed by whoever comes next."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import threading
import time
import typing as t

from .._image import errors
from .._image.names import Digest
from .files import (
    FILE_MODE,
    PIECE,
    READ_ONLY,
    STAGED,
    access,
    is_same_file,
    open_staged,
    read_file,
    sync_directory,
)

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


def _read_journal(path: str, limit: int) -> Spans:
    """What is written, as (first, end), within ``limit``."""
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
    """How much of a blob a part has."""
    try:
        spans = _read_journal(journal_of(path), min(os.lstat(path).st_size, size))
    except (OSError, errors.StoreAccessError):
        return 0
    return sum(end - first for first, end in spans)


class StagedBlob:
    """A blob on its way: a file and a journal of the bytes in it, which outlive us.

    Bytes may come in any order and from any thread; they are hashed in theirs.
    """

    in_order = False

    def __init__(self, name: str, path: str, digest: Digest, size: int, fd: int) -> None:
        self.size = size
        self._name = name
        self._path = path
        self._digest = digest
        self._fd = fd
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._spans: Spans = []
        self._done = False
        self._hash, self._hashed = hashlib.new(digest.algorithm), 0
        with access(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            flags |= os.O_NONBLOCK
            self._journal = os.open(journal_of(name), flags, 0o600)
        with contextlib.suppress(errors.StoreAccessError):
            there = min(os.fstat(fd).st_size, size)
            self._spans = _read_journal(journal_of(name), there)
        self.resumed = self.written

    @property
    def written(self) -> int:
        """How many bytes are there."""
        return sum(end - first for first, end in self._spans)

    def missing(self) -> Spans:
        """The gaps, as (first, end)."""
        with self._lock:
            ends = [0, *(end for _first, end in self._spans)]
            firsts = [*(first for first, _end in self._spans), self.size]
        return [gap for gap in zip(ends, firsts) if gap[0] < gap[1]]

    def write(self, offset: int, chunk: bytes) -> None:
        """Keep bytes that came."""
        if offset < self._hashed:
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
                if offset == self._hashed:
                    self._hash.update(chunk)
                    self._hashed = at
                else:
                    self._hash_written(2 * len(chunk))
            finally:
                self._hashing.release()

    def hash_ahead(self) -> None:
        """Hash what is there already: for a moment in which there is nothing else to do."""
        with self._hashing:
            self._hash_written(self.size)

    def reset(self) -> None:
        """Forget all bytes."""
        with self._hashing, self._lock, access(self._path):
            os.ftruncate(self._journal, 0)
            os.ftruncate(self._fd, 0)
            self._spans, self.resumed = [], 0
            self._hash, self._hashed = hashlib.new(self._digest.algorithm), 0

    def finish(self) -> None:
        """Put it in its place, verified and durable; or TruncatedError; or DigestMismatchError, and it is empty."""
        self.hash_ahead()
        if self._hashed < self.size:
            raise errors.TruncatedError(
                f"{self._digest} ended after {self._hashed} of {self.size} bytes"
            )
        got = self._hash.hexdigest()
        if got != self._digest.encoded:
            self.reset()
            got = f"{self._digest.algorithm}:{got}"
            raise errors.DigestMismatchError(
                f"{self._digest}: the {self.size} bytes received have the digest {got}"
            )
        with access(self._path):
            os.ftruncate(self._fd, self.size)
            os.fchmod(self._fd, FILE_MODE)
            os.fsync(self._fd)
            os.rename(self._name, self._path)
        self._done = True
        sync_directory(os.path.dirname(self._path))

    def close(self) -> None:
        """Let others have it."""
        if self._done or not self._spans:
            discard(self._name)
        os.close(self._journal)
        os.close(self._fd)

    def _hash_written(self, most: int) -> None:
        with self._lock:
            reach = next((end for first, end in self._spans if first <= self._hashed < end), 0)
        stop = min(reach, self._hashed + most)
        while self._hashed < stop:
            with access(self._path):
                piece = os.pread(self._fd, min(PIECE, stop - self._hashed), self._hashed)
            if not piece:
                raise errors.StoreAccessError(
                    f"{self._path}: its part has become shorter", path=self._path
                )
            self._hash.update(piece)
            self._hashed += len(piece)


@contextlib.contextmanager
def open_partial(
    path: str, staging: str, digest: Digest, size: int, patience: float
) -> t.Iterator[StagedBlob | None]:
    """A part to fill; None when another process has brought the blob while we waited for it."""
    name = part_path(staging, digest)
    fd = _claim(name, path, patience)
    if fd is None:  # it is in the hands of somebody who does nothing
        fd, name = open_staged(staging, path)
    try:
        part = StagedBlob(name, path, digest, size, fd)
    except BaseException:
        if not os.fstat(fd).st_size:
            discard(name)
        os.close(fd)
        raise
    try:
        if _is_file_of(path, size):
            part.reset()
            yield None
        else:
            yield part
    except errors.StoreAccessError:
        discard(name)
        raise
    finally:
        part.close()


def _claim(name: str, path: str, patience: float) -> int | None:
    """A part of our own, locked; None after ``patience`` seconds in which its owner has added nothing."""
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
                    discard(name)  # a copy by links: the other one stays as it is
            except BlockingIOError:
                there = os.fstat(fd)
                if (there.st_size, there.st_mtime_ns) != seen:
                    seen, since = (there.st_size, there.st_mtime_ns), time.monotonic()
                elif time.monotonic() - since > patience:
                    os.close(fd)
                    return None
                time.sleep(0.1)
            except BaseException:
                if not os.fstat(fd).st_size:
                    discard(name)
                os.close(fd)
                raise
            os.close(fd)


def _is_file_of(path: str, size: int) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(there.st_mode) and there.st_size == size


# How long a part that nobody goes on with is kept, in seconds: a week.
KEPT = 7 * 24 * 60 * 60.0
# The same beside the file it will be, in a directory that is not ours alone.
_BESIDE = re.compile(r"\.lockstep-[0-9a-f]{16}")


def stale_files(
    staging: str,
    wanted: t.Container[Digest],
    is_done: t.Callable[[Digest], bool],
    oldest: float,
) -> t.Iterator[str]:
    """What dead writers may have left, and parts from before ``oldest`` or of no more use, unless they are ``wanted``."""
    with contextlib.suppress(OSError):
        for name in os.listdir(staging):
            path = os.path.join(staging, name)
            stem, suffix = os.path.splitext(name)
            with contextlib.suppress(OSError, errors.DigestError):
                if name.startswith(STAGED) or (
                    suffix == ".journal" and not os.path.lexists(_part_of(path))
                ):
                    yield path
                elif suffix == ".part":
                    digest = Digest.parse(stem.replace("-", ":"))
                    if digest not in wanted and (
                        is_done(digest) or os.lstat(path).st_mtime < oldest
                    ):
                        yield path


def leftovers(directory: str) -> list[str]:
    """Return what writers of ours that were killed have left in a directory, beside the files they wrote."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if not _BESIDE.fullmatch(name):
                continue
            there = os.lstat(path)
            ours = stat.S_ISREG(there.st_mode) and there.st_uid == os.geteuid()
            fd = _open_unlocked(path) if ours else None
            if fd is not None:
                os.close(fd)
                found.append(path)
    return found


def remove_unlocked(path: str) -> None:
    """Remove a staged file, unless somebody is writing it; never fails."""
    fd = _open_unlocked(path)
    if fd is not None:
        discard(path)
        os.close(fd)


def _open_unlocked(path: str) -> int | None:
    """Open and lock a staged file; None if it is gone, or somebody is writing it."""
    with contextlib.suppress(OSError):
        fd = os.open(path, READ_ONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            os.close(fd)
    return None


def discard(path: str) -> None:
    """Remove a staged file and its journal; never fails."""
    with contextlib.suppress(OSError):
        os.unlink(journal_of(path))
    with contextlib.suppress(OSError):
        os.unlink(path)


def journal_of(path: str) -> str:
    """Return the path of the journal of a part."""
    return f"{os.path.splitext(path)[0]}.journal"


def _part_of(journal: str) -> str:
    return f"{os.path.splitext(journal)[0]}.part"


def part_path(staging: str, digest: Digest) -> str:
    """Where the bytes of a blob gather."""
    return os.path.join(staging, f"{digest.algorithm}-{digest.encoded}.part")


def parts_of(staging: str) -> list[str]:
    """The parts there are."""
    with access(staging), contextlib.suppress(FileNotFoundError):
        names = os.listdir(staging)
        return [os.path.join(staging, name) for name in names if name.endswith(".part")]
    return []


def part_size(path: str) -> int:
    """What a staged file takes of the disk."""
    with contextlib.suppress(OSError):  # done meanwhile
        return os.lstat(path).st_blocks * 512
    return 0
