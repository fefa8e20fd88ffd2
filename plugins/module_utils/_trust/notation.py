# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of notation (notaryproject/specifications): envelopes as JWS or COSE, and who signed them."""

from __future__ import annotations

import base64
import functools
import re
import time
import typing as t

from .._image.dates import Moment
from .._image.errors import printable
from .._image.manifest import Descriptor
from .._image.names import Digest
from . import cbor, der
from .certificates import CODE_SIGNING, Certificate
from .claims import Claim
from .errors import SignatureInvalidError, SignatureMismatchError, SignatureUntrustedError
from .evidence import NOTATION, Evidence
from .notation_rule import ATTRIBUTES, REQUIRED, NotationTrust
from .strict import Table, base64_bytes, integer, json_object, member, require_only
from .trusted_root import moment_of

JWS, COSE = "application/jose+json", "application/cose"
MAX_ENVELOPE = 4 * 1024 * 1024
_PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"
_OWN = "io.cncf.notary."
_SCHEME, _TIME, _AUTHENTIC, _EXPIRY = (
    f"{_OWN}{name}" for name in ("signingScheme", "signingTime", "authenticSigningTime", "expiry")
)
_X509, _AUTHORITY = "notary.x509", "notary.x509.signingAuthority"
_MOST_CERTIFICATES = 10
_BASE64URL = re.compile("[A-Za-z0-9_-]*")
_COSE_SIGN1, _EPOCH = 18, 1
_COSE_LABELS = {1: "alg", 2: "crit", 3: "cty"}
_CHAIN = 33  # x5chain
_STAMP = f"{_OWN}timestampSignature"  # an unsigned header of both forms
_COSE_ALGORITHMS = {-7: "ES256", -35: "ES384", -36: "ES512", -37: "PS256", -38: "PS384", -39: "PS512"}  # fmt: skip
# Algorithm, hash, and the bytes of each half of a signature, by the key (signature-specification.md, "Algorithm Selection").
_OF_RSA = {2048: ("PS256", "sha256"), 3072: ("PS384", "sha384"), 4096: ("PS512", "sha512")}
_OF_CURVE = {
    "secp256r1": ("ES256", "sha256", 32),
    "secp384r1": ("ES384", "sha384", 48),
    "secp521r1": ("ES512", "sha512", 66),
}
_DESCRIPTOR = ("mediaType", "digest", "size")
_MORE = ("annotations", "artifactType")


class Envelope(t.NamedTuple):
    """An envelope, parsed. ``headers`` are the protected ones, by their names in JWS; ``chain`` starts with the signer.

    ``is_stamped`` says whether there is a time stamp of the signature (RFC 3161), which nothing reads.
    """

    signed: bytes
    signature: bytes
    payload: bytes
    headers: Table
    chain: tuple[bytes, ...]
    is_stamped: bool


def parse_envelope(raw: bytes, media_type: str, where: str) -> Envelope:
    """Return the envelope in ``raw``; raise SignatureInvalidError, which names ``where``, if it is malformed."""
    readers = {JWS: _jws, COSE: _cose}
    if media_type not in readers:
        raise SignatureInvalidError(
            f"{where}: is of the type {printable(media_type, 60)}, expected {JWS} or {COSE}"
        )
    found = readers[media_type](raw, where)
    if not 0 < len(found.chain) <= _MOST_CERTIFICATES:
        raise SignatureInvalidError(
            f"{where}: has {len(found.chain)} certificates, expected 1 to {_MOST_CERTIFICATES}"
        )
    _require_headers(found.headers, where)
    return found


def _jws(raw: bytes, where: str) -> Envelope:
    top = json_object(raw, where)
    require_only(top, ("payload", "protected", "header", "signature"), where)
    protected, payload, signature = (
        _base64url(member(top, key, str, where), f"{where}: {key}")
        for key in ("protected", "payload", "signature")
    )
    header: Table = member(top, "header", dict, where)
    chain = member(header, "x5c", list, where)
    return Envelope(
        f"{top['protected']}.{top['payload']}".encode("ascii"),
        signature,
        payload,
        json_object(protected, f"{where}: protected"),
        tuple(base64_bytes(one, f"{where}: certificate") for one in chain),
        _STAMP in header,
    )


def _base64url(text: str, where: str) -> bytes:
    """Return the bytes of base64url without padding, in its one form."""
    if _BASE64URL.fullmatch(text) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") == text:
            return data
    raise SignatureInvalidError(f"{where} is not base64url")


def _cose(raw: bytes, where: str) -> Envelope:
    top = cbor.decode(raw, where)
    parts = top.value if isinstance(top, cbor.Tagged) and top.tag == _COSE_SIGN1 else None
    kinds = (bytes, dict, bytes, bytes)
    if not isinstance(parts, list) or [type(one) for one in parts] != list(kinds):
        raise SignatureInvalidError(f"{where}: is not a COSE_Sign1")
    protected, unprotected, payload, signature = parts
    headers = cbor.decode(protected, where)
    if not isinstance(headers, dict) or set(_COSE_LABELS) & set(unprotected):
        raise SignatureInvalidError(f"{where}: its headers are malformed")
    chain = unprotected.get(_CHAIN)
    chain = [chain] if isinstance(chain, bytes) else chain
    if not isinstance(chain, list) or not all(isinstance(one, bytes) for one in chain):
        raise SignatureInvalidError(f"{where}: has no certificates")
    signed = cbor.encode(["Signature1", protected, b"", payload])
    is_stamped = _STAMP in unprotected
    return Envelope(signed, signature, payload, _named(headers, where), tuple(chain), is_stamped)


def _named(headers: t.Mapping[t.Any, t.Any], where: str) -> Table:
    """Return headers of COSE as those of JWS."""
    found: Table = {}
    for label, value in headers.items():
        name = _COSE_LABELS.get(label, str(label)) if isinstance(label, int) else label
        if name in found:
            raise SignatureInvalidError(f"{where}: has a header twice")
        found[name] = _plain(name, value)
    return found


def _plain(name: str, value: t.Any) -> t.Any:
    """Return the value of a header of COSE as in JWS, None if it has another type; times stay numbers."""
    if name == "alg":
        return _COSE_ALGORITHMS.get(value) if isinstance(value, int) else None
    if name in (_TIME, _AUTHENTIC, _EXPIRY):
        is_time = isinstance(value, cbor.Tagged) and value.tag == _EPOCH
        return value.value if is_time else None
    return value


def _require_headers(headers: Table, where: str) -> None:
    """Raise SignatureInvalidError unless the protected headers are known, and the critical ones are listed as such."""
    times = {_X509: _TIME, _AUTHORITY: _AUTHENTIC}
    if headers.get("cty") != _PAYLOAD:
        raise SignatureInvalidError(f"{where}: its payload is of another type than {_PAYLOAD}")
    scheme = member(headers, _SCHEME, str, where)
    if scheme not in times:
        raise SignatureInvalidError(f"{where}: its signing scheme is unknown")
    known = (_SCHEME, times[scheme], _EXPIRY)
    for name in headers:
        if isinstance(name, str) and name.startswith(_OWN) and name not in known:
            raise SignatureInvalidError(f"{where}: has the header {printable(name, 80)}")
    critical = member(headers, "crit", list, where)
    expected = [name for name in (_SCHEME, _AUTHENTIC, _EXPIRY) if name in headers]
    if len(critical) != len(expected) or not all(one in expected for one in critical):
        raise SignatureInvalidError(f"{where}: has other critical headers than it must have")
    if len(set(critical)) != len(critical):
        raise SignatureInvalidError(f"{where}: has a critical header twice")
    for name in known[1:]:
        if name in headers or name != _EXPIRY:
            _moment(headers, name, where)


def _moment(headers: Table, name: str, where: str) -> Moment:
    value = headers.get(name)
    found = Moment.parse(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        found = moment_of(integer(headers, name, where))
    if found is None:
        raise SignatureInvalidError(f"{where}: {name} is not a date")
    return found


def envelope_evidence(raw: bytes, layer: Descriptor, subject: Descriptor, where: str) -> Evidence:
    """Return the envelope of an image as evidence; ``subject`` describes the image, ``layer`` the envelope.

    Raise SignatureInvalidError if it is malformed.
    """
    envelope = parse_envelope(raw, layer.media_type, where)
    claim = functools.partial(payload_claim, envelope.payload, subject, where=f"{where}: payload")
    return Evidence(
        NOTATION,
        where,
        str(layer.digest),
        raw,
        b"",  # the envelope has it
        claim,
        payload=envelope.payload,
        media_type=layer.media_type,
    )


def payload_claim(raw: bytes, subject: Descriptor, digest: Digest, where: str) -> Claim:
    """Return the claims of a payload for an image, which ``subject`` describes.

    Raise SignatureInvalidError if it is malformed, SignatureMismatchError if it is for other content.
    """
    top = json_object(raw, where)
    require_only(top, ("targetArtifact",), where)
    target = member(top, "targetArtifact", dict, where)
    require_only({key: target[key] for key in target if key not in _MORE}, _DESCRIPTOR, where)
    stated = (
        member(target, "mediaType", str, where),
        member(target, "digest", str, where),
        member(target, "size", int, where),
    )
    if subject.digest != digest or stated != (subject.media_type, str(digest), subject.size):
        shown = " ".join(printable(str(one), 100) for one in stated)
        raise SignatureMismatchError(
            f"{where}: is for {shown} bytes, expected {subject.media_type} {digest} {subject.size} bytes"
        )
    annotations = target.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise SignatureInvalidError(f"{where}: annotations are not an object")
    return Claim(None, annotations)


def notation_signer(trust: NotationTrust, evidence: Evidence) -> str:
    """Return the subject of the certificate that signed an envelope.

    Raise SignatureInvalidError unless everything about it is proven, SignatureUntrustedError if the rule does not name its
    authority or its subject.
    """
    where = evidence.place
    if evidence.form != NOTATION:
        raise SignatureInvalidError(f"{where}: is not by notation")
    envelope = parse_envelope(evidence.signed, evidence.media_type, where)
    chain = [Certificate.parse(raw, where) for raw in envelope.chain]
    _require_signed(envelope, chain[0], where)
    _require_chain(chain, where)
    is_authority = envelope.headers[_SCHEME] == _AUTHORITY
    now = moment_of(int(time.time()))
    moment = _moment(envelope.headers, _AUTHENTIC, where) if is_authority else now
    if trust.is_strict:
        if not all(one.period.has(moment) for one in chain):
            # With a trust store of the type tsa, notation would take the time of the stamp instead (trust-store-trust-policy.md).
            unread = ", and its time stamp is not read" if envelope.is_stamped else ""
            raise SignatureInvalidError(
                f"{where}: a certificate is expired or not yet valid{unread}"
            )
        if _EXPIRY in envelope.headers and _moment(envelope.headers, _EXPIRY, where) <= now:
            raise SignatureInvalidError(f"{where}: has expired")
    store = trust.signing_authorities if is_authority else trust.authorities
    if not {one.der for one in store} & {one.der for one in chain}:
        raise SignatureUntrustedError(f"{where}: is by no authority of the rule")
    subject = _subject_of(chain[0], where)
    shown = ", ".join(f"{name}={value}" for name, value in subject.items())
    if not trust.accepts(subject):
        raise SignatureUntrustedError(f"{where}: is by {printable(shown)}, whom the rule does not name")  # fmt: skip
    return printable(shown)


def _require_signed(envelope: Envelope, leaf: Certificate, where: str) -> None:
    """Raise SignatureInvalidError unless the key of the certificate signed, with the algorithm for this key."""
    algorithm, signature, key = envelope.headers.get("alg"), envelope.signature, leaf.key
    if key.curve in _OF_CURVE:
        expected, hashed, half = _OF_CURVE[key.curve]
        is_right = (
            algorithm == expected
            and len(signature) == 2 * half
            and key.verifies(_der_of(signature, half), envelope.signed, [hashed])
        )
    else:
        expected, hashed = _OF_RSA.get(getattr(key.key, "key_size", 0), ("", ""))
        is_right = (
            bool(expected)
            and algorithm == expected
            and key.verifies_pss(signature, envelope.signed, hashed)
        )
    if not is_right:
        raise SignatureInvalidError(f"{where}: was not made with the key of its certificate")


def _der_of(signature: bytes, half: int) -> bytes:
    """Return an ECDSA signature as DER."""
    numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    parts = (
        der.encode(der.INTEGER, one.to_bytes(one.bit_length() // 8 + 1, "big")) for one in numbers
    )
    return der.encode(der.SEQUENCE, b"".join(parts))


def _require_chain(chain: t.Sequence[Certificate], where: str) -> None:
    """Raise SignatureInvalidError unless the chain is complete, up to a root, and its first certificate may sign code."""
    leaf, root = chain[0], chain[-1]
    is_linked = all(
        lower.is_issued_by(upper) and upper.is_authority and upper.may_have_below(number)
        for number, (lower, upper) in enumerate(zip(chain, chain[1:]))
    )
    has_root_inside = any(one.is_issued_by(one) for one in chain[:-1])
    if not is_linked or has_root_inside or not root.is_issued_by(root):
        raise SignatureInvalidError(f"{where}: its certificates are not a whole chain")
    has_purposes = leaf.extension("2.5.29.37") is not None
    if not leaf.may_sign or (has_purposes and not leaf.may(CODE_SIGNING)):
        raise SignatureInvalidError(f"{where}: the certificate is not for signing")


def _subject_of(leaf: Certificate, where: str) -> dict[str, str]:
    """Return the known attributes in the subject of a certificate, each of which it has at most once."""
    found: dict[str, str] = {}
    for part in leaf.cert.subject.rdns:
        attributes = list(part)
        name = ATTRIBUTES.get(attributes[0].oid.dotted_string)
        if len(attributes) != 1 or name in found:
            raise SignatureInvalidError(f"{where}: the subject of its certificate is ambiguous")
        if name:
            found[name] = str(attributes[0].value)
    if not set(REQUIRED) <= set(found):
        raise SignatureInvalidError(
            f"{where}: the subject of its certificate lacks one of {', '.join(REQUIRED)}"
        )
    return found
