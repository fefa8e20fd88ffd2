# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of what is attached to images: signatures, SBOMs, provenance and other attestations. A type proves nothing."""

from __future__ import annotations

import typing as t

from . import errors
from .names import Digest

SIGNATURE, SBOM, PROVENANCE, ATTESTATION, OTHER = KINDS = (
    "signature",
    "sbom",
    "provenance",
    "attestation",
    "other",
)
# Types of artifacts and of their content. The first one is the start of the types of all versions.
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
NOTATION_SIGNATURE = "application/vnd.cncf.notary.signature"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
STATEMENT = "application/vnd.in-toto+json"
# The type of the configuration, which cosign 3 states in a list of referrers instead of the type of the artifact.
EMPTY = "application/vnd.oci.empty.v1+json"
# Types of predicates; the second one is the start of the types of all versions.
COSIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
SLSA_PROVENANCE = "https://slsa.dev/provenance/"
# The annotations that state the type of a predicate: of a bundle, of an envelope of cosign 2, of a statement of BuildKit.
BUNDLE_NOTE = "dev.sigstore.bundle.predicateType"
ENVELOPE_NOTE = "predicateType"
BUILDKIT_NOTE = "in-toto.io/predicate-type"
# The ends of the tags under which cosign 2 stores what is attached to an image.
COSIGN_TAGS = {".sig": SIGNATURE, ".att": ATTESTATION, ".sbom": SBOM}
# How BuildKit marks, in an index, the manifest with the attestations of an image (BuildKit docs/attestations/attestation-storage.md).
_BUILDKIT_TYPE = ("vnd.docker.reference.type", "attestation-manifest")
_BUILDKIT_SUBJECT = "vnd.docker.reference.digest"
_BUILDKIT_ARTIFACT = "application/vnd.docker.attestation.manifest"

# Starts of types, the first match counts.
_PREDICATES = (
    (COSIGN_PREDICATE, SIGNATURE),
    (SLSA_PROVENANCE, PROVENANCE),
    ("https://spdx.dev/Document", SBOM),
    ("https://cyclonedx.org/", SBOM),
    ("https://syft.dev/bom", SBOM),
)
_TYPES = (
    (COSIGN_PAYLOAD, SIGNATURE),
    ("application/vnd.dev.cosign.artifact.sig.", SIGNATURE),
    (NOTATION_SIGNATURE, SIGNATURE),
    ("application/vnd.dev.cosign.artifact.sbom.", SBOM),
    ("application/spdx", SBOM),
    ("text/spdx", SBOM),
    ("application/vnd.cyclonedx", SBOM),
    ("application/vnd.syft", SBOM),
    ("application/vnd.goharbor.harbor.sbom", SBOM),
    ("application/vnd.in-toto.spdx", SBOM),
    ("application/vnd.in-toto.cyclonedx", SBOM),
    ("application/vnd.in-toto.provenance", PROVENANCE),
    ("application/vnd.in-toto", ATTESTATION),
    (DSSE_ENVELOPE, ATTESTATION),
    (_BUILDKIT_ARTIFACT, ATTESTATION),
)
Notes = t.Mapping[str, str]


def kind_of(predicate_type: str, *types: str) -> str:
    """Return the kind of an attachment, by the type of its predicate, or without one by the first known of other types."""
    if predicate_type:
        return _first(_PREDICATES, predicate_type) or ATTESTATION
    kinds = (_first(_TYPES, one.lower()) for one in types)
    return next(filter(None, kinds), OTHER)


def _first(table: t.Iterable[tuple[str, str]], text: str) -> str | None:
    return next((kind for start, kind in table if text.startswith(start)), None)


def predicate_type_of(notes: Notes) -> str:
    """Return the type of predicate that annotations state, "" for none."""
    return next(filter(None, map(notes.get, (BUNDLE_NOTE, ENVELOPE_NOTE, BUILDKIT_NOTE))), "")


def is_conclusive(artifact_type: str, predicate_type: str) -> bool:
    """Return whether these types say what a referrer is; otherwise its manifest can say more."""
    wrappers = (SIGSTORE_BUNDLE, STATEMENT, DSSE_ENVELOPE, EMPTY, _BUILDKIT_ARTIFACT)
    return bool(predicate_type or (artifact_type and not artifact_type.startswith(wrappers)))


def attestations_subject(notes: Notes) -> Digest | None:
    """Return the digest of the image that an entry of an index has attestations of, None for an entry of another kind."""
    key, value = _BUILDKIT_TYPE
    try:
        return Digest.parse(notes.get(_BUILDKIT_SUBJECT)) if notes.get(key) == value else None
    except errors.DigestError:
        return None
