# SPDX-License-Identifier: GPL-3.0-or-later
"""NaCl secretbox, which cosign encrypts private keys with: XSalsa20 and Poly1305, for small messages."""

from __future__ import annotations

import hmac
import struct
import typing as t

KEY_SIZE, NONCE_SIZE = 32, 24  # bytes
_TAG_SIZE = 16
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
_COLUMNS = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11))
_ROWS = ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))
_PRIME = (1 << 130) - 5
_CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF


def open_secretbox(box: bytes, nonce: bytes, key: bytes) -> bytes | None:
    """Return the message in a box; None if the key is another one or the box was changed."""
    tag, encrypted = box[:_TAG_SIZE], box[_TAG_SIZE:]
    subkey = _hsalsa20(key, nonce[:16])
    stream = _salsa20(subkey, nonce[16:], len(encrypted) + KEY_SIZE)
    if not hmac.compare_digest(_poly1305(stream[:KEY_SIZE], encrypted), tag):
        return None
    return bytes(a ^ b for a, b in zip(encrypted, stream[KEY_SIZE:]))


def _rotated(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def _rounds(block: t.Sequence[int]) -> list[int]:
    """Return the 16 words of a block after 20 rounds (Salsa20 specification, section 6)."""
    x = list(block)
    for _double in range(10):
        for a, b, c, d in (*_COLUMNS, *_ROWS):
            x[b] ^= _rotated(x[a] + x[d], 7)
            x[c] ^= _rotated(x[b] + x[a], 9)
            x[d] ^= _rotated(x[c] + x[b], 13)
            x[a] ^= _rotated(x[d] + x[c], 18)
    return x


def _block(key: bytes, middle: bytes) -> list[int]:
    words, inner = struct.unpack("<8I", key), struct.unpack("<4I", middle)
    one, two, three, four = _CONSTANTS
    return [one, *words[:4], two, *inner, three, *words[4:], four]


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    x = _rounds(_block(key, nonce))
    return struct.pack("<8I", *(x[place] for place in (0, 5, 10, 15, 6, 7, 8, 9)))


def _salsa20(key: bytes, nonce: bytes, length: int) -> bytes:
    stream = b""
    for number in range(-(-length // 64)):
        block = _block(key, nonce + struct.pack("<Q", number))
        words = ((a + b) & 0xFFFFFFFF for a, b in zip(_rounds(block), block))
        stream += struct.pack("<16I", *words)
    return stream[:length]


def _poly1305(key: bytes, message: bytes) -> bytes:
    """Return the authenticator of a message (RFC 8439 2.5)."""
    factor = int.from_bytes(key[:16], "little") & _CLAMP
    total = 0
    for start in range(0, len(message), 16):
        part = message[start : start + 16] + b"\x01"
        total = (total + int.from_bytes(part, "little")) * factor % _PRIME
    total += int.from_bytes(key[16:], "little")
    return (total & ((1 << 128) - 1)).to_bytes(16, "little")
