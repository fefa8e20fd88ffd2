# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of an archive, which are in one file, or in chunks on one medium or several."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import typing as t

from .._image.errors import ContentError, LockError
from .errors import ArchiveAccessError, ArchiveError, ChunkMissingError, ChunkWrongError, access
from .sums import MAX_LIST, SUFFIX, Sums

PIECE = 1024 * 1024
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = re.compile(r"(.+)\.([0-9]{3,})")
_SHOWN = 5


class _Chunk(t.NamedTuple):
    """A file of an archive: its path, None if it is missing, and the bytes of the archive that it has."""

    name: str
    path: str | None
    first: int
    end: int


class Media:
    """The files of an archive, read as one. ``size`` is None if the last chunk is missing.

    ``sums`` is None without a list. ``stale`` are files that look like chunks, and that the list does not name.
    """

    def __init__(
        self,
        where: str,
        files: t.Mapping[str, str | None],
        sums: Sums | None = None,
        stale: t.Sequence[str] = (),
    ) -> None:
        # Of very many images, the digests in the list would need much memory.
        self.where, self.sums, self.stale = where, sums and sums._replace(holds=()), tuple(stale)
        self._open: dict[str, int] = {}
        self._has_right_sums = False
        sizes = {name: self._size_of(path) for name, path in files.items() if path}
        self.missing = [name for name, path in files.items() if not path]
        self._chunks = self._placed(files, sizes)
        last = self._chunks[-1]
        self.size = last.end if last.path else None

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes, fewer at the end; raise ChunkMissingError for bytes of a missing chunk."""
        return b"".join(self.pieces(offset, offset + size))

    def pieces(self, offset: int, end: int) -> t.Generator[bytes, None, None]:
        """Yield the bytes from ``offset`` to ``end`` in pieces of at most 1 MiB; errors are those of ``read``."""
        for chunk in self._chunks:
            while chunk.first <= offset < min(chunk.end, end):
                if not chunk.path:
                    raise self.missing_error()
                with access(chunk.path):
                    size = min(PIECE, chunk.end - offset, end - offset)
                    data = os.pread(self._open[chunk.path], size, offset - chunk.first)
                if not data:
                    raise ArchiveAccessError(f"{chunk.path}: became shorter", path=chunk.path)
                yield data
                offset += len(data)

    def missing_error(self) -> ChunkMissingError:
        """Return the error that names the missing chunks."""
        count, total = len(self.missing), len(self._chunks)
        return ChunkMissingError(
            f"{self.where}: {count} of {total} chunks {'is' if count == 1 else 'are'} missing: {_some(self.missing)}",
            chunks=self.missing,
        )

    @contextlib.contextmanager
    def naming_wrong_chunks(self) -> t.Iterator[None]:
        """Raise ChunkWrongError instead of an error in the block that wrong chunks can be the cause of."""
        try:
            yield
        except (ContentError, LockError):
            self.require_sums()
            raise

    def require_sums(self) -> None:
        """Raise ChunkWrongError if files do not have the bytes that the list states; nothing without a list."""
        if self._has_right_sums:  # very many images can ask
            return
        wrong = [chunk.name for chunk in self._chunks if chunk.path and not self._is_right(chunk)]
        if wrong:
            raise ChunkWrongError(
                f"{self.where}: {_some(wrong)} {'has' if len(wrong) == 1 else 'have'} other bytes than"
                f" {os.path.basename(self.where)}{SUFFIX} says",
                chunks=wrong,
            )
        self._has_right_sums = True

    def _is_right(self, chunk: _Chunk) -> bool:
        if not self.sums:
            return True
        return sum_of(self._open[t.cast(str, chunk.path)]) == self.sums.files[chunk.name]

    def _size_of(self, path: str) -> int:
        """Open a file, and return its size."""
        self._open[path] = open_regular(path)
        return os.fstat(self._open[path]).st_size

    def _placed(
        self, files: t.Mapping[str, str | None], sizes: t.Mapping[str, int]
    ) -> list[_Chunk]:
        """Return the chunks at their places: all except the last one have the same size."""
        *firsts, last = files
        known = {sizes[name] for name in firsts if name in sizes}
        self._chunks = [_Chunk(name, path, 0, 0) for name, path in files.items()]
        if len(known) > 1 or (known and sizes.get(last, 0) > min(known)):
            self.require_sums()
            raise ArchiveError(f"{self.where}: its chunks have different sizes")
        if not known and firsts:
            raise self.missing_error()
        size = min(known, default=0)
        placed = [
            _Chunk(name, files[name], number * size, (number + 1) * size)
            for number, name in enumerate(firsts)
        ]
        start = len(firsts) * size
        return [*placed, _Chunk(last, files[last], start, start + sizes.get(last, size))]


def sum_of(descriptor: int) -> str:
    """Return the SHA-256 of an open file, from its first byte."""
    found, offset = hashlib.sha256(), 0
    data = os.pread(descriptor, PIECE, offset)
    while data:
        found.update(data)
        offset += len(data)
        data = os.pread(descriptor, PIECE, offset)
    return found.hexdigest()


def open_regular(path: str) -> int:
    """Open a file to read; raise ArchiveAccessError for anything but a regular file, and never wait for a pipe."""
    with access(path):
        descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArchiveAccessError(f"{path}: is not a regular file", path=path)
    return descriptor


def read_sums(path: str, is_torn: bool = False) -> Sums | None:
    """Return the list at a path, None if there is none; errors are those of ``Sums.parse``."""
    if not os.path.lexists(path):
        return None
    descriptor = open_regular(path)
    with access(path), os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_LIST + 1)
    if len(data) > MAX_LIST:
        raise ArchiveError(f"{path}: is too large for a list of files")
    return Sums.parse(data, path, is_torn)


@contextlib.contextmanager
def open_media(src: str) -> t.Iterator[Media]:
    """Open the archive that a path means: a file, its list, one of its chunks, or a directory that has them.

    Raise ArchiveAccessError if there is none, or several.
    """
    media = _media(src)
    try:
        yield media
    finally:
        media.close()


def _media(src: str) -> Media:
    directories, base = [os.path.dirname(src)], os.path.basename(src)
    match = _CHUNK.fullmatch(base)
    if os.path.isdir(src):
        directories = _directories(src)
        base = _only_archive(src, directories)
    elif base.endswith(SUFFIX):
        base = base[: -len(SUFFIX)]
    elif match and os.path.lexists(os.path.join(directories[0], match[1] + SUFFIX)):
        base = match[1]
    return _opened(directories, base)


def _opened(directories: t.Sequence[str], base: str) -> Media:
    where = next(
        (one for one in (os.path.join(part, base) for part in directories) if os.path.lexists(one)),
        os.path.join(directories[0], base),
    )
    lists = filter(None, (read_sums(os.path.join(one, base + SUFFIX)) for one in directories))
    sums = next(lists, None)
    if sums is None or [*sums.files] == [base]:
        if not os.path.lexists(where) and _found_chunks(directories, base):
            raise ChunkMissingError(
                f"{where}{SUFFIX}: the list of the chunks is missing", chunks=[base + SUFFIX]
            )
        return Media(where, {base: where}, sums)
    for other in lists:
        if other.files != sums.files:
            raise ArchiveError(f"{base}{SUFFIX}: the media have different lists of the chunks")
    found = _found_chunks(directories, base)
    files = {name: found.get(name) for name in sums.files}
    return Media(where, files, sums, sorted(set(found) - set(files)))


def _found_chunks(directories: t.Sequence[str], base: str) -> dict[str, str]:
    """Return the paths of all chunks of an archive, by their names."""
    found: dict[str, str] = {}
    for directory in directories:
        for name in _listed(directory):
            match = _CHUNK.fullmatch(name)
            if match and match[1] == base:
                found.setdefault(name, os.path.join(directory, name))
    return found


def _directories(src: str) -> list[str]:
    """Return a directory and those in it, where several media are mounted."""
    inner = (os.path.join(src, name) for name in sorted(_listed(src)))
    return [src, *(path for path in inner if os.path.isdir(path))]


def _only_archive(src: str, directories: t.Sequence[str]) -> str:
    names = {name for one in directories for name in _listed(one)}
    found = {name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX)}
    found = found or {name for name in names if name.endswith(".tar")}
    if len(found) == 1:
        return found.pop()
    if {"oci-layout", "index.json"} <= set(_listed(src)):
        raise ArchiveAccessError(
            f"{src}: is an image store, not an archive",
            "Give it as store to image_load, image_push or image_export.",
            path=src,
        )
    listed = f"{len(found)} archives: {_some(sorted(found))}" if found else "no archive"
    raise ArchiveAccessError(f"{src}: has {listed}", "Give the path of one archive.", path=src)


def _listed(directory: str) -> list[str]:
    with access(directory or "."):
        return os.listdir(directory or ".")


def _some(names: t.Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
