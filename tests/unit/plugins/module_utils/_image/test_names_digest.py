# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content addresses: one spelling, two algorithms."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import DigestError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

PARSED = table("digest", "parse")
VERIFIED = table("digest", "verify")

# What upstream accepts and we refuse.
DEVIATIONS = {
    "sha384:": "registered by nobody: image-spec allows sha256 and sha512 for content",
}

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


def is_refused(case) -> bool:
    return "refused" in case or case["text"].startswith(tuple(DEVIATIONS))


def test_documented_deviations_still_differ_from_upstream():
    for start in DEVIATIONS:
        assert [c for c in PARSED if c["text"].startswith(start) and "refused" not in c]


@pytest.mark.parametrize("case", params([c for c in PARSED if not is_refused(c)], "text"))
def test_a_digest_has_an_algorithm_and_a_value(case):
    digest = Digest.parse(case["text"])
    assert (digest.algorithm, digest.encoded) == (case["algorithm"], case["encoded"])
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize("case", params([c for c in PARSED if is_refused(c)], "text"))
def test_invalid_digest_is_rejected(case):
    with pytest.raises(DigestError) as caught:
        Digest.parse(case["text"])
    assert_tells(caught.value, "invalid-digest", repr(case["text"])[:40])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SHA256[:-1], id="I006-short"),
        pytest.param(SHA256 + "0", id="I006-long"),
        pytest.param(SHA256.upper(), id="I006-upper-case"),
        pytest.param("md5:" + "0" * 32, id="I006-odd-algorithm"),
        pytest.param("sha384:" + "0" * 96, id="M014-sha384"),
        pytest.param("sha256:" + "\u0660" * 64, id="I011-arabic-digits"),
        pytest.param(SHA256 + "\n", id="trailing-newline"),
        pytest.param(" " + SHA256, id="leading-blank"),
        pytest.param("sha256:" + "../" * 21 + "x", id="path"),
        pytest.param("x" * 10_000, id="10000-characters"),
        pytest.param("sha256:" + "0" * 10_000, id="10000-digits"),
        pytest.param(None, id="nothing"),
        pytest.param(7, id="number"),
        pytest.param(["sha256"], id="list"),
        pytest.param(SHA256.encode(), id="bytes"),
    ],
)
def test_only_lower_case_hex_of_the_right_length_is_a_digest(text):
    """I006, M011, M014."""
    with pytest.raises(DigestError) as caught:
        Digest.parse(text)
    assert_tells(caught.value, "invalid-digest", repr(text)[:20])


def test_unsupported_algorithm_is_reported_as_such():
    """M014."""
    with pytest.raises(DigestError, match="the algorithm is unsupported, use sha256 or sha512"):
        Digest.parse("sha384:" + "0" * 96)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["case"]) for c in VERIFIED])
def test_content_is_compared_with_a_digest(case):
    """M013: with the algorithm that the digest names."""
    try:
        matches = Digest.parse(case["digest"]).matches(case["text"].encode())
    except DigestError:
        matches = False
    assert matches == case["matches"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_is_computed_with_either_algorithm(algorithm):
    """M013."""
    digest = Digest.of(b"content", algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}"
    assert digest.matches(b"content") and not digest.matches(b"other")


@pytest.mark.parametrize("text", [SHA256, SHA512], ids=short)
def test_equal_digests_are_one_key(text):
    assert len({Digest.parse(text), Digest.parse(text)}) == 1
    assert sorted([Digest.parse(SHA512), Digest.parse(SHA256)])[0] == Digest.parse(SHA256)
