# SPDX-License-Identifier: GPL-3.0-or-later
"""A mapping of digests for very many of them."""

from __future__ import annotations

import typing as t

from .._image.names import Digest

V = t.TypeVar("V")


class ByDigest(t.Mapping[Digest, V]):
    """A value for each digest, in a third of the memory of a dict with digests as its keys."""

    def __init__(self) -> None:
        self._values: dict[bytes, V] = {}

    def __setitem__(self, digest: Digest, value: V) -> None:
        self._values[packed(digest)] = value

    def __getitem__(self, digest: Digest) -> V:
        return self._values[packed(digest)]

    def __iter__(self) -> t.Iterator[Digest]:
        return map(unpacked, self._values)

    def __len__(self) -> int:
        return len(self._values)

    def ordered(self) -> t.Iterator[Digest]:
        """Yield the digests, sorted."""
        return map(unpacked, sorted(self._values, key=lambda raw: (len(raw), raw)))


def packed(digest: Digest) -> bytes:
    """Return a digest in a third of its memory."""
    return bytes.fromhex(digest.encoded)


def unpacked(raw: bytes) -> Digest:
    """Return the digest of which ``packed`` returned these bytes."""
    return Digest("sha256" if len(raw) == 32 else "sha512", raw.hex())
