# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CBOR: one form of every value, and nothing else."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.cbor import (
    Tagged,
    decode,
    encode,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.tests.support.notation import Tag, cbor


@pytest.mark.parametrize(
    "value",
    [0, 23, 24, 255, 256, 65535, 65536, 2**32, -1, -38, b"", b"a" * 300, "", "\u00e9", [], [1, [2]], {}, {1: b"a", "b": -2}],
)  # fmt: skip
def test_values_are_read(value):
    assert decode(cbor(value), "x") == value


def test_tags_are_read():
    assert decode(cbor(Tag(18, [Tag(1, 5)])), "x") == Tagged(18, [Tagged(1, 5)])


@pytest.mark.parametrize("value", ["a", b"a" * 70_000, ["Signature1", b"", b"x" * 24]])
def test_text_and_bytes_are_written(value):
    assert encode(value) == cbor(value)


REFUSED = {
    "nothing": b"",
    "more behind": b"\x00\x00",
    "number in a longer form": b"\x18\x17",
    "number in a much longer form": b"\x19\x00\xff",
    "length in a longer form": b"\x58\x01a",
    "truncated number": b"\x19\x01",
    "truncated bytes": b"\x42a",
    "truncated list": b"\x82\x01",
    "reserved length": b"\x1c",
    "indefinite bytes": b"\x5f\x41a\xff",
    "indefinite list": b"\x9f\x01\xff",
    "indefinite map": b"\xbf\x01\x01\xff",
    "true": b"\xf5",
    "null": b"\xf6",
    "float": b"\xf9\x3c\x00",
    "text that is not UTF-8": b"\x61\xff",
    "key twice": b"\xa2\x01\x01\x01\x02",
    "key is bytes": b"\xa1\x41a\x01",
    "key is a list": b"\xa1\x80\x01",
    "huge list": b"\x9a\xff\xff\xff\xff",
    "nested too deeply": b"\x81" * 20 + b"\x00",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused(raw):
    with pytest.raises(SignatureInvalidError, match="x: its CBOR is malformed"):
        decode(raw, "x")
