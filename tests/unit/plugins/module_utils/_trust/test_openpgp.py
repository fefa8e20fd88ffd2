# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPGP: packets and armor are read strictly."""

from __future__ import annotations

import zlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.openpgp import (
    armor,
    keyring_of,
    packets_of,
    signed_content,
)
from ansible_collections.lockstep.images.tests.support.gpg import PAYLOAD, keyring, message

PLAIN = message("plain")


def new(tag, *parts):
    """Return a packet with a new header, whose body comes in parts of a power of two, and a last one."""
    sizes = [bytes([0xE0 | (len(part).bit_length() - 1)]) for part in parts[:-1]]
    last = len(parts[-1])
    ends = [bytes([last]) if last < 192 else bytes([(last - 192 >> 8) + 192, last - 192 & 255])]
    return bytes([0xC0 | tag]) + b"".join(size + part for size, part in zip(sizes + ends, parts))


@pytest.mark.parametrize(
    ("raw", "packets"),
    [
        (b"", []),
        (b"\x88\x01a", [(2, b"a")]),
        (b"\x89\x00\x01a\xca\x00", [(2, b"a"), (10, b"")]),
        (b"\x8a\x00\x00\x00\x01a", [(2, b"a")]),
        (b"\xa3abc", [(8, b"abc")]),
        (new(11, b"a" * 512, b"b" * 2, b"c" * 200), [(11, b"a" * 512 + b"bb" + b"c" * 200)]),
        (b"\xcb\xff\x00\x00\x00\x02ab", [(11, b"ab")]),
    ],
)
def test_packets_have_old_and_new_headers(raw, packets):
    assert packets_of(raw) == packets


@pytest.mark.parametrize(
    "raw", [b"\x00", b"{", b"\x88", b"\x88\x02a", b"\x89\x00", b"\xcb", b"\xcb\xc0", b"\xcb\xe3ab", b"\xcb\xff\x00"]
)  # fmt: skip
def test_malformed_packets_are_refused(raw):
    with pytest.raises(ValueError, match=r"is truncated|is not OpenPGP"):
        packets_of(raw)


@pytest.mark.parametrize("name", ["good", "plain", "zlib", "bzip2", "subkey", "revoked"])
def test_content_of_a_signed_message_is_read(name):
    assert signed_content(message(name)) == PAYLOAD


def compressed(method, data):
    return b"\xa3" + method + data


def deflated(data):
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


REFUSED = {
    "empty": b"",
    "JSON": PAYLOAD,
    "two messages, compressed": message("twice"),
    "two messages": message("twice_plain"),
    "literal packet alone": message("literal"),
    "literal packet before a message": message("literal_first"),
    "two signatures": message("both"),
    "clear text": message("cleartext"),
    "signature alone": message("detached"),
    "armor": message("armored"),
    "compressed twice": compressed(b"\2", zlib.compress(compressed(b"\2", zlib.compress(PLAIN)))),
    "compressed, with more behind": compressed(b"\2", zlib.compress(PLAIN) + b"\0"),
    "compressed, truncated": message("good")[:-20],
    "compressed, too large": compressed(b"\1", deflated(PLAIN + bytes(1 << 20))),
    "compressed, corrupt": compressed(b"\2", b"\0" * 40),
    "bzip2, corrupt": compressed(b"\3", b"\0" * 40),
    "compressed in an unknown way": compressed(b"\4", b""),
    "literal without a date": b"\x90\x0d" + bytes(13) + b"\xcb\x03b\x00a" + b"\x88\x00",
    "empty literal": b"\x90\x0d" + bytes(13) + b"\xcb\x00" + b"\x88\x00",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_every_other_message_is_refused(raw):
    assert signed_content(PLAIN) == PAYLOAD
    with pytest.raises(ValueError, match=r"^is "):
        signed_content(raw)


ARMORED = armor(keyring())


@pytest.mark.parametrize(
    "data",
    [
        keyring(),
        ARMORED.encode(),
        ARMORED.replace("\n", "\r\n").encode(),
        ARMORED.replace("BLOCK-----\n\n", "BLOCK-----\nVersion: GnuPG v1\nComment: x\n\n").encode(),
        ARMORED.replace("-----END", "=AbC/\n-----END").encode(),
        b"The key of 2009:\n\n" + ARMORED.encode() + b"\n",
    ],
)
def test_keyring_is_read_with_and_without_armor(data):
    assert keyring_of(data) == keyring()


def test_several_armored_keyrings_are_one():
    text = f"one\n{ARMORED}two\n{armor(keyring('other_ring'))}"
    assert keyring_of(text.encode()) == keyring() + keyring("other_ring")


BAD_RINGS = {
    "empty": (b"", "is not a keyring"),
    "text": (b"hello", "is not OpenPGP"),
    "a message": (message("good"), "is not a keyring"),
    "a signature": (message("detached"), "is not a keyring"),
    "truncated": (keyring()[:-1], "is truncated"),
    "a keybox": (b"\0\0\0\x20\1\1\0\2KBXf" + bytes(30), "is a keybox"),
    "a private key": (b"\x94\x01a" + keyring(), "has a private key"),
    "a private key in armor": (ARMORED.replace("PUBLIC", "PRIVATE").encode(), "has a block PRIVATE KEY BLOCK"),
    "armor without an end": (ARMORED[:-20].encode(), "malformed armor"),
    "armor with other text": (ARMORED.replace("\n\n", "\n\n*").encode(), "malformed armor"),
    "armor that is not base64": (ARMORED.replace("-----END", "A\n-----END").encode(), "malformed armor"),
    "a second block without an end": ((ARMORED + ARMORED[:90]).encode(), "malformed armor"),
    "a public key of PEM": (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not OpenPGP"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message_"), BAD_RINGS.values(), ids=BAD_RINGS)
def test_every_other_keyring_is_refused(data, message_):
    with pytest.raises(ValueError, match=message_):
        keyring_of(data)
