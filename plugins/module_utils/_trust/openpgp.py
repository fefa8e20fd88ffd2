# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPGP data (RFC 4880): its packets, and the armor of keyrings. Nothing is verified here; gpgv.py does that."""

from __future__ import annotations

import base64
import binascii
import bz2
import re
import typing as t
import zlib

MAX_CONTENT = 64 * 1024
SIGNATURE, SECRET_KEY, ONE_PASS, PUBLIC_KEY, SECRET_SUBKEY, COMPRESSED, LITERAL = 2, 5, 4, 6, 7, 8, 11  # fmt: skip
# Signatures, trust, identities, subkeys and attributes; the first packet is a public key.
_OF_KEYRINGS = (SIGNATURE, PUBLIC_KEY, 12, 13, 14, 17)
_ARMOR = re.compile(
    rb"^-----BEGIN PGP ([A-Z ]+)-----[ \t]*\r?\n"
    rb"((?:[A-Za-z]+: [^\r\n]*\r?\n)*)[ \t]*\r?\n"
    rb"([A-Za-z0-9+/=\r\n]+?)(?:^=[A-Za-z0-9+/]{4}\r?\n)?"
    rb"-----END PGP \1-----",
    re.MULTILINE,
)
_BEGIN = b"-----BEGIN PGP "
_KEYBOX = b"KBXf"


class Packet(t.NamedTuple):
    """A packet: its type (RFC 4880, section 4.3) and its body."""

    tag: int
    body: bytes


def packets_of(raw: bytes) -> list[Packet]:
    """Return the packets of a message or a keyring; raise ValueError if it is malformed."""
    found, at = [], 0
    while at < len(raw):
        first = raw[at]
        if not first & 0x80:
            raise ValueError("is not OpenPGP")
        read = _new_body if first & 0x40 else _old_body
        body, at = read(raw, at)
        found.append(Packet(first & 0x3F if first & 0x40 else first >> 2 & 0x0F, body))
    return found


def _old_body(raw: bytes, at: int) -> tuple[bytes, int]:
    """Return the body of a packet with an old header, and where it ends."""
    width = (1, 2, 4, 0)[raw[at] & 3]
    if not width:  # to the end of the message
        return raw[at + 1 :], len(raw)
    size = int.from_bytes(_part(raw, at + 1, width), "big")
    return _part(raw, at + 1 + width, size), at + 1 + width + size


def _new_body(raw: bytes, at: int) -> tuple[bytes, int]:
    """Return the body of a packet with a new header, which may come in parts, and where it ends."""
    parts, at, is_last = [], at + 1, False
    while not is_last:
        size, at, is_last = _new_size(raw, at)
        parts.append(_part(raw, at, size))
        at += size
    return b"".join(parts), at


def _new_size(raw: bytes, at: int) -> tuple[int, int, bool]:
    """Return the size of a body or of a part of it, where that starts, and whether it is the last one."""
    first = _part(raw, at, 1)[0]
    if first < 192:
        return first, at + 1, True
    if first < 224:
        return (first - 192 << 8) + _part(raw, at + 1, 1)[0] + 192, at + 2, True
    if first < 255:
        return 1 << (first & 0x1F), at + 1, False
    return int.from_bytes(_part(raw, at + 1, 4), "big"), at + 5, True


def _part(raw: bytes, at: int, size: int) -> bytes:
    part = raw[at : at + size]
    if len(part) < size:
        raise ValueError("is truncated")
    return part


def keyring_of(data: bytes) -> bytes:
    """Return the keyring in a file, without armor, as gpgv needs it; raise ValueError, which says why, for any other file.

    A file may have several armored blocks with text between them, as files in /etc/pki/rpm-gpg do.
    """
    if _BEGIN in data:
        data = b"".join(_armored(data))
    if data[8:12] == _KEYBOX:
        raise ValueError("is a keybox; write the keys to a file with gpg --export")
    tags = [packet.tag for packet in packets_of(data)]
    if SECRET_KEY in tags or SECRET_SUBKEY in tags:
        raise ValueError("has a private key")
    if not tags or tags[0] != PUBLIC_KEY or not set(tags) <= set(_OF_KEYRINGS):
        raise ValueError("is not a keyring of public keys")
    return data


def armor(ring: bytes) -> str:
    """Return a keyring as text."""
    text = base64.encodebytes(ring).decode("ascii")
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{text}-----END PGP PUBLIC KEY BLOCK-----\n"


def _armored(data: bytes) -> t.Iterator[bytes]:
    blocks = list(_ARMOR.finditer(data))
    if len(blocks) != data.count(_BEGIN):
        raise ValueError("has malformed armor")
    for block in blocks:
        if block[1] != b"PUBLIC KEY BLOCK":
            raise ValueError(
                f"has a block {block[1].decode('ascii')}, expected PUBLIC KEY BLOCK alone"
            )
        try:
            yield base64.b64decode(b"".join(block[3].split()), validate=True)
        except binascii.Error as exc:
            raise ValueError("has malformed armor") from exc


def signed_content(message: bytes) -> bytes:
    """Return the content of a message that is one signed literal, compressed or not; raise ValueError for any other form.

    So a program that verifies the message has one signature and one content to look at.
    """
    found = packets_of(message)
    if [one.tag for one in found] == [COMPRESSED]:
        found = packets_of(_decompressed(found[0].body))
    tags = [one.tag for one in found]
    if tags not in ([ONE_PASS, LITERAL, SIGNATURE], [SIGNATURE, LITERAL]):
        raise ValueError("is not one signed message")
    body = found[1].body
    start = 6 + body[1] if len(body) > 1 else 0  # format, name with its length, date
    if not start or len(body) < start:
        raise ValueError("is truncated")
    return body[start:]


def _decompressed(body: bytes) -> bytes:
    """Return what a compressed packet has, at most little more than content may have."""
    method, most = body[:1], MAX_CONTENT * 2
    try:
        if method in (b"\1", b"\2"):
            stream: t.Any = zlib.decompressobj(-15 if method == b"\1" else 15)
            data = stream.decompress(body[1:], most)
        elif method == b"\3":
            stream = bz2.BZ2Decompressor()
            data = stream.decompress(body[1:], most)
        else:
            raise ValueError("is compressed in an unknown way")
    except (zlib.error, OSError, EOFError) as exc:
        raise ValueError("is compressed, and corrupt") from exc
    if not stream.eof or stream.unused_data:
        raise ValueError("is compressed, and too large or truncated")
    return bytes(data)
