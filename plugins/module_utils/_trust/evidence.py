# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence: one signature as found, in whichever form it is stored. Nothing of it is trusted."""

from __future__ import annotations

import typing as t

from .._image.names import Digest
from .claims import Claim
from .strict import Table

COSIGN, BUNDLE, SIMPLE, NOTATION = "cosign", "bundle", "simple", "notation"


class Evidence(t.NamedTuple):
    """One signature. ``claim`` parses what was signed, and raises SignatureError unless it is for a digest.

    ``place`` names the signature in messages, and ``digest`` is that of its blob. ``signed`` are the bytes that
    ``signature`` is for. ``certificate`` is DER; ``entries`` are log entries as a bundle has them, and ``timestamps``
    are tokens of RFC 3161. ``needs_proof`` says whether its version requires a proof of inclusion in the log.
    """

    form: str
    place: str
    digest: str
    signed: bytes
    signature: bytes
    claim: t.Callable[[Digest], Claim]
    certificate: bytes | None = None
    entries: tuple[Table, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    needs_proof: bool = False
    payload: bytes | None = None  # of an envelope or a message
    media_type: str = ""  # of an envelope of notation


class Signer(t.NamedTuple):
    """Whom a signature of an image is by: ``by`` is key, identity, gpg or notation, ``signer`` the key or the subject.

    ``issuer`` is that of an identity. ``log`` is the first time that is proven, if the rule requires a log.
    ``predicate_type`` is that of an attestation, None for a signature.
    """

    by: str
    signer: str
    form: str
    digest: str
    signed_as: str | None
    issuer: str | None = None
    log: str | None = None
    predicate_type: str | None = None

    def as_result(self) -> dict[str, t.Any]:
        """Return what a result has of it."""
        return self._asdict()

    def __str__(self) -> str:
        return f"{self.by} {self.signer}" + (f" ({self.issuer})" if self.issuer else "")
