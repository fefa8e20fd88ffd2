# SPDX-License-Identifier: GPL-3.0-or-later
"""Sigstore bundles, which cosign 3 attaches to an image as referrers (cosign specs/BUNDLE_SPEC.md, protobuf-specs 0.5)."""

from __future__ import annotations

import functools
import typing as t

from .._image.artifacts import SIGSTORE_BUNDLE, STATEMENT
from .._image.errors import printable
from . import der
from .claims import statement_claim
from .errors import SignatureInvalidError
from .evidence import BUNDLE, Evidence
from .strict import Table, base64_bytes, items, json_object, member

MAX_BUNDLE = 4 * 1024 * 1024
MOST_ENTRIES = 8
BUNDLE_TYPE = f"{SIGSTORE_BUNDLE}.v0.3+json"
_VERSIONS = {
    f"{SIGSTORE_BUNDLE}+json;version=0.1": "0.1",
    f"{SIGSTORE_BUNDLE}+json;version=0.2": "0.2",
    f"{SIGSTORE_BUNDLE}+json;version=0.3": "0.3",
    BUNDLE_TYPE: "0.3",
}
_VERSION = 0xA0  # of a certificate, as DER
_MATERIAL = (
    "certificate",
    "publicKey",
    "x509CertificateChain",
    "tlogEntries",
    "timestampVerificationData",
)


class Bundle(t.NamedTuple):
    """A bundle, parsed. It has either a message signature or a DSSE envelope; its payload is parsed when it is verified."""

    version: str
    certificate: bytes | None  # DER; None for a public key
    entries: tuple[Table, ...]
    timestamps: tuple[bytes, ...]
    signature: bytes
    message_digest: (
        bytes | None
    )  # the SHA-256 that a message signature states, None if it states none
    payload: bytes | None  # of the envelope, None for a message signature

    @property
    def signed(self) -> bytes:
        """Return the bytes that the signature of the envelope is for."""
        return envelope_bytes(self.payload or b"")


def envelope_bytes(payload: bytes) -> bytes:
    """Return the bytes that the signature of an envelope with a statement is for (DSSE: PAE)."""
    kind = STATEMENT.encode("ascii")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_bundle(raw: bytes, where: str) -> Bundle:
    """Return the bundle in ``raw``; raise SignatureInvalidError, which names ``where``, if it is malformed."""
    top = json_object(raw, where)
    _require_known(top, ("mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope"), where)  # fmt: skip
    version = _VERSIONS.get(member(top, "mediaType", str, where))
    if version is None:
        raise SignatureInvalidError(
            f"{where}: has the media type {printable(repr(top['mediaType']), 100)}, expected a bundle of version 0.1 to 0.3"
        )
    material = member(top, "verificationMaterial", dict, where)
    _require_known(material, _MATERIAL, where)
    stamps = material.get("timestampVerificationData") or {}
    if not isinstance(stamps, dict):
        raise SignatureInvalidError(f"{where}: timestampVerificationData is not an object")
    tokens = items(stamps, "rfc3161Timestamps", MOST_ENTRIES, where)
    forms = [name for name in ("messageSignature", "dsseEnvelope") if top.get(name) is not None]
    if len(forms) != 1:
        raise SignatureInvalidError(
            f"{where}: has {len(forms)} signatures, expected a message signature or a DSSE envelope"
        )
    read = _message if forms == ["messageSignature"] else envelope_parts
    return Bundle(
        version,
        _certificate(material, version, where),
        tuple(items(material, "tlogEntries", MOST_ENTRIES, where)),
        tuple(base64_bytes(one.get("signedTimestamp"), f"{where}: time stamp") for one in tokens),
        *read(member(top, forms[0], dict, where), where),
    )


def _require_known(value: Table, keys: t.Collection[str], where: str) -> None:
    for key in value:
        if key not in keys:
            raise SignatureInvalidError(f"{where}: has the unknown key {printable(repr(key), 60)}")


def _certificate(material: Table, version: str, where: str) -> bytes | None:
    """Return the certificate of the signer; None if a public key is named instead."""
    forms = [name for name in _MATERIAL[:3] if material.get(name) is not None]
    if len(forms) != 1:
        raise SignatureInvalidError(
            f"{where}: names {len(forms)} keys, expected one certificate or public key"
        )
    found = member(material, forms[0], dict, where)
    if forms == ["publicKey"]:
        return None
    if forms == ["x509CertificateChain"]:
        if version == "0.3":
            raise SignatureInvalidError(f"{where}: has a chain, version 0.3 has a certificate")
        chain = items(found, "certificates", MOST_ENTRIES, where)
        if not chain:
            raise SignatureInvalidError(f"{where}: has a chain without certificates")
        found = chain[0]
        for one in chain[1:]:
            if _is_root(base64_bytes(one.get("rawBytes"), f"{where}: certificate")):
                raise SignatureInvalidError(f"{where}: its chain has a root certificate")
    return base64_bytes(found.get("rawBytes"), f"{where}: certificate")


def _is_root(raw: bytes) -> bool:
    """Return whether subject and issuer of a certificate are the same."""
    parts = der.read_one(raw, der.SEQUENCE).children()
    fields = parts[0].require(der.SEQUENCE).children() if parts else []
    start = 1 if fields and fields[0].tag == _VERSION else 0
    if len(fields) < start + 6:
        raise der.malformed()
    return fields[start + 2].raw == fields[start + 4].raw


def _message(value: Table, where: str) -> tuple[bytes, bytes | None, None]:
    digest = value.get("messageDigest")
    stated = None
    if digest is not None:
        if not isinstance(digest, dict) or digest.get("algorithm") != "SHA2_256":
            raise SignatureInvalidError(f"{where}: the digest of the message is not a SHA-256")
        stated = base64_bytes(digest.get("digest"), f"{where}: digest of the message")
    return base64_bytes(value.get("signature"), f"{where}: signature"), stated, None


def envelope_parts(value: Table, where: str) -> tuple[bytes, None, bytes]:
    """Return the signature and the payload of a DSSE envelope, with None for the digest that a message has.

    Raise SignatureInvalidError unless it has a statement and exactly one signature.
    """
    if value.get("payloadType") != STATEMENT:
        raise SignatureInvalidError(
            f"{where}: the payload of the envelope is not an in-toto statement"
        )
    signatures = items(value, "signatures", MOST_ENTRIES, where)
    if len(signatures) != 1:
        raise SignatureInvalidError(
            f"{where}: the envelope has {len(signatures)} signatures, not 1"
        )
    signature = base64_bytes(signatures[0].get("sig"), f"{where}: signature")
    return signature, None, base64_bytes(value.get("payload"), f"{where}: payload")


def bundle_evidence(raw: bytes, digest: str, where: str) -> Evidence:
    """Return the bundle of an image as evidence; raise SignatureInvalidError if it is malformed or signs no statement."""
    bundle = parse_bundle(raw, where)
    if bundle.payload is None:
        raise SignatureInvalidError(f"{where}: signs a file, not an image")
    return Evidence(
        BUNDLE,
        where,
        digest,
        bundle.signed,
        bundle.signature,
        functools.partial(statement_claim, bundle.payload, where=f"{where}: statement"),
        bundle.certificate,
        bundle.entries,
        bundle.timestamps,
        bundle.version != "0.1",
        bundle.payload,
    )
