# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks of a tar archive (POSIX.1-2001 pax, ustar, and the long names of GNU tar), read strictly.

Two readers that understand one archive differently are how files get past a check. So a header that readers are known
to understand differently is an error here.
"""

from __future__ import annotations

import functools
import re
import struct
import typing as t

from .._image.errors import ContentError

BLOCK = 512
FILE, LINK, SYMLINK, CHAR, DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
PAX, GLOBAL_PAX, LONG_NAME, LONG_LINK, VOLUME = b"x", b"g", b"L", b"K", b"V"
SPARSE = b"S"
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_OCTAL = re.compile(rb"[0-7]+")
_LENGTH = re.compile(rb"([1-9][0-9]{0,8}) ")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]{0,30}))?")
_MAX_SECONDS = 2**55
_BILLION = 10**9
_USTAR, _STAR_END = b"ustar\x0000", b"tar\x00"
_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_ONCE = (b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime")


class HeaderError(ContentError):
    """A header breaks a rule, so that two readers could understand it differently."""


class Header(t.NamedTuple):
    """The fields of one header block."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int  # seconds
    kind: bytes
    link: bytes
    major: int
    minor: int


class Pax(t.NamedTuple):
    """The records of one pax header; a missing record is None, which is also what an empty value means.

    ``sparse`` are those of GNU.sparse, without this prefix, as they come.
    """

    records: t.Mapping[bytes, bytes]
    xattrs: t.Mapping[bytes, bytes]
    sparse: t.Sequence[tuple[bytes, bytes]]

    def number(self, key: bytes) -> int | None:
        """Return the number of a record."""
        text = self.records.get(key)
        if text is None:
            return None
        if not _DECIMAL.fullmatch(text):
            raise HeaderError(f"its pax record {key.decode()} is not a number")
        return int(text)

    def time(self, key: bytes) -> int | None:
        """Return the time of a record in nanoseconds."""
        text = self.records.get(key)
        if text is None:
            return None
        match = _TIME.fullmatch(text)
        if not match:
            raise HeaderError(f"its pax record {key.decode()} is not a time")
        sign, whole, fraction = match.groups()
        total = int(whole) * _BILLION + int(((fraction or b"") + b"0" * 9)[:9])
        return -total if sign else total


def parse_header(block: bytes) -> Header:
    """Return the fields of a header; raise HeaderError if it is malformed."""
    (name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _uname, _gname, *rest) = (
        _FIELDS.unpack(block)
    )
    _require_checksum(block, _number(checksum))
    name, link = name.partition(b"\0")[0], link.partition(b"\0")[0]
    major = minor = 0
    if magic == _USTAR:
        prefix = rest[2][:131] if block[508:] == _STAR_END else rest[2]
        prefix = prefix.partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    if kind in (CHAR, DEVICE):
        major, minor = _number(rest[0]), _number(rest[1])
    if kind in (b"\0", b"7"):
        kind = FILE
    length = _number(size)
    if length < 0:
        raise HeaderError("its size is negative")
    return Header(
        name, _number(mode), _number(uid), _number(gid), length, _number(mtime), kind, link, major,
        minor,
    )  # fmt: skip


def _require_checksum(block: bytes, stated: int) -> None:
    """Raise HeaderError unless the bytes have this sum; old archivers added them as signed numbers."""
    total = sum(block) - sum(block[148:156]) + 8 * 32
    if total != stated:
        signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if signed != stated:
            raise HeaderError("its checksum is wrong")


@functools.lru_cache(maxsize=4096)
def _number(field: bytes) -> int:
    """Return a number in octal, or in base 256 as GNU tar writes what is too large for octal."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    text = field.strip(b" \0").partition(b"\0")[0]
    if text and not _OCTAL.fullmatch(text):
        raise HeaderError("a number in its header is not octal")
    return int(text or b"0", 8)


def nanoseconds(seconds: int) -> int:
    """Return a time in nanoseconds."""
    return seconds * _BILLION


def require_time(time: int) -> None:
    """Raise HeaderError for nanoseconds that no file system can keep."""
    if abs(time) >= _MAX_SECONDS * _BILLION:
        raise HeaderError("its time is out of range")


def parse_pax(data: bytes) -> Pax:
    """Return the records of a pax header (POSIX.1-2001, pax "pax Extended Header"); raise HeaderError if it is malformed."""
    records: dict[bytes, bytes] = {}
    xattrs: dict[bytes, bytes] = {}
    sparse: list[tuple[bytes, bytes]] = []
    start = 0
    while start < len(data):
        key, value, start = _record(data, start)
        if key.startswith(_SPARSE):
            sparse.append((key[len(_SPARSE) :], value))
        elif key.startswith(_XATTR):
            xattrs[key[len(_XATTR) :]] = value
        elif key in _ONCE:
            if key in records:
                raise HeaderError(f"its pax record {key.decode()} is there twice")
            if b"\0" in value:
                raise HeaderError(f"its pax record {key.decode()} has a NUL")
            records[key] = value
    return Pax({key: value for key, value in records.items() if value}, xattrs, sparse)


def _record(data: bytes, start: int) -> tuple[bytes, bytes, int]:
    """Return key and value of the record at ``start``, and where the next one starts."""
    match = _LENGTH.match(data, start)
    end = start + int(match.group(1)) if match else 0
    body = data[match.end() : end] if match else b""
    key, equals, value = body.partition(b"=")
    if end > len(data) or not key or not equals or body[-1:] != b"\n":
        raise HeaderError("its pax header is malformed")
    return key, value[:-1], end
