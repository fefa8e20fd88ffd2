# SPDX-License-Identifier: GPL-3.0-or-later
"""Attestations as cosign 2 stores them: DSSE envelopes, the layers of the tag ``sha256-HEX.att`` (cosign specs/ATTESTATION_SPEC.md)."""

from __future__ import annotations

import functools

from .._image.artifacts import DSSE_ENVELOPE, ENVELOPE_NOTE
from .._image.manifest import Descriptor, Manifest, media_type_of
from .._image.names import Digest
from .bundle import MAX_BUNDLE, envelope_bytes, envelope_parts
from .claims import statement_claim
from .cosign import MOST_SIGNATURES, certificate_of, log_entries_of
from .errors import SignatureInvalidError, SignatureListError
from .evidence import COSIGN, Evidence
from .strict import json_object


def attestation_tag(digest: Digest) -> str:
    """Return the tag of the attestations of an image."""
    return f"{digest.algorithm}-{digest.encoded}.att"


def attestation_layers(manifest: Manifest, predicate_type: str, where: str) -> list[Descriptor]:
    """Return the envelopes that a manifest lists, without those that are listed with another type.

    Raise SignatureListError for an index and for more than 50 envelopes.
    """
    if manifest.is_index:
        raise SignatureListError(f"{where}: is an index, expected a manifest with attestations")
    found = [
        one
        for one in manifest.layers
        if media_type_of(one.media_type) == DSSE_ENVELOPE
        and one.annotations.get(ENVELOPE_NOTE) in (None, predicate_type)
    ]
    if len(found) > MOST_SIGNATURES:
        raise SignatureListError(
            f"{where}: has {len(found)} attestations, at most {MOST_SIGNATURES} are read"
        )
    return found


def require_size(layer: Descriptor, where: str) -> None:
    """Raise SignatureInvalidError for an envelope of more than 4 MiB."""
    if layer.size > MAX_BUNDLE:
        raise SignatureInvalidError(
            f"{where}: has {layer.size} bytes, at most {MAX_BUNDLE} are read"
        )


def envelope_evidence(layer: Descriptor, raw: bytes, where: str) -> Evidence:
    """Return the envelope in a layer as evidence; raise SignatureInvalidError if it is malformed."""
    place = f"{where}: {str(layer.digest)[:19]}"
    signature, _none, payload = envelope_parts(json_object(raw, place), place)
    return Evidence(
        COSIGN,
        place,
        str(layer.digest),
        envelope_bytes(payload),
        signature,
        functools.partial(statement_claim, payload, where=f"{place}: statement"),
        certificate_of(layer, place),
        log_entries_of(layer, place),
        payload=payload,
    )
