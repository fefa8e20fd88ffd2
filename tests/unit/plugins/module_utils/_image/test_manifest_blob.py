# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a blob are compared with its size and digest, whatever the chunks that they come in."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
    SizeMismatchError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    BlobHash,
    verified,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.fakes import blob

DATA = b"twelve bytes"
BLOB = blob(DATA)
OTHER = DATA[:-1] + b"S"
WRONG = {
    "no bytes": ([], TruncatedError, "ended after 0 of 12 bytes"),
    "empty chunks": ([b"", b""], TruncatedError, "ended after 0 of 12 bytes"),
    "a byte less": ([DATA[:-1]], TruncatedError, "ended after 11 of 12 bytes"),
    "a byte more": ([DATA + b"x"], SizeMismatchError, "is longer than the 12 bytes promised"),
    "a byte more in a chunk of its own": ([DATA, b"x"], SizeMismatchError, "is longer than the 12"),
    "another byte": ([OTHER], DigestMismatchError, f"have the digest {Digest.of(OTHER)}"),
    "another order": ([DATA[6:], DATA[:6]], DigestMismatchError, "12 bytes received"),
}


@pytest.mark.parametrize("size", [1, 5, 11, 12, 100])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_right_bytes_pass_unchanged(size, algorithm):
    chunks = [DATA[at : at + size] for at in range(0, len(DATA), size)]
    descriptor = BLOB._replace(digest=Digest.of(DATA, algorithm))
    assert list(verified(chunks, descriptor)) == chunks


def test_blob_of_no_bytes_is_right():
    assert list(verified([], blob(b""))) == []


@pytest.mark.parametrize(("chunks", "error", "text"), WRONG.values(), ids=WRONG)
def test_wrong_bytes_are_an_error_that_names_the_digest(chunks, error, text):
    with pytest.raises(error, match=text) as caught:
        list(verified(chunks, BLOB))
    assert str(caught.value).startswith(str(BLOB.digest))


def test_chunk_beyond_the_size_is_never_yielded_and_nothing_after_it_is_read():
    source, passed = iter([DATA, b"x", b"y"]), []
    chunks = verified(source, BLOB)
    passed.append(next(chunks))
    with pytest.raises(SizeMismatchError):
        passed.append(next(chunks))
    assert (passed, list(source)) == ([DATA], [b"y"])


def test_digest_of_another_algorithm_does_not_match():
    descriptor = BLOB._replace(digest=Digest("sha512", "0" * 128))
    with pytest.raises(DigestMismatchError, match=str(Digest.of(DATA, "sha512"))):
        list(verified([DATA], descriptor))


def test_hash_counts_the_bytes_that_it_has_seen():
    hashed = BlobHash(BLOB)
    assert hashed.hashed == 0
    hashed.update(DATA[:5])
    hashed.update(memoryview(DATA)[5:])
    assert hashed.hashed == len(DATA)
    hashed.require_match()


def test_hash_starts_again_after_a_reset():
    hashed = BlobHash(BLOB)
    hashed.update(OTHER)
    with pytest.raises(DigestMismatchError):
        hashed.require_match()
    hashed.reset()
    with pytest.raises(TruncatedError, match="ended after 0 of 12 bytes"):
        hashed.require_match()
    hashed.update(DATA)
    hashed.require_match()


def test_bytes_beyond_the_size_are_not_hashed():
    hashed = BlobHash(BLOB._replace(size=5))
    with pytest.raises(SizeMismatchError, match="is longer than the 5 bytes promised"):
        hashed.update(DATA)
