# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DER: written as read, and only its shortest form is read."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust import der
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_written_value_is_read(size):
    raw = der.encode(der.OCTETS, b"x" * size)
    assert der.read_one(raw, der.OCTETS) == (der.OCTETS, b"x" * size, raw)


def test_values_are_read_in_order():
    raw = der.encode(der.SEQUENCE, der.encode(der.INTEGER, b"\1") + der.encode(der.UTF8, b"a"))
    first, second = der.read_one(raw, der.SEQUENCE).children()
    assert (first.tag, first.body, second.body) == (der.INTEGER, b"\1", b"a")


@pytest.mark.parametrize(
    "raw",
    ["", "04", "0402ff", "048100", "04817f", "04820001", "0480", "1f01ff", "0485010000000000", "0400ff", "0500", "04820101"],
)  # fmt: skip
def test_everything_else_is_malformed(raw):
    assert der.read_one(bytes.fromhex("0401ff"), der.OCTETS)
    with pytest.raises(SignatureInvalidError):
        der.read_one(bytes.fromhex(raw), der.OCTETS)


@pytest.mark.parametrize(
    ("text", "raw"),
    [("1.2.3", "2a03"), ("2.5.29.17", "551d11"), ("1.3.6.1.4.1.57264.1.8", "2b0601040183bf300108")],
)
def test_object_identifiers_are_written(text, raw):
    assert der.oid(text).hex() == raw
