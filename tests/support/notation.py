# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign images as notation does: chains of certificates, and envelopes as JWS and COSE."""

from __future__ import annotations

import base64
import datetime
import functools
import json
import time
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .signing import Key, b64, key

ARTIFACT = "application/vnd.cncf.notary.signature"
JWS, COSE = "application/jose+json", "application/cose"
PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"
OWN = "io.cncf.notary."
SCHEME, TIME, AUTHENTIC, EXPIRY = (
    f"{OWN}{name}" for name in ("signingScheme", "signingTime", "authenticSigningTime", "expiry")
)
NOW = int(time.time())
DAY = 86400
SUBJECT = (("C", "US"), ("ST", "WA"), ("O", "acme, inc"), ("CN", "builder"))
_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}
_ALGORITHMS = {
    "p256": ("ES256", -7, 32, hashes.SHA256),
    "p384": ("ES384", -35, 48, hashes.SHA384),
    "p521": ("ES512", -36, 66, hashes.SHA512),
    "rsa": ("PS256", -37, 0, hashes.SHA256),
}


def name_of(attributes: t.Iterable[tuple[str, str]]) -> t.Any:
    """Return a subject with these attributes."""
    return x509.Name([x509.NameAttribute(_OIDS[name], value) for name, value in attributes])


def certificate(
    own: Key,
    by: Key,
    subject: t.Any,
    issuer: t.Any,
    is_authority: bool = False,
    length: int | None = None,
    purpose: t.Any = ExtendedKeyUsageOID.CODE_SIGNING,
    since: int = NOW - DAY,
    until: int = NOW + DAY,
) -> t.Any:
    """Return a certificate for a key that another one signs; times are Unix times."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(own.private.public_key())
        .serial_number(7)
        .not_valid_before(_date(since))
        .not_valid_after(_date(until))
        .add_extension(x509.BasicConstraints(is_authority, length), True)
    )
    if purpose is not None and not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    return builder.sign(by.private, hashes.SHA256())


def _date(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)


class Chain(t.NamedTuple):
    """A signer with its certificates up to a root."""

    kind: str
    key: Key
    certificates: tuple[t.Any, ...]

    @property
    def ders(self) -> list[bytes]:
        """The certificates as DER."""
        return [one.public_bytes(serialization.Encoding.DER) for one in self.certificates]

    @property
    def store(self) -> str:
        """The root as a PEM file."""
        return self.certificates[-1].public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[no-any-return]

    def sign(self, data: bytes) -> bytes:
        """Return a signature as both envelopes have it."""
        _name, _label, half, function = _ALGORITHMS[self.kind]
        if not half:
            form = padding.PSS(padding.MGF1(function()), function.digest_size)
            return self.key.private.sign(data, form, function())  # type: ignore[no-any-return]
        numbers = decode_dss_signature(self.key.sign(data, function.name.upper()))
        return b"".join(number.to_bytes(half, "big") for number in numbers)


@functools.cache
def chain(
    kind: str = "p256", subject: tuple[tuple[str, str], ...] = SUBJECT, **leaf: t.Any
) -> Chain:
    """Return a signer with a root and an authority between them; ``leaf`` are options of its certificate."""
    root, middle, own = key("p384", 70), key("p256", 71), key(kind, 72)
    names = [name_of([("CN", text)]) for text in ("root", "middle")]
    return Chain(
        kind,
        own,
        (
            certificate(own, middle, name_of(subject), names[1], **leaf),
            certificate(middle, root, names[1], names[0], True, 0),
            certificate(root, root, names[0], names[0], True),
        ),
    )


def payload(digest: str, size: int, media_type: str, **more: t.Any) -> bytes:
    """Return the payload for an image."""
    target = {"mediaType": media_type, "digest": digest, "size": size, **more}
    return json.dumps({"targetArtifact": target}).encode()


def headers(
    scheme: str = "notary.x509", expiry: int | None = None, **more: t.Any
) -> dict[str, t.Any]:
    """Return protected headers without an algorithm; times are Unix times."""
    of_scheme = TIME if scheme == "notary.x509" else AUTHENTIC
    found: dict[str, t.Any] = {"cty": PAYLOAD, SCHEME: scheme, of_scheme: NOW}
    if expiry is not None:
        found[EXPIRY] = expiry
    found["crit"] = [name for name in (SCHEME, AUTHENTIC, EXPIRY) if name in found]
    return {name: value for name, value in {**found, **more}.items() if value is not None}


def url64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jws(
    data: bytes, by: Chain, given: t.Mapping[str, t.Any] | None = None, **fields: t.Any
) -> bytes:
    """Return an envelope as JWS; ``fields`` replace those of the envelope."""
    protected = {"alg": _ALGORITHMS[by.kind][0], **(headers() if given is None else given)}
    for name in (TIME, AUTHENTIC, EXPIRY):
        if isinstance(protected.get(name), int):
            protected[name] = f"{_date(protected[name]).isoformat()}Z"
    parts = [url64(json.dumps(protected).encode()), url64(data)]
    made = {
        "payload": parts[1],
        "protected": parts[0],
        "header": {"x5c": [b64(one) for one in by.ders], f"{OWN}signingAgent": "test"},
        "signature": url64(by.sign(".".join(parts).encode())),
    }
    return json.dumps({**made, **fields}).encode()


class Tag(t.NamedTuple):
    """A value of CBOR with a tag."""

    number: int
    value: t.Any


def cbor(value: t.Any) -> bytes:
    """Return a value as CBOR."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, Tag):
        return _head(6, value.number) + cbor(value.value)
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(cbor(one) for pair in value.items() for one in pair)
    return _head(4, len(value)) + b"".join(map(cbor, value))


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    low, width = next((24 + n, 1 << n) for n in range(4) if number < 1 << (8 << n))
    return bytes([kind << 5 | low]) + number.to_bytes(width, "big")


def cose(
    data: bytes, by: Chain, given: t.Mapping[str, t.Any] | None = None, **fields: t.Any
) -> bytes:
    """Return an envelope as COSE; ``fields`` replace its parts, and ``tag`` its tag."""
    labels = {"alg": 1, "crit": 2, "cty": 3}
    named = {"alg": _ALGORITHMS[by.kind][1], **(headers() if given is None else given)}
    listed = {
        labels.get(name, name): Tag(1, value) if name in (TIME, AUTHENTIC, EXPIRY) and isinstance(value, int) else value
        for name, value in named.items()
    }  # fmt: skip
    parts = {"protected": cbor(listed), "unprotected": {33: by.ders}, "payload": data}
    signed = cbor(["Signature1", parts["protected"], b"", data])
    parts = {**parts, "signature": by.sign(signed), **fields}
    tag = parts.pop("tag", 18)
    return cbor(Tag(tag, list(parts.values())))  # type: ignore[arg-type]


def rule(by: Chain | None = None, **more: t.Any) -> dict[str, t.Any]:
    """Return what ``notation`` of a rule has, by default for any subject."""
    store = {"text": (by or chain()).store}
    return {"trust_store": store, "identities": ["*"], "revocation": "skip", **more}
