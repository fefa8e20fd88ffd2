# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by GPG as ``skopeo copy --sign-by`` makes them (containers-signature(5)): one signed message each."""

from __future__ import annotations

import functools

from .._image.names import Digest
from .claims import ATOMIC_TYPE, simple_claim
from .errors import SignatureInvalidError
from .evidence import SIMPLE, Evidence
from .gpgv import verify_message
from .openpgp import MAX_CONTENT, signed_content

MAX_MESSAGE = 2 * MAX_CONTENT


def message_evidence(message: bytes, where: str) -> Evidence:
    """Return a signature by GPG as evidence; raise SignatureInvalidError if it is not one signed message."""
    try:
        content = signed_content(message)
    except ValueError as exc:
        raise SignatureInvalidError(f"{where}: {exc}") from exc
    if len(content) > MAX_CONTENT:
        raise SignatureInvalidError(
            f"{where}: signs {len(content)} bytes, at most {MAX_CONTENT} are read"
        )
    return Evidence(
        SIMPLE,
        where,
        str(Digest.of(message)),
        message,
        b"",  # the message has it
        functools.partial(simple_claim, content, where=f"{where}: payload", kind=ATOMIC_TYPE),
        payload=content,
    )


def gpg_signer(ring: bytes, evidence: Evidence) -> str:
    """Return the fingerprint of the key that signed a message; raise SignatureInvalidError if none of the keyring did."""
    if evidence.form != SIMPLE:
        raise SignatureInvalidError(f"{evidence.place}: is not by GPG")
    found = verify_message(ring, evidence.signed, evidence.place)
    if found.content != evidence.payload:
        raise SignatureInvalidError(f"{evidence.place}: gpgv returns other content")
    return found.fingerprint
