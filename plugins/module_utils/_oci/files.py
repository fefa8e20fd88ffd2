# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that writes to a disk: whole files, parts of blobs, locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pwd
import re
import secrets
import shutil
import stat
import threading
import time
import typing as t

from . import errors
from .names import Digest

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
# How long a part that nobody goes on with is kept, in seconds: a week.
KEPT = 7 * 24 * 60 * 60.0
_STAGED = "part-"
# The same beside the file it will be, in a directory that is not ours alone.
_BESIDE = re.compile(r"\.lockstep-[0-9a-f]{16}")
_MAX_JOURNAL = 16 * 1024 * 1024
_PIECE = 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def access(path: str) -> t.Iterator[None]:
    """Turn the system's refusal into StoreAccessError."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.NoSpaceError(f"{path}: {exc.strerror}", path=path) from exc
        raise refusal(path, exc) from exc


def refusal(path: str, exc: OSError) -> errors.StoreAccessError:
    """Return an error for what the system refuses; of permissions with whose it is, and who we are."""
    reason = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror or str(exc)
    if exc.errno not in (errno.EACCES, errno.EPERM):
        return errors.StoreAccessError(f"{path}: {reason}", path=path)
    nearest, uid, hint = path, os.geteuid(), ""
    while True:  # behind a directory that is closed to us nothing can be seen
        try:
            there = os.stat(nearest)
            break
        except OSError:
            nearest = os.path.dirname(os.path.abspath(nearest))
    whose = (
        f"{nearest} belongs to {user_name(there.st_uid)}, mode {stat.S_IMODE(there.st_mode):04o}"
    )
    if uid:
        hint = (
            "Set become to act as a user who may do this, or give a path that is open to this one."
        )
    text = f"{path}: {reason}; {whose}, this task runs as {user_name(uid)}"
    return errors.StoreAccessError(text, hint, path=path)


def user_name(uid: int) -> str:
    """Return a user as the system knows it, with its number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


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
    """Write a file, which gets its name if ``chunks`` ends well; ``staging`` is on the same file system.

    Only we can read it before. A writer that is killed leaves a file that ``stale_files`` finds in the staging
    directory of a store, ``leftovers`` anywhere else.
    """
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
    prefix = ".lockstep-" if staging == os.path.dirname(path) else _STAGED
    while True:
        name = os.path.join(staging, f"{prefix}{secrets.token_hex(8)}")
        with access(path):
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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
                if name.startswith(_STAGED) or (
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
        _discard(path)
        os.close(fd)


def _open_unlocked(path: str) -> int | None:
    """Open and lock a staged file; None if it is gone, or somebody is writing it."""
    with contextlib.suppress(OSError):
        fd = os.open(path, _READ)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            os.close(fd)
    return None


def remove_file(path: str) -> None:
    """Remove a file, or a directory that lies where one belongs; what is gone is no error."""
    with access(path), contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _discard(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(_journal_of(path))
    with contextlib.suppress(OSError):
        os.unlink(path)


def _journal_of(path: str) -> str:
    return f"{os.path.splitext(path)[0]}.journal"


def _part_of(journal: str) -> str:
    return f"{os.path.splitext(journal)[0]}.part"


def read_file(path: str, limit: int) -> bytes:
    """A regular file of up to ``limit`` bytes; anything else is an error and never blocks."""
    try:
        fd = os.open(path, _READ)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise refusal(path, exc) from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise errors.StoreAccessError(f"{path}: is not a regular file", path=path)
    with access(path), os.fdopen(fd, "rb") as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise errors.StoreAccessError(
            f"{path}: is larger than {errors.readable_size(limit)}", path=path
        )
    return data


def is_hidden(path: str) -> bool:
    """Return whether a path is behind a directory that we may not search."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def is_ours(path: str) -> bool:
    """Return whether a path, or a directory on its way, belongs to us; the root directory does not count."""
    while path != os.path.dirname(path):
        with contextlib.suppress(OSError):
            if os.stat(path).st_uid == os.geteuid():
                return True
        path = os.path.dirname(path)
    return False


def encoding_fault(raw: bytes) -> str:
    """Return what makes a text unreadable to most tools that want UTF-8, "" if nothing does."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark (BOM)"
    return (
        "is in UTF-16, not in UTF-8"
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4]
        else ""
    )


def read_chunks(path: str, first: int = 0) -> t.Generator[bytes, None, None]:
    """The bytes of a file from ``first`` on, up to 1 MiB at once."""
    with access(path), os.fdopen(os.open(path, _READ), "rb", buffering=0) as handle:
        handle.seek(first)
        chunk = handle.read(_PIECE)
        while chunk:
            yield chunk
            chunk = handle.read(_PIECE)


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
                raise errors.LockedError(
                    f"{path} is locked{by}, gave up waiting", path=path
                ) from None
            time.sleep(0.05)
        except OSError as exc:
            hint = "The file system must support flock."
            raise errors.StoreAccessError(
                f"{path}: cannot be locked: {exc.strerror}", hint, path=path
            ) from exc


def _same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


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


def part_path(staging: str, digest: Digest) -> str:
    """Where the bytes of a blob gather."""
    return os.path.join(staging, f"{digest.algorithm}-{digest.encoded}.part")


def staged_bytes(path: str, size: int) -> int:
    """How much of a blob a part has."""
    try:
        spans = _read_journal(_journal_of(path), min(os.lstat(path).st_size, size))
    except (OSError, errors.StoreAccessError):
        return 0
    return sum(end - first for first, end in spans)


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


class Part:
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
            self._journal = os.open(_journal_of(name), flags, 0o600)
        with contextlib.suppress(errors.StoreAccessError):
            there = min(os.fstat(fd).st_size, size)
            self._spans = _read_journal(_journal_of(name), there)
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
            _discard(self._name)
        os.close(self._journal)
        os.close(self._fd)

    def _hash_written(self, most: int) -> None:
        with self._lock:
            reach = next((end for first, end in self._spans if first <= self._hashed < end), 0)
        stop = min(reach, self._hashed + most)
        while self._hashed < stop:
            with access(self._path):
                piece = os.pread(self._fd, min(_PIECE, stop - self._hashed), self._hashed)
            if not piece:
                raise errors.StoreAccessError(
                    f"{self._path}: its part has become shorter", path=self._path
                )
            self._hash.update(piece)
            self._hashed += len(piece)


@contextlib.contextmanager
def receive(
    path: str, staging: str, digest: Digest, size: int, patience: float
) -> t.Iterator[Part | None]:
    """A part to fill; None when another process has brought the blob while we waited for it."""
    name = part_path(staging, digest)
    fd = _claim(name, path, patience)
    if fd is None:  # it is in the hands of somebody who does nothing
        fd, name = _open_staged(staging, path)
    try:
        part = Part(name, path, digest, size, fd)
    except BaseException:
        if not os.fstat(fd).st_size:
            _discard(name)
        os.close(fd)
        raise
    try:
        if _is_file_of(path, size):
            part.reset()
            yield None
        else:
            yield part
    except errors.StoreAccessError:
        _discard(name)
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
                if _same_file(fd, name):
                    if os.fstat(fd).st_nlink == 1:
                        return fd
                    _discard(name)  # a copy by links: the other one stays as it is
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
                    _discard(name)
                os.close(fd)
                raise
            os.close(fd)


def _is_file_of(path: str, size: int) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(there.st_mode) and there.st_size == size


def free_bytes(path: str) -> int:
    """What may still be written on the disk of a directory, or of where it will be."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    with access(path):
        there = os.statvfs(path)
    return (there.f_bavail if os.geteuid() else there.f_bfree) * there.f_frsize
