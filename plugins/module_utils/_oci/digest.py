# SPDX-License-Identifier: GPL-3.0-or-later
"""Content addresses (OCI image-spec v1.1, descriptor.md "Digests")."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import DigestError

# The two algorithms the specification registers and allows for new content. sha384 is in
# go-digest, but no registry stores it: accepting it would only move the error to a later place.
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)


@dataclass(frozen=True, order=True)
class Digest:
    """A verified spelling of a content address: the only thing that becomes a path or a URL."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: t.Any) -> Digest:
        """Read ``algorithm:hex``; raises DigestError unless it is lower-case hex of the right length."""
        if not isinstance(text, str) or ":" not in text:
            raise DigestError(f"digest {_shown(text)} is not of the form algorithm:hex")
        algorithm, encoded = text.split(":", 1)
        length = _LENGTHS.get(algorithm)
        if length is None:
            raise DigestError(
                f"digest {_shown(text)}: algorithm {_shown(algorithm)} is unsupported, use sha256 or sha512"
            )
        if len(encoded) != length or not _HEX.fullmatch(encoded):
            raise DigestError(
                f"digest {_shown(text)}: {algorithm} needs {length} lower-case hexadecimal digits"
            )
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of bytes at hand."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def hasher(self) -> t.Any:
        """A new ``hashlib`` object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, data: bytes) -> bool:
        """Whether ``data`` has this digest."""
        return Digest.of(data, self.algorithm) == self


def _shown(value: t.Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:157] + "..."
