# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed data has one meaning only: JSON, base64 and numbers are read strictly."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust import strict
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)


def test_an_object_is_read():
    assert strict.json_object(b'{"a": [1, null]}', "x") == {"a": [1, None]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "a": 2}}',
        b'{"a": NaN}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": 1} {"a": 1}',
        b'{"a": "\xff"}',
        b'{"a": 123456789012345678901}',
        b"[" * 100_000,
    ],
)
def test_ambiguous_json_is_invalid(raw):
    with pytest.raises(SignatureInvalidError):
        strict.json_object(raw, "x")


def test_standard_base64_is_read():
    for data in (b"a", b"ab", b"abc", bytes(range(256))):
        assert strict.base64_bytes(base64.b64encode(data).decode(), "x") == data


@pytest.mark.parametrize(
    "text",
    ["", None, 1, b"YQ==", "YQ", "YQ=", "YQ==\n", "YW\nJj", " YWJj", "YR==", "_-8=", "YQ==YQ=="],
)
def test_every_other_form_of_base64_is_invalid(text):
    with pytest.raises(SignatureInvalidError):
        strict.base64_bytes(text, "x")


@pytest.mark.parametrize(("value", "number"), [(0, 0), (7, 7), ("7", 7), ("007", 7)])
def test_a_number_may_be_text(value, number):
    assert strict.integer({"n": value}, "n", "x") == number


@pytest.mark.parametrize("value", [None, True, -1, "-1", "", "1e3", 1.0, "1" * 19, 10**18, "٣"])
def test_every_other_number_is_invalid(value):
    with pytest.raises(SignatureInvalidError):
        strict.integer({"n": value}, "n", "x")


def test_missing_number_has_the_default():
    assert strict.integer({}, "n", "x", 3) == 3


def test_a_list_is_bounded_and_has_only_objects():
    assert strict.items({}, "a", 1, "x") == strict.items({"a": None}, "a", 1, "x") == []
    assert strict.items({"a": [{}]}, "a", 1, "x") == [{}]
    for value in ("", {}, [1], [{}, {}]):
        with pytest.raises(SignatureInvalidError):
            strict.items({"a": value}, "a", 1, "x")


def test_a_member_has_its_type():
    assert strict.member({"a": "b"}, "a", str, "x") == "b"
    for value in ({}, {"a": None}, {"a": 1}):
        with pytest.raises(SignatureInvalidError):
            strict.member(value, "a", str, "x")
    with pytest.raises(SignatureInvalidError):
        strict.member({"a": True}, "a", int, "x")


def test_exactly_the_known_keys_are_accepted():
    strict.require_only({"a": 1}, ("a",), "x")
    for value in ({}, {"a": 1, "b": 1}, {"A": 1}):
        with pytest.raises(SignatureInvalidError):
            strict.require_only(value, ("a",), "x")
