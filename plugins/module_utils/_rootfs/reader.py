# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a layer in the order of its archive, each with everything that its headers say."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._archive import header as tar
from .._image.errors import ContentError, LockstepError
from .._image.escaped import shown
from .errors import LayerTooLargeError, TreeRefusedError, TreeUnsupportedError
from .sparse import Segments, read_map, records_of
from .stream import LayerStream

_LONGEST_EXTENSION = 1024 * 1024
_ZERO = bytes(tar.BLOCK)
_PLAIN = (tar.FILE, tar.LINK, tar.SYMLINK, tar.CHAR, tar.DEVICE, tar.DIRECTORY, tar.FIFO)
_NO_ID = 2**32 - 1  # to chown(2) it means "leave unchanged"
_AMBIGUOUS = (b"path", b"linkpath", b"size")
_ZEROS = bytes(256 * 1024)


@dataclass
class Entry:
    """One entry: ``kind`` is a type flag of tar, ``name`` and ``link`` are bytes, ``mtime`` is in nanoseconds.

    ``segments`` says where the bytes in the archive belong in a sparse file of ``size`` bytes; it is None for other files.
    """

    __slots__ = (
        "gid", "kind", "link", "major", "minor", "mode", "mtime", "name", "segments", "size", "uid", "xattrs",
    )  # fmt: skip

    kind: bytes
    name: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    major: int
    minor: int
    xattrs: t.Mapping[bytes, bytes]
    segments: Segments | None

    @property
    def stored(self) -> int:
        """How many bytes of content follow in the archive."""
        if self.segments is not None:
            return sum(length for _offset, length in self.segments)
        return self.size if self.kind == tar.FILE else 0

    def content(self, stream: LayerStream) -> t.Iterator[memoryview]:
        """Yield the content, which comes next in ``stream``, with zeros for the holes of a sparse file."""
        if self.segments is None:
            yield from stream.chunks(self.size)
            return
        at = 0
        for offset, length in (*self.segments, (self.size, 0)):
            while at < offset:
                zeros = memoryview(_ZEROS)[: offset - at]
                at += len(zeros)
                yield zeros
            yield from stream.chunks(length)
            at += length


@dataclass
class _Extensions:
    """What the blocks before an entry say about it."""

    pax: tar.Pax | None = None
    long: dict[bytes, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.pax or self.long)


class EntryReader:
    """Reads entries from ``stream``; the caller may read the content of the last one, and need not.

    Errors name the layer ``where`` and the entry. ``max_bytes`` is for the archive and the holes of sparse files together.
    """

    def __init__(self, stream: LayerStream, where: str, max_entries: int, max_bytes: int) -> None:
        self.count = 0
        self._stream, self._where = stream, where
        self._max, self._max_bytes = max_entries, max_bytes
        self._holes = 0  # bytes of files that are not in the archive
        self._name = b""

    def __iter__(self) -> t.Iterator[Entry]:
        while True:
            try:
                entry = self._next()
            except ContentError as exc:
                if exc.details.get("layer") or str(exc).startswith(self._where):
                    raise
                kind = TreeRefusedError if isinstance(exc, tar.HeaderError) else type(exc)
                raise self.error(kind, str(exc)) from None
            if entry is None:
                return
            size = entry.stored
            end = self._stream.position + size + -size % tar.BLOCK
            yield entry
            if self._stream.position != end:
                self._skip_to(end)

    def error(self, kind: type[LockstepError], reason: str, hint: str = "") -> LockstepError:
        """Return an error about the last entry."""
        called = f" {shown(self._name)}" if self._name else ""
        return kind(
            f"{self._where}: entry {self.count}{called}: {reason}",
            hint,
            layer=self._where.rpartition(" ")[2],
            entry=shown(self._name)[1:-1],
        )

    def _next(self) -> Entry | None:
        """Return the next entry, None at the end of the archive."""
        found = _Extensions()
        self.count += 1
        self._name = b""
        if self.count > self._max:
            raise LayerTooLargeError(f"the layer has more than {self._max} entries")
        while True:
            header = self._header()
            if header is None:
                if found:
                    raise TreeRefusedError("the archive ends after a header that extends an entry")
                return None
            if header.kind in _PLAIN:
                return self._entry(header, found)
            if header.kind == tar.SPARSE:
                self._name = header.name
                raise TreeUnsupportedError("is a sparse file in the old format of GNU tar")
            self._extend(header, found)

    def _header(self) -> tar.Header | None:
        """Return the next header, None at the end of the archive, which is two blocks of zeros or the last byte."""
        block = self._stream.read(tar.BLOCK)
        if block == _ZERO:
            block = self._stream.read(tar.BLOCK)
            if block not in (_ZERO, b""):
                raise TreeRefusedError("the archive goes beyond a single block of zeros")
            self._stream.drain()
            return None
        if not block:
            return None
        if len(block) < tar.BLOCK:
            raise TreeRefusedError("the archive ends inside a header")
        return tar.parse_header(block)

    def _extend(self, header: tar.Header, found: _Extensions) -> None:
        """Read the content of a block that says something about the next entry."""
        kind = header.kind
        if kind not in (tar.PAX, tar.GLOBAL_PAX, tar.LONG_NAME, tar.LONG_LINK, tar.VOLUME):
            self._name = header.name
            raise TreeUnsupportedError(f"its type {shown(kind)} is unknown")
        if header.size > _LONGEST_EXTENSION:
            raise TreeRefusedError(f"a header of {header.size} bytes precedes it")
        data = self._content(header.size)
        if kind == tar.PAX:
            if found.pax:
                raise TreeRefusedError("two pax headers precede it")
            found.pax = tar.parse_pax(data)
        elif kind == tar.GLOBAL_PAX:
            # Engines ignore global headers, other readers do not: what changes the meaning of entries is refused.
            pax = tar.parse_pax(data)
            if pax.sparse or any(key in _AMBIGUOUS for key in pax.records):
                raise TreeRefusedError("a global pax header sets a path or a size")
        elif kind in (tar.LONG_NAME, tar.LONG_LINK):
            if kind in found.long:
                raise TreeRefusedError("two long names precede it")
            found.long[kind] = data.partition(b"\0")[0]

    def _content(self, size: int) -> bytes:
        data = self._stream.read(size)
        padding = self._stream.read(-size % tar.BLOCK)
        if len(data) < size or len(padding) < -size % tar.BLOCK:
            raise TreeRefusedError("the archive ends inside a header")
        return data

    def _entry(self, header: tar.Header, found: _Extensions) -> Entry:
        kind, name, mode, uid, gid, size = (
            header.kind, header.name, header.mode, header.uid, header.gid, header.size,
        )  # fmt: skip
        link, mtime = header.link, tar.nanoseconds(header.mtime)
        xattrs: t.Mapping[bytes, bytes] = {}
        segments = None
        if found:
            name = found.long.get(tar.LONG_NAME, name)
            link = found.long.get(tar.LONG_LINK, link)
        self._name = name
        if found.pax:
            pax, xattrs = found.pax, found.pax.xattrs
            sparse = records_of(pax.sparse)
            name, link = self._paths(name, link, found, sparse.get(b"name"))
            size, uid, gid = (
                old if new is None else new
                for old, new in zip((size, uid, gid), map(pax.number, (b"size", b"uid", b"gid")))
            )
            time = pax.time(b"mtime")
            mtime = mtime if time is None else time
            if sparse:
                if kind != tar.FILE:
                    raise TreeRefusedError("is sparse, and not a file")
                size, segments = self._sparse(sparse, size)
        if kind == tar.FILE and name.endswith(b"/"):
            if (
                size or segments is not None
            ):  # some readers skip its content, others read it as entries
                raise TreeRefusedError("has content, and the name of a directory")
            kind = tar.DIRECTORY  # as before POSIX
        if not (0 <= uid < _NO_ID and 0 <= gid < _NO_ID):
            raise TreeRefusedError(f"its owner {uid}:{gid} is out of range")
        tar.require_time(mtime)
        return Entry(
            kind,
            name,
            link,
            mode & 0o7777,
            uid,
            gid,
            size,
            mtime,
            header.major,
            header.minor,
            xattrs,
            segments,
        )

    def _sparse(self, records: t.Mapping[bytes, bytes], stored: int) -> tuple[int, Segments]:
        """Return size and segments of a sparse file; raise LayerTooLargeError if its holes make the layer too large."""
        size, segments = read_map(records, stored, self._stream)
        self._holes += size - sum(length for _offset, length in segments)
        if self._stream.position + self._holes > self._max_bytes:
            raise LayerTooLargeError(
                f"the layer has more than {self._max_bytes} bytes with the holes of its sparse files"
            )
        return size, segments

    def _paths(
        self, name: bytes, link: bytes, found: _Extensions, sparse: bytes | None
    ) -> tuple[bytes, bytes]:
        """Return the paths of a pax header; raise TreeRefusedError if GNU headers say the same in other words.

        A sparse file has its name in ``sparse``, and as its path one for readers that do not know sparse files.
        """
        records = dict(found.pax.records) if found.pax else {}
        if sparse:
            records[b"path"] = sparse
        for key, kind in ((b"path", tar.LONG_NAME), (b"linkpath", tar.LONG_LINK)):
            if key in records and kind in found.long:
                raise TreeRefusedError("a pax header and a GNU header both name it")
        self._name = records.get(b"path", name)
        return self._name, records.get(b"linkpath", link)

    def _skip_to(self, end: int) -> None:
        missing = self._stream.skip_to(end)
        if missing:
            raise self.error(TreeRefusedError, f"the archive ends {missing} bytes too early")
