# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a tar archive: headers, padding and end (POSIX.1-2017, pax, "ustar Interchange Format").

Every field that could differ between two hosts is constant: owner 0, mode 0644, no time.
"""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
_LONGEST_NAME = 100
_OCTAL_LIMIT = 8**11  # bytes; a larger size is written in base 256, as GNU tar and Go do


def header(name: str, size: int) -> bytes:
    """Return what stands before the content of a regular file: one block, or three for a name of over 100 bytes."""
    if len(name) <= _LONGEST_NAME:
        return _block(name, size, b"0")
    record = _pax_record("path", name)
    return b"".join(
        (_block("pax", len(record), b"x"), record, padding(len(record)), _block("long", size, b"0"))
    )


def padding(size: int) -> bytes:
    """Return the zeros that fill up the last block of a content of ``size`` bytes."""
    return bytes(-size % BLOCK)


def _block(name: str, size: int, kind: bytes) -> bytes:
    fields = (
        name.encode("ascii").ljust(_LONGEST_NAME, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,  # mode, user and group
        _size_field(size),
        b"00000000000\0",  # time
        b" " * 8,  # the checksum counts as spaces
        kind.ljust(101, b"\0"),
        b"ustar\x0000".ljust(255, b"\0"),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _size_field(size: int) -> bytes:
    if size < _OCTAL_LIMIT:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


def _pax_record(key: str, value: str) -> bytes:
    """Return ``LENGTH key=value`` and a line feed, where the length counts itself (pax Header Block)."""
    rest = len(f" {key}={value}\n")
    length = rest
    while length != rest + len(str(length)):
        length = rest + len(str(length))
    return f"{length} {key}={value}\n".encode("ascii")
