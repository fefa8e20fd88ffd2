# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an archive of images, read strictly: their places, by their names. Nothing is ever unpacked to a path.

Every name has one of the forms below, and only links between the layers of a docker-archive are followed, as names.
"""

from __future__ import annotations

import array
import itertools
import re
import typing as t

from .._image.escaped import shown
from .._image.names import Digest
from . import header as tar
from .archive import BLOBS
from .by_digest import Digests
from .errors import (
    ArchiveError,
    ArchiveTruncatedError,
    ArchiveUnsupportedError,
    ChunkMissingError,
)
from .media import Media
from .tar import BLOCK

_HEX = "[0-9a-f]{64}"
_NAME = re.compile(
    "oci-layout|index[.]json|manifest[.]json|lock[.]json|repositories"
    f"|blobs/sha256/{_HEX}|blobs/sha512/{_HEX}{_HEX}"
    f"|{_HEX}[.](?:json|tar|tar[.]gz)|{_HEX}/(?:layer[.]tar|json|VERSION)|sha256:{_HEX}"
)
_DIRECTORY = re.compile(f"[.]|blobs(?:/sha(?:256|512))?|{_HEX}")
_LINK = re.compile(f"{_HEX}/layer[.]tar")
_TARGET = re.compile(f"[.][.]/({_HEX}/layer[.]tar|{_HEX}[.]tar)")
_MAX_PAX = 64 * 1024
_MAX_MEMBERS = 2_000_000
_OCTAL_LIMIT = 8**11  # a larger size does not fit into the field of a header
_LARGEST = 2**63  # bytes, of an archive whose size is not known
_ZERO = bytes(BLOCK)
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class Span(t.NamedTuple):
    """The place of a content in an archive, in bytes."""

    offset: int
    size: int


class BlobSpans(t.Mapping[Digest, Span]):
    """The places of blobs by their digests, of which there may be very many."""

    def __init__(self) -> None:
        self._digests = Digests()
        self._offsets, self._sizes = array.array("Q"), array.array("Q")

    def __setitem__(self, digest: Digest, span: Span) -> None:
        number = self._digests.add(digest)
        self._offsets[number : number + 1] = array.array("Q", [span.offset])
        self._sizes[number : number + 1] = array.array("Q", [span.size])

    def __getitem__(self, digest: Digest) -> Span:
        number = self._digests.find(digest)
        if number < 0:
            raise KeyError(digest)
        return Span(self._offsets[number], self._sizes[number])

    def __iter__(self) -> t.Iterator[Digest]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


class Spans(t.Mapping[str, Span]):
    """The places of members by their names; ``blobs`` are those of blobs by their digests."""

    def __init__(self) -> None:
        self.blobs = BlobSpans()
        self._others: dict[str, Span] = {}

    def __setitem__(self, name: str, span: Span) -> None:
        digest = _digest_of(name)
        if digest:
            self.blobs[digest] = span
        else:
            self._others[name] = span

    def __getitem__(self, name: str) -> Span:
        digest = _digest_of(name)
        return self.blobs[digest] if digest else self._others[name]

    def __iter__(self) -> t.Iterator[str]:
        blobs = (f"{BLOBS}{one.algorithm}/{one.encoded}" for one in self.blobs)
        return itertools.chain(self._others, blobs)

    def __len__(self) -> int:
        return len(self._others) + len(self.blobs)


class Members(t.NamedTuple):
    """The members of an archive. ``whole`` is False if a missing chunk hides others."""

    spans: Spans
    whole: bool = True


def _digest_of(name: str) -> Digest | None:
    """Return the digest that a name states, None if it is not the name of a blob."""
    is_blob = name.startswith(BLOBS) and _NAME.fullmatch(name)
    return Digest(*name[len(BLOBS) :].split("/", 1)) if is_blob else None


def read_members(media: Media) -> Members:
    """Return the members of an archive.

    Raise ArchiveError, which names the member and the offset, if it breaks a rule, or ChunkWrongError, if its list of sums
    says that chunks have other bytes.
    """
    try:
        return _Reader(media).read()
    except ArchiveError:
        media.require_sums()
        raise


class _Reader:
    """Reads the headers of an archive from the first to the last."""

    def __init__(self, media: Media) -> None:
        self._media, self._offset = media, 0
        self._spans = Spans()
        self._links: dict[str, str] = {}
        self._name = ""

    def read(self) -> Members:
        """Return the members."""
        self._require_plain()
        while True:
            self._name = ""
            if self._is_hidden():
                return Members(self._resolved(), whole=False)
            block = self._block()
            if block == _ZERO:
                self._require_end()
                return Members(self._resolved())
            try:
                self._member(block, None)
            except tar.HeaderError as exc:
                raise self._error(str(exc)) from None
            except ArchiveError as exc:
                raise self._error(str(exc), type(exc), exc.hint) from None

    def _require_plain(self) -> None:
        if self._media.size == 0:
            raise self._error("is empty", ArchiveTruncatedError)
        first = self._media.read(0, 8)
        for magic, name in _COMPRESSED.items():
            if first.startswith(magic):
                raise ArchiveUnsupportedError(
                    f"{self._media.where}: is compressed with {name}",
                    "Decompress it first. The layers in an archive are compressed already.",
                )

    def _is_hidden(self) -> bool:
        """Return whether the next header is in a missing chunk, or behind one at the end."""
        if not self._media.missing:
            return False
        try:
            return len(self._media.read(self._offset, BLOCK)) < BLOCK
        except ChunkMissingError:
            return True

    def _block(self) -> bytes:
        block = self._media.read(self._offset, BLOCK)
        if len(block) < BLOCK:
            where = "inside a header" if block else "without its end mark"
            raise self._error(f"ends {where}", ArchiveTruncatedError)
        self._offset += BLOCK
        return block

    def _member(self, block: bytes, pax: tar.Pax | None) -> None:
        header = tar.parse_header(block)
        kind, name, size = header.kind, header.name, header.size
        _require_no_rest(block)
        if kind in (tar.PAX, tar.GLOBAL_PAX):
            if pax and kind == tar.PAX:
                raise ArchiveError("two pax headers precede a member")
            found = self._pax(size)
            if kind == tar.GLOBAL_PAX:
                if found.records.keys() & {b"path", b"linkpath", b"size"}:
                    raise ArchiveError("a global pax header sets a path or a size")
                return
            return self._member(self._block(), found)
        if pax:
            name, size = _extended(name, size, pax)
        self._name = name.decode("utf-8", "backslashreplace")
        self._add(kind, size, header.link if kind == tar.SYMLINK else b"")

    def _pax(self, size: int) -> tar.Pax:
        if size > _MAX_PAX:
            raise ArchiveError(f"a pax header of {size} bytes precedes a member")
        data = self._media.read(self._offset, size)
        if len(data) < size:
            raise ArchiveTruncatedError("ends inside a header")
        self._offset += size + -size % BLOCK
        return tar.parse_pax(data)

    def _add(self, kind: bytes, size: int, link: bytes) -> None:
        name = self._name[2:] if self._name.startswith("./") else self._name
        if kind == tar.DIRECTORY:
            if not _DIRECTORY.fullmatch(name.rstrip("/") or ".") or size:
                raise ArchiveError("is a directory that no archive of images has")
            return
        if name in self._spans or name in self._links:
            raise ArchiveError("is there twice")
        if len(self._spans) + len(self._links) >= _MAX_MEMBERS:
            raise ArchiveError(f"the archive has more than {_MAX_MEMBERS} members")
        if kind == tar.SYMLINK:
            target = _TARGET.fullmatch(link.decode("utf-8", "replace"))
            if not _LINK.fullmatch(name) or not target or size:
                raise ArchiveError("is a symbolic link")
            self._links[name] = target[1]
        elif kind != tar.FILE:
            raise ArchiveError("is not a regular file")
        elif not _NAME.fullmatch(name):
            raise ArchiveError("is not a name that an archive of images has")
        else:
            span = Span(self._offset, size)
            self._skip(size)
            self._spans[name] = span

    def _skip(self, size: int) -> None:
        end = self._offset + size + -size % BLOCK
        most = _LARGEST if self._media.size is None else self._media.size
        if end > most:
            missing = end - most
            raise ArchiveTruncatedError(f"the archive ends {missing} bytes too early")
        self._offset = end

    def _require_end(self) -> None:
        """Raise ArchiveError unless only zeros follow, as tools fill up the last record of a tape."""
        end = self._offset + BLOCK
        if not self._is_hidden() and len(self._media.read(self._offset, BLOCK)) < BLOCK:
            raise self._error("ends inside its end mark", ArchiveTruncatedError)
        size = self._media.size
        if size is not None:
            for piece in self._media.pieces(self._offset, size):
                if piece.strip(b"\0"):
                    raise self._error(
                        f"bytes follow its end at {end}: it is two archives, or not only an archive"
                    )

    def _resolved(self) -> Spans:
        """Return the spans with those of links, whose targets must be layers in the archive."""
        found = {}
        for name, target in self._links.items():
            if target not in self._spans:
                self._name = name
                raise self._error("links to a layer that is not in the archive")
            found[name] = self._spans[target]
        for name, span in found.items():
            self._spans[name] = span
        return self._spans

    def _error(
        self, reason: str, kind: type[ArchiveError] = ArchiveError, hint: str = ""
    ) -> ArchiveError:
        called = f"member {shown(self._name)} at {self._offset}: " if self._name else ""
        if not called and self._offset:
            called = f"at {self._offset}: "
        return kind(f"{self._media.where}: {called}{reason}", hint)


def _require_no_rest(block: bytes) -> None:
    """Raise ArchiveError for a name with bytes after its NUL, which a reader could show."""
    for field in (block[:100], block[157:257]):
        if b"\0" in field.rstrip(b"\0"):
            raise ArchiveError("a name in its header has a NUL")


def _extended(name: bytes, size: int, pax: tar.Pax) -> tuple[bytes, int]:
    """Return name and size of a member after a pax header, which may only state what does not fit into its header."""
    records = pax.records
    if pax.sparse or b"linkpath" in records:
        raise ArchiveError("a pax header makes it a sparse file or a link")
    stated = pax.number(b"size")
    if stated is not None and stated != size:
        if stated < _OCTAL_LIMIT:
            raise ArchiveError("a pax header and its own header state different sizes")
        size = stated
    path = records.get(b"path", name)
    if path != name and len(path) <= 100:
        raise ArchiveError("a pax header and its own header state different names")
    return path, size
