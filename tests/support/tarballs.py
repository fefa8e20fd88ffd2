# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write tar archives block by block, also such that no archiver would write."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

Text = Union[str, bytes]
MTIME = 1_500_000_000
END = bytes(1024)
FILE, LINK, SYMLINK, CHAR, BLOCK, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"


def raw(text: Text) -> bytes:
    """Return text as the bytes of an archive."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def octal(number: int, width: int) -> bytes:
    """Return a number as a field of a header, in base 256 if octal cannot be."""
    if number < 0:
        return number.to_bytes(width, "big", signed=True)
    if number >= 8 ** (width - 1):
        return b"\x80" + number.to_bytes(width - 1, "big")
    return b"%0*o\0" % (width - 1, number)


def header(
    name: Text,
    kind: Text = FILE,
    size: int = 0,
    *,
    link: Text = b"",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = MTIME,
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: Text = b"",
    **fields: bytes,
) -> bytes:
    """Return a header block; ``fields`` replace the bytes of a field as they are."""
    block = bytearray(512)

    def put(field: str, offset: int, width: int, value: bytes) -> None:
        value = fields.get(field, value)
        block[offset : offset + width] = value[:width].ljust(width, b"\0")

    put("name", 0, 100, raw(name))
    put("mode", 100, 8, octal(mode, 8))
    put("uid", 108, 8, octal(uid, 8))
    put("gid", 116, 8, octal(gid, 8))
    put("size", 124, 12, octal(size, 12))
    put("mtime", 136, 12, octal(mtime, 12))
    put("kind", 156, 1, raw(kind))
    put("link", 157, 100, raw(link))
    put("magic", 257, 8, magic)
    put("major", 329, 8, octal(device[0], 8))
    put("minor", 337, 8, octal(device[1], 8))
    put("prefix", 345, 155, raw(prefix))
    block[148:156] = b" " * 8
    put("checksum", 148, 8, octal(sum(block), 7) + b" ")
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Return data that fills whole blocks."""
    return data + bytes(-len(data) % 512)


def entry(name: Text, data: bytes = b"", kind: Text = FILE, **how: Any) -> bytes:
    """Return an entry with content."""
    return header(name, kind, len(data), **how) + padded(data)


def directory(name: Text, mode: int = 0o755, **how: Any) -> bytes:
    """Return the entry of a directory."""
    return header(name, DIRECTORY, mode=mode, **how)


def symlink(name: Text, target: Text, **how: Any) -> bytes:
    """Return the entry of a symbolic link."""
    return header(name, SYMLINK, link=target, **{"mode": 0o777, **how})


def hardlink(name: Text, target: Text, **how: Any) -> bytes:
    """Return the entry of a hard link."""
    return header(name, LINK, link=target, **how)


def pax(records: Mapping[Text, Text], kind: str = "x") -> bytes:
    """Return a pax header for the next entry."""
    return entry("pax", pax_records(*records.items()), kind)


def pax_records(*records: tuple[Text, Text]) -> bytes:
    """Return the content of a pax header."""
    found = b""
    for key, value in records:
        body = b" %s=%s\n" % (raw(key), raw(value))
        length = len(body) + 1
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        found += b"%d%s" % (length, body)
    return found


def gnu_long(name: Text, kind: str = "L") -> bytes:
    """Return the header of GNU tar for a long name."""
    return entry("././@LongLink", raw(name) + b"\0", kind, magic=b"ustar  \0")


def archive(*entries: bytes) -> bytes:
    """Return an archive of entries."""
    return b"".join(entries) + END


def described(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return everything below a directory: mode, owner, time, and link, device or content; never follow a link."""
    found: dict[str, tuple[Any, ...]] = {}
    groups: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(_below(root))]:
        state = path.lstat()
        what: Any = None
        if stat.S_ISLNK(state.st_mode):
            what = os.readlink(path)
        elif stat.S_ISREG(state.st_mode):
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISCHR(state.st_mode) or stat.S_ISBLK(state.st_mode):
            what = (os.major(state.st_rdev), os.minor(state.st_rdev))
        name = "." if path == root else str(path.relative_to(root))
        first = groups.setdefault((state.st_dev, state.st_ino), name)
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if key != "security.selinux"
        }
        found[name] = (
            stat.filemode(state.st_mode),
            (state.st_uid, state.st_gid),
            state.st_mtime_ns,
            what,
            "" if stat.S_ISDIR(state.st_mode) else first,
            tuple(sorted(xattrs.items())),
        )
    return found


def _below(root: Path) -> list[Path]:
    found = []
    for above, directories, files in os.walk(root):
        found += [Path(above, name) for name in (*directories, *files)]
    return found
