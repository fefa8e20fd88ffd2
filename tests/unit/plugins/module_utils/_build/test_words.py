# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes, escapes and variables."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.words import (
    WordError,
    expand,
    flags_of,
    json_words,
    pairs_of,
    words_of,
)

VALUES = {"A": "1", "EMPTY": "", "LONG": "a b"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$A", "1"),
        ("${A}x", "1x"),
        ("$A$A", "11"),
        ("$none", ""),
        ("${none:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${A:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${none:-${A}}", "1"),
        ("${A:?no}", "1"),
        ("'$A'", "$A"),
        ('"$A"', "1"),
        ('"a\\"b\\$A\\x"', 'a"b$A\\x'),
        ("\\$A", "$A"),
        ("a\\ b", "a b"),
        ("a$", "a$"),
        ("$-", "$-"),
        ("x\\", "x\\"),
        ("${LONG}", "a b"),
    ],
)
def test_word_is_expanded(word, expected):
    assert expand(word, VALUES) == expected


@pytest.mark.parametrize(
    "word",
    ["'a", '"a', "${A", "${}", "${A#x}", "${A/x/y}", "${none:?no}", "${A:", "${a:-" * 5000],
)
def test_malformed_word_is_refused(word):
    with pytest.raises(WordError):
        expand(word, VALUES)


def test_document_keeps_its_quotes():
    assert expand("'$A' \"x\" \\n \\$A", VALUES, keeps_quotes=True) == "'1' \"x\" \\n $A"


def test_other_escape_leaves_backslashes():
    assert expand("c:\\$A`$", VALUES, "`") == "c:\\1$"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1 b=2", [("a", "1"), ("b", "2")]),
        ('a="x y" b=c\\ d', [("a", '"x y"'), ("b", "c\\ d")]),
        ("a b c", [("a", "b c")]),
        ("a= b=", [("a", ""), ("b", "")]),
        ("a=b=c", [("a", "b=c")]),
    ],
)
def test_pairs_are_split(text, expected):
    assert pairs_of(text) == expected


@pytest.mark.parametrize("text", ["a", "a=1 b", "=1", "a=1 =2"])
def test_malformed_pairs_are_refused(text):
    with pytest.raises(WordError):
        pairs_of(text)


def test_words_end_at_white_space_outside_quotes():
    assert words_of("a 'b c'  \"d 'e\" f\\ g") == ["a", "'b c'", "\"d 'e\"", "f\\ g"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [('["a", "b"]', ["a", "b"]), ("[]", []), ('["a", 1]', None), ("[a]", None), ("a", None)],
)
def test_list_in_json_is_read(text, expected):
    assert json_words(text) == expected


def test_flags_are_read():
    assert flags_of("--from=a --link x --y") == ({"from": "a", "link": "true"}, "x --y")
    with pytest.raises(WordError, match="twice"):
        flags_of("--a=1 --a=2")
