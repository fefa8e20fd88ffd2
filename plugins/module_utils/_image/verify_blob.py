# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify that the bytes of a blob have its size and digest. Every sink does it here, before it keeps a blob."""

from __future__ import annotations

import hashlib
import typing as t

from . import errors
from .manifest import Descriptor


class BlobHash:
    """The hash of a blob, whose bytes come from the first to the last; ``hashed`` of them so far."""

    def __init__(self, blob: Descriptor) -> None:
        self._blob = blob
        self.reset()

    def reset(self) -> None:
        """Start again with the first byte."""
        self.hashed, self._hash = 0, hashlib.new(self._blob.digest.algorithm)

    def update(self, chunk: bytes | memoryview) -> None:
        """Add the next bytes; raise SizeMismatchError for more than the size of the blob."""
        self.hashed += len(chunk)
        if self.hashed > self._blob.size:
            raise errors.SizeMismatchError(
                f"{self._blob.digest} is longer than the {self._blob.size} bytes promised"
            )
        self._hash.update(chunk)

    def require_match(self) -> None:
        """Raise TruncatedError if bytes are missing, DigestMismatchError if the digest is wrong."""
        digest, size = self._blob.digest, self._blob.size
        if self.hashed < size:
            raise errors.TruncatedError(f"{digest} ended after {self.hashed} of {size} bytes")
        got = self._hash.hexdigest()
        if got != digest.encoded:
            raise errors.DigestMismatchError(
                f"{digest}: the {size} bytes received have the digest {digest.algorithm}:{got}"
            )


def verified(chunks: t.Iterable[bytes], descriptor: Descriptor) -> t.Iterator[bytes]:
    """Yield the chunks unchanged; raise a ContentError as soon as size or digest cannot match, at the end at the latest."""
    hashed = BlobHash(descriptor)
    for chunk in chunks:
        hashed.update(chunk)
        yield chunk
    hashed.require_match()
