# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures as cosign 2 stores them: layers of the tag ``sha256-HEX.sig`` (cosign specs/SIGNATURE_SPEC.md)."""

from __future__ import annotations

import base64
import functools
import re
import typing as t

from .._image.artifacts import COSIGN_PAYLOAD
from .._image.manifest import Descriptor, Manifest, media_type_of
from .._image.names import Digest
from .claims import simple_claim
from .errors import SignatureInvalidError, SignatureListError
from .evidence import COSIGN, Evidence
from .strict import Table, base64_bytes, integer, json_object, member, require_only

MAX_PAYLOAD = 64 * 1024
MOST_SIGNATURES = 50
SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_LOG = "dev.sigstore.cosign/bundle"
_PEM = re.compile(
    "-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\\s*"
)


def signature_tag(digest: Digest) -> str:
    """Return the tag of the signatures of an image."""
    return f"{digest.algorithm}-{digest.encoded}.sig"


def signature_layers(manifest: Manifest, where: str) -> list[Descriptor]:
    """Return the payloads that a manifest lists; other layers are attestations.

    Raise SignatureListError for an index and for more than 50 signatures, SignatureInvalidError for a payload of more
    than 64 KiB.
    """
    if manifest.is_index:
        raise SignatureListError(f"{where}: is an index, expected a manifest with signatures")
    found = [one for one in manifest.layers if media_type_of(one.media_type) == COSIGN_PAYLOAD]
    if len(found) > MOST_SIGNATURES:
        raise SignatureListError(
            f"{where}: has {len(found)} signatures, at most {MOST_SIGNATURES} are read"
        )
    for layer in found:
        if layer.size > MAX_PAYLOAD:
            raise SignatureInvalidError(
                f"{where}: a payload has {layer.size} bytes, at most {MAX_PAYLOAD} are read"
            )
    return found


def cosign_evidence(layer: Descriptor, payload: bytes, where: str) -> Evidence:
    """Return the signature in the annotations of a layer, whose content is ``payload``; raise SignatureInvalidError."""
    place = f"{where}: {str(layer.digest)[:19]}"
    notes = layer.annotations
    signature = base64_bytes(notes.get(SIGNATURE), f"{place}: signature")
    return Evidence(
        COSIGN,
        place,
        str(layer.digest),
        payload,
        signature,
        functools.partial(simple_claim, payload, where=f"{place}: payload"),
        certificate_of(layer, place),
        log_entries_of(layer, place),
    )


def certificate_of(layer: Descriptor, place: str) -> bytes | None:
    """Return the certificate in the annotations of a layer as DER, None for none; raise SignatureInvalidError."""
    text = layer.annotations.get(_CERTIFICATE)
    return _der_of(text, place) if text else None


def log_entries_of(layer: Descriptor, place: str) -> tuple[Table, ...]:
    """Return the log entry in the annotations of a layer, in the form of a bundle; raise SignatureInvalidError."""
    text = layer.annotations.get(_LOG)
    return (_log_entry(text, f"{place}: log entry"),) if text else ()


def _der_of(text: str, place: str) -> bytes:
    match = _PEM.fullmatch(text)
    if not match:
        raise SignatureInvalidError(f"{place}: the certificate is not one PEM block")
    return base64_bytes("".join(match[1].split()), f"{place}: certificate")


def _log_entry(text: str, where: str) -> Table:
    """Return a log entry of cosign 2 in the form of a bundle."""
    found = json_object(text.encode("utf-8", "surrogatepass"), where)
    require_only(found, ("SignedEntryTimestamp", "Payload"), where)
    payload: dict[str, t.Any] = member(found, "Payload", dict, where)
    require_only(payload, ("body", "integratedTime", "logIndex", "logID"), where)
    try:
        log_id = bytes.fromhex(member(payload, "logID", str, where))
    except ValueError as exc:
        raise SignatureInvalidError(f"{where}: logID is not hexadecimal") from exc
    return {
        "logIndex": integer(payload, "logIndex", where),
        "logId": {"keyId": base64.b64encode(log_id).decode("ascii")},
        "integratedTime": integer(payload, "integratedTime", where),
        "inclusionPromise": {"signedEntryTimestamp": found["SignedEntryTimestamp"]},
        "canonicalizedBody": member(payload, "body", str, where),
    }
