# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The headers of an archive: what is read, and what is refused because two readers could differ."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.header import (
    HeaderError,
    parse_header,
    parse_pax,
    require_time,
)
from ansible_collections.lockstep.images.tests.support.tarballs import header, pax_records


@pytest.mark.parametrize(
    ("field", "number"),
    [
        (b"0000644\0", 0o644),
        (b"    644 ", 0o644),
        (b"644\0junk", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"\x80\0\0\0\0\0\1\0", 256),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
    ],
)
def test_number_is_octal_or_base_256(field, number):
    assert parse_header(_raw("uid", field)).uid == number


def _raw(field, value):
    offsets = {"uid": (108, 8), "size": (124, 12), "mtime": (136, 12)}
    block = bytearray(header("x"))
    offset, width = offsets[field]
    block[offset : offset + width] = value[:width].ljust(width, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("field", [b"12a\0", b"-1\0", b"1_0\0", b"0x10\0", b"8\0"])
def test_number_that_is_not_octal_is_refused(field):
    with pytest.raises(HeaderError, match="not octal"):
        parse_header(_raw("uid", field))


def test_negative_size_is_refused():
    with pytest.raises(HeaderError, match="negative"):
        parse_header(_raw("size", b"\xff" * 12))


def test_wrong_checksum_is_refused():
    block = bytearray(header("x"))
    block[0] ^= 1
    with pytest.raises(HeaderError, match="checksum"):
        parse_header(bytes(block))


def test_checksum_of_signed_bytes_is_accepted():
    block = bytearray(header("\xe9"))
    block[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % total
    assert parse_header(bytes(block)).name == "\xe9".encode()


def test_prefix_is_only_that_of_posix():
    assert parse_header(header("b", prefix="a")).name == b"a/b"
    assert parse_header(header("b", prefix="a", magic=b"ustar  \0")).name == b"b"


def test_pax_records_are_read():
    found = parse_pax(
        pax_records(
            ("path", "a\nb"), ("size", "7"), ("mtime", "-1.5"), ("SCHILY.xattr.user.x", b"\0")
        )
    )
    assert found.records[b"path"] == b"a\nb"
    assert found.number(b"size") == 7
    assert found.time(b"mtime") == -1_500_000_000
    assert found.xattrs == {b"user.x": b"\0"}


def test_many_pax_records_are_read_without_copies_of_the_rest():
    class Watched(bytes):
        """Bytes that count what is copied of them."""

        copied = 0

        def __getitem__(self, key):
            part = Watched(super().__getitem__(key))  # slices alone are taken
            Watched.copied += len(part)
            return part

    data = Watched(b"7 a=bc\n" * 1000)
    assert parse_pax(data).records == {}
    assert 0 < Watched.copied <= len(data)


def test_empty_pax_value_means_that_the_header_counts():
    assert parse_pax(pax_records(("path", ""))).records == {}


@pytest.mark.parametrize(
    "data",
    [
        b"4 a=\n",
        b"6 a=b",
        b"99 a=b\n",
        b"6 ab \n",
        b"5 =b\n",
        b"0 a=b\n",
        b"+6 a=b\n",
        b"06 a=b\n",
        b"6 a=b\nx",
        pax_records(("path", "a"), ("path", "b")),
        pax_records(("path", "a\0b")),
    ],
)
def test_malformed_pax_header_is_refused(data):
    with pytest.raises(HeaderError):
        parse_pax(data)


@pytest.mark.parametrize("text", ["1e3", "", "0x1", "-5", "٣"])
def test_pax_number_that_is_not_decimal_is_refused(text):
    found = parse_pax(pax_records(("size", text or " ")))
    with pytest.raises(HeaderError, match="not a number"):
        found.number(b"size")


def test_time_that_no_file_system_keeps_is_refused():
    require_time(2**40 * 10**9)
    with pytest.raises(HeaderError, match="out of range"):
        require_time(-(2**60) * 10**9)
