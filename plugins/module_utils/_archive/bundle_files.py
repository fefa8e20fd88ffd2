# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive in one file or in chunks: compared with what is on the disk, and written where that differs.

Every file is complete when it has its name. The list of the files is written last. Until then, a journal with the
suffix ``.part`` lists the complete ones, so that an export that was interrupted continues after them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import stat
import typing as t

from .._image.names import Digest
from .archive import BLOBS, Archive
from .errors import ArchiveAccessError, ArchiveError, access
from .media import PIECE, open_regular, read_sums, sum_of
from .sums import SUFFIX, Sums, lines_of
from .tar import header
from .verified_stream import VerifiedStream

_PART = ".part"
_WIDTH = 3
_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE = 0o644
_FLUSHED = 16 * 1024 * 1024  # bytes
_REPLACED = "Move it away: only regular files are replaced."


class Window(t.NamedTuple):
    """A file, and the bytes of the archive that it has."""

    name: str
    path: str
    first: int
    end: int


class BundleFiles:
    """The files of an archive at ``dest``: that file, or with ``chunk_size`` in bytes ``dest.000`` and so on.

    ``holds`` returns the digests that the list states. Nothing is written before ``write``.
    """

    def __init__(
        self,
        dest: str,
        archive: Archive,
        chunk_size: int | None,
        holds: t.Callable[[], t.Iterable[Digest]],
    ) -> None:
        self.dest, self._archive = dest, archive
        self.list_path = dest + SUFFIX
        self._journal_path = self.list_path + _PART
        self.written = 0  # bytes
        self._holds = holds
        self._sums: dict[str, str] = {}
        self.made_from = _identity(archive, chunk_size)
        self.size = archive.size
        self.files = _windows(dest, self.size, chunk_size)
        self._require_places()
        self.wrong = self._wrong_files()
        self.stale = self._stale_files()

    @property
    def is_right(self) -> bool:
        """Whether all files and their list have the right bytes."""
        if self.wrong or self.stale or os.path.lexists(self._journal_path):
            return False
        with contextlib.suppress(ArchiveError):
            return read_sums(self.list_path) == self._list()
        return False

    def write(self) -> None:
        """Write the files that differ, remove stale ones, and write the list.

        Raise CorruptStoreError for content that does not match its digest; then the list is missing.
        """
        with self._locked():
            self._begin_journal()  # before the list goes, which has the sums of right files
            self._remove(self.list_path)
            wrong = self.wrong
            while wrong:
                self._differing: list[Window] = []
                for run in _runs(wrong, self.files):
                    self._write_run(run)
                wrong = self._differing
            for name in self.stale:
                self._remove(os.path.join(os.path.dirname(self.dest), name))
            self._write_list()
            self._remove(self._journal_path)
        # The result of very many images needs the memory.
        self._archive, self._holds = Archive(()), tuple

    # The files on the disk.

    def _list(self) -> Sums:
        """Return the list of the files that are known to be right."""
        files = {one.name: self._sums[one.name] for one in self.files if one.name in self._sums}
        return Sums(files, self.made_from, tuple(map(str, self._holds())))

    def _require_places(self) -> None:
        """Raise ArchiveAccessError unless files can be at their places."""
        directory = os.path.dirname(self.dest) or "."
        if not os.path.isdir(directory):
            hint = "Create the directory, or mount the medium."
            raise ArchiveAccessError(f"{directory}: is not a directory", hint, path=directory)
        for path in (self.list_path, *(one.path for one in self.files)):
            with access(path), contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    raise ArchiveAccessError(f"{path}: is not a regular file", _REPLACED, path=path)

    def _wrong_files(self) -> list[Window]:
        """Return the files that are missing, or that differ from what the list or the journal of this archive says."""
        known: dict[str, str] = {}
        for path in (self.list_path, self._journal_path):
            with contextlib.suppress(ArchiveError):
                sums = read_sums(path, is_torn=True)
                if sums and sums.made_from == self.made_from:
                    known.update(sums.files)
        wrong = []
        for one in self.files:
            if one.name in known and _is_right(one, known[one.name]):
                self._sums[one.name] = known[one.name]
            else:
                wrong.append(one)
        return wrong

    def _stale_files(self) -> list[str]:
        """Return the files of an earlier archive at this place that are not files of this one."""
        directory, base = os.path.split(self.dest)
        listed: set[str] = set()
        for path in (self.list_path, self._journal_path):
            with contextlib.suppress(ArchiveError):
                sums = read_sums(path, is_torn=True)
                listed.update(sums.files if sums else ())
        chunk, part = f"[.][0-9]{{{_WIDTH}}}", re.escape(_PART)
        pattern = re.compile(f"{re.escape(base)}(?:{chunk}|{chunk}{part}|{part})")
        with access(directory or "."):
            names = os.listdir(directory or ".")
        wanted = {one.name for one in self.files}
        wanted |= {one.name + _PART for one in self.wrong}
        return sorted(
            name
            for name in names
            if name not in wanted and (name in listed or pattern.fullmatch(name))
        )

    # Writing.

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[None]:
        """Hold the lock of the journal; raise ArchiveAccessError if another task writes this archive."""
        path = self._journal_path
        with access(path):
            descriptor = os.open(path, _WRITE, _MODE)
        try:
            with access(path):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    is_ours = os.path.samestat(os.fstat(descriptor), os.lstat(path))
                except (BlockingIOError, FileNotFoundError):
                    is_ours = False
                except OSError:  # a file system without locks
                    if not os.fstat(descriptor).st_size:
                        os.unlink(path)
                    raise
                if not is_ours:
                    raise ArchiveAccessError(
                        f"{self.dest}: another task writes this archive", "Run again.", path=path
                    )
                self._journal = descriptor
                yield
        finally:
            os.close(descriptor)

    def _begin_journal(self) -> None:
        """Make the journal one of this archive, with the sums of all files that are right.

        Lines are only ever added, so that a writer that is killed cannot damage those before.
        """
        with access(self._journal_path):
            known = read_sums(self._journal_path, is_torn=True)
            if not known or known.made_from != self.made_from:
                os.ftruncate(self._journal, 0)
                known = Sums({}, self.made_from)
                self._note(known.render())
            sums = {name: one for name, one in self._sums.items() if known.files.get(name) != one}
            # The last line may be torn.
            self._note(b"\n" + lines_of(sums))

    def _note(self, lines: bytes) -> None:
        """Add lines to the journal."""
        with access(self._journal_path):
            while lines:
                size = os.fstat(self._journal).st_size
                lines = lines[os.pwrite(self._journal, lines, size) :]
            os.fsync(self._journal)

    def _write_list(self) -> None:
        """Write the list of all files, at once."""
        path = self.list_path + ".new"
        with access(path):
            descriptor = os.open(path, _WRITE, _MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.truncate(0)
                file.write(self._list().render())
                file.flush()
                os.fsync(descriptor)
            os.rename(path, self.list_path)
        _sync_directory(self.list_path)

    def _write_run(self, run: t.Sequence[Window]) -> None:
        """Write files whose bytes follow each other."""
        first, end = run[0].first, run[-1].end
        with VerifiedStream(self._archive, first, end, self._compare) as stream:
            pieces = iter(stream)
            rest = memoryview(b"")
            for one in run:
                part = one.path + _PART
                with access(part):
                    descriptor = os.open(part, _WRITE, 0o600)
                try:
                    rest = self._write_file(one, part, descriptor, pieces, rest)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(part)
                    raise
                finally:
                    os.close(descriptor)
            for _piece in pieces:  # verify the blob that goes beyond the last file
                pass

    def _compare(self, at: int, data: memoryview) -> None:
        """Remove files that an earlier task has written with other bytes of a blob than ``data``, which is at an offset.

        It was killed, or met an error, before it had verified that blob.
        """
        while data:
            one = self.files[at // self.files[0].end]
            count = min(len(data), one.end - at)
            if one.name in self._sums and not _has(one, at, data[:count]):
                self._remove(one.path)
                del self._sums[one.name]
                self._differing.append(one)
            at, data = at + count, data[count:]

    def _write_file(
        self,
        one: Window,
        part: str,
        descriptor: int,
        pieces: t.Iterator[memoryview],
        rest: memoryview,
    ) -> memoryview:
        """Write a file, and name it; return the bytes that belong to the next one."""
        missing, found, flushed = one.end - one.first, hashlib.sha256(), 0
        with access(part):
            os.ftruncate(descriptor, 0)
        while missing:
            if not rest:
                rest = next(pieces)
            data, rest = rest[:missing], rest[missing:]
            missing -= len(data)
            found.update(data)
            self.written += len(data)
            with access(part):
                while data:
                    data = data[os.write(descriptor, data) :]
            written = one.end - one.first - missing
            if written - flushed >= _FLUSHED:
                _begin_flush(descriptor, flushed, written - flushed)
                flushed = written
        with access(part):
            with contextlib.suppress(PermissionError):  # FAT has no modes
                os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
            os.rename(part, one.path)
        _sync_directory(one.path)
        self._sums[one.name] = found.hexdigest()
        self._note(lines_of({one.name: self._sums[one.name]}))
        return rest

    def _remove(self, path: str) -> None:
        with access(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _identity(archive: Archive, chunk_size: int | None) -> str:
    """Return the digest of everything that the bytes of an archive depend on: blobs are their digests."""
    found = hashlib.sha256(b"%d\n" % (chunk_size or 0))
    for member in archive.members:
        found.update(header(member.name, member.size))
        if not member.name.startswith(BLOBS):
            with member.open() as file:
                for piece in iter(functools.partial(file.read, PIECE), b""):
                    found.update(piece)
    return f"sha256:{found.hexdigest()}"


def _windows(dest: str, size: int, chunk_size: int | None) -> list[Window]:
    if not chunk_size:
        return [Window(os.path.basename(dest), dest, 0, size)]
    count = -(-size // chunk_size)
    width = max(_WIDTH, len(str(count - 1)))
    suffixes = [f".{number:0{width}}" for number in range(count)]
    return [
        Window(
            os.path.basename(dest) + suffix,
            dest + suffix,
            n * chunk_size,
            min(size, (n + 1) * chunk_size),
        )
        for n, suffix in enumerate(suffixes)
    ]


def _runs(wrong: t.Sequence[Window], files: t.Sequence[Window]) -> t.Iterator[list[Window]]:
    """Yield the files that must be written, those that follow each other together."""
    run: list[Window] = []
    for one in files:
        if one in wrong:
            run.append(one)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _is_right(one: Window, stated: str) -> bool:
    try:
        descriptor = open_regular(one.path)
    except ArchiveAccessError as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            return False
        raise
    try:
        with access(one.path):
            size = os.fstat(descriptor).st_size
            return size == one.end - one.first and sum_of(descriptor) == stated
    finally:
        os.close(descriptor)


def _has(one: Window, at: int, data: memoryview) -> bool:
    """Return whether a file has these bytes at an offset of the archive."""
    try:
        descriptor = open_regular(one.path)
    except ArchiveAccessError:
        return False
    try:
        with access(one.path):
            return os.pread(descriptor, len(data), at - one.first) == data
    finally:
        os.close(descriptor)


def _begin_flush(descriptor: int, first: int, size: int) -> None:
    """Start to write these bytes to the disk while the next are read, so that ``fsync`` has little to wait for."""
    with contextlib.suppress(OSError, AttributeError):  # not every system can
        os.posix_fadvise(descriptor, first, size, os.POSIX_FADV_DONTNEED)


def _sync_directory(path: str) -> None:
    directory = os.path.dirname(path) or "."
    with access(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # some file systems of media cannot
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
