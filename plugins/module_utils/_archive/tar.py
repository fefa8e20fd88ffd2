# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a tar archive: headers, padding and end (POSIX.1-2017, pax, "ustar Interchange Format").

The same arguments give the same bytes on every host: no field comes from the system.
"""

from __future__ import annotations

import typing as t

BLOCK = 512
END = bytes(2 * BLOCK)
FILE, SYMLINK, DIRECTORY = b"0", b"2", b"5"
_LONGEST_NAME = 100


class Form(t.NamedTuple):
    """What a header says beside name and size; ``mtime`` is in seconds, ``kind`` a type flag."""

    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    kind: bytes = FILE
    link: bytes = b""


def header(name: str, size: int) -> bytes:
    """Return what stands before the content of a regular file: one block, or three for a name of over 100 bytes."""
    return entry(name.encode("ascii"), size, Form())


def entry(
    name: bytes, size: int, form: Form, records: t.Mapping[bytes, bytes] | None = None
) -> bytes:
    """Return the header of an entry, after a pax header if ``records`` has any, or a name does not fit.

    The records are sorted by their keys. A number that does not fit into its field is written in base 256.
    """
    found = dict(records or {})
    if len(name) > _LONGEST_NAME:
        found[b"path"] = name
        name = b"long/" if name.endswith(b"/") else b"long"
    if len(form.link) > _LONGEST_NAME:
        found[b"linkpath"] = form.link
        form = form._replace(link=b"long")
    block = _block(name, size, form)
    if not found:
        return block
    data = b"".join(_pax_record(key, found[key]) for key in sorted(found))
    extension = _block(b"pax", len(data), Form(kind=b"x"))
    return b"".join((extension, data, padding(len(data)), block))


def padding(size: int) -> bytes:
    """Return the zeros that fill up the last block of a content of ``size`` bytes."""
    return bytes(-size % BLOCK)


def _block(name: bytes, size: int, form: Form) -> bytes:
    fields = (
        name.ljust(_LONGEST_NAME, b"\0"),
        *(_number(number, 8) for number in (form.mode, form.uid, form.gid)),
        _number(size, 12),
        _number(form.mtime, 12),
        b" " * 8,  # the checksum counts as spaces
        form.kind + form.link.ljust(_LONGEST_NAME, b"\0"),
        b"ustar\x0000".ljust(255, b"\0"),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _number(number: int, width: int) -> bytes:
    """Return a field in octal, or in base 256 if that is too short, as GNU tar and Go write it."""
    if number < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, number)
    return b"\x80" + number.to_bytes(width - 1, "big")


def _pax_record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH key=value`` and a line feed, where the length counts itself (pax Header Block)."""
    rest = len(key) + len(value) + 3
    length = rest
    while length != rest + len(str(length)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
