# SPDX-License-Identifier: GPL-3.0-or-later
"""Very many digests, and a mapping of them."""

from __future__ import annotations

import array
import typing as t

from .._image.names import Digest

V = t.TypeVar("V")
_FREE = -1


class Digests:
    """Digests in the order in which they were added. Each has a number, and needs 50 bytes."""

    def __init__(self) -> None:
        self._raw, self._ends = bytearray(), array.array("Q", [0])
        self._slots = array.array("i", [_FREE] * 8)  # a hash table of numbers

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> Digest:
        return unpacked(self._key(number))

    def find(self, digest: Digest) -> int:
        """Return the number of a digest, -1 if it is not there."""
        return self._slots[self._slot(packed(digest))]

    def add(self, digest: Digest) -> int:
        """Return the number of a digest, which is added if it is not there."""
        raw = packed(digest)
        slot = self._slot(raw)
        if self._slots[slot] == _FREE:
            self._slots[slot] = len(self)
            self._raw += raw
            self._ends.append(len(self._raw))
            if len(self) * 3 > len(self._slots) * 2:
                self._grow()
            return len(self) - 1
        return self._slots[slot]

    def ordered(self) -> t.Iterator[Digest]:
        """Yield the digests, sorted."""
        keys = sorted(map(self._key, range(len(self))), key=lambda raw: (len(raw), raw))
        return map(unpacked, keys)

    def _key(self, number: int) -> bytes:
        return bytes(self._raw[self._ends[number] : self._ends[number + 1]])

    def _slot(self, raw: bytes) -> int:
        """Return the slot of a digest, or the free one where it belongs."""
        mask = len(self._slots) - 1
        slot = hash(raw) & mask
        while self._slots[slot] != _FREE and self._key(self._slots[slot]) != raw:
            slot = slot + 1 & mask
        return slot

    def _grow(self) -> None:
        self._slots = array.array("i", [_FREE]) * (2 * len(self._slots))
        for number in range(len(self)):
            self._slots[self._slot(self._key(number))] = number


class ByDigest(t.Mapping[Digest, V]):
    """A value for each digest, in much less memory than a dict with digests as its keys."""

    def __init__(self) -> None:
        self._digests, self._values = Digests(), t.cast("list[V]", [])

    def __setitem__(self, digest: Digest, value: V) -> None:
        number = self._digests.add(digest)
        self._values[number : number + 1] = [value]

    def __getitem__(self, digest: Digest) -> V:
        number = self._digests.find(digest)
        if number == _FREE:
            raise KeyError(digest)
        return self._values[number]

    def __contains__(self, digest: object) -> bool:
        return self._digests.find(t.cast(Digest, digest)) != _FREE

    def __iter__(self) -> t.Iterator[Digest]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._values)

    def ordered(self) -> t.Iterator[Digest]:
        """Yield the digests, sorted."""
        return self._digests.ordered()


def packed(digest: Digest) -> bytes:
    """Return a digest in a third of its memory."""
    return bytes.fromhex(digest.encoded)


def unpacked(raw: bytes) -> Digest:
    """Return the digest of which ``packed`` returned these bytes."""
    return Digest("sha256" if len(raw) == 32 else "sha512", raw.hex())
