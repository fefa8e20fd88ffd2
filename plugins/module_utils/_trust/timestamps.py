# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps (RFC 3161): when a signature existed, by an authority of the trusted root."""

from __future__ import annotations

import hashlib
import re
import typing as t

from .._image.dates import Moment
from . import der
from .certificates import TIME_STAMPING, Certificate, issuer_at
from .errors import SignatureError, SignatureInvalidError
from .trusted_root import Chain

_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
_TST_INFO = der.oid("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE = der.oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = der.oid("1.2.840.113549.1.9.4")
_SIGNING_V1 = der.oid("1.2.840.113549.1.9.16.2.12")
_SIGNING_V2 = der.oid("1.2.840.113549.1.9.16.2.47")
_HASHES = {
    der.oid("2.16.840.1.101.3.4.2.1"): "sha256",
    der.oid("2.16.840.1.101.3.4.2.2"): "sha384",
    der.oid("2.16.840.1.101.3.4.2.3"): "sha512",
}
# What an algorithm of signatures hashes with; others use the hash of the signer.
_SIGNING = {
    der.oid(f"{prefix}.{last}"): name
    for prefix, lasts in (("1.2.840.10045.4.3", (2, 3, 4)), ("1.2.840.113549.1.1", (11, 12, 13)))
    for last, name in zip(lasts, ("sha256", "sha384", "sha512"))
}
_GENERAL = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)((?:\.\d+)?)Z")


class _Token(t.NamedTuple):
    content: bytes  # TSTInfo
    digest: str  # the hash of the signer
    attributes: der.Node
    algorithm: bytes
    signature: bytes


def time_of(raw: bytes, signature: bytes, chains: t.Sequence[Chain], where: str) -> Moment:
    """Return when a time stamp says that ``signature`` existed; raise SignatureInvalidError unless all of it is proven."""
    try:
        token = _token(raw)
        moment = _require_imprint(token.content, signature)
    except (SignatureError, IndexError, ValueError) as exc:
        raise SignatureInvalidError(
            f"{where}: the time stamp is malformed, or of other data"
        ) from exc
    for chain in chains:
        leaf = Certificate.parse(chain.certificates[0], where)
        if not chain.period.has(moment) or not _is_by(token, leaf):
            continue
        above = chain._replace(certificates=chain.certificates[1:] or chain.certificates)
        issuer_at(leaf, [above], [moment], where)
        return moment
    raise SignatureInvalidError(f"{where}: the time stamp is by no authority of the trusted root")


def _token(raw: bytes) -> _Token:
    """Return the only signature in a response, and what it is of."""
    status, content = der.read_one(raw, der.SEQUENCE).children()
    if status.require(der.SEQUENCE).children()[0].body not in (b"\0", b"\1"):
        raise der.malformed()
    kind, inner = content.require(der.SEQUENCE).children()
    if kind.require(der.OID).body != _SIGNED_DATA:
        raise der.malformed()
    _version, _digests, encapsulated, *_optional, signers = der.read_one(
        inner.require(0xA0).body, der.SEQUENCE
    ).children()
    content_type, octets = encapsulated.require(der.SEQUENCE).children()
    if content_type.require(der.OID).body != _TST_INFO:
        raise der.malformed()
    (signer,) = signers.require(der.SET).children()
    _version, _who, digest, attributes, algorithm, signature, *_more = signer.children()
    return _Token(
        der.read_one(octets.require(0xA0).body, der.OCTETS).body,
        _HASHES.get(_algorithm(digest), ""),
        attributes.require(0xA0),
        _algorithm(algorithm),
        signature.require(der.OCTETS).body,
    )


def _algorithm(node: der.Node) -> bytes:
    return node.require(der.SEQUENCE).children()[0].require(der.OID).body


def _require_imprint(content: bytes, signature: bytes) -> Moment:
    """Return the time in a TSTInfo; raise SignatureInvalidError unless it is for these bytes."""
    _version, _policy, imprint, _serial, time, *_more = der.read_one(content, der.SEQUENCE).children()  # fmt: skip
    algorithm, hashed = imprint.require(der.SEQUENCE).children()
    name = _HASHES.get(_algorithm(algorithm))
    match = _GENERAL.fullmatch(time.require(der.TIME).body)
    if not name or not match or hashlib.new(name, signature).digest() != hashed.require(der.OCTETS).body:  # fmt: skip
        raise der.malformed()
    year, month, day, hour, minute, second, fraction = (part.decode("ascii") for part in match.groups())  # fmt: skip
    moment = Moment.parse(f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction}Z")
    if moment is None:
        raise der.malformed()
    return moment


def _is_by(token: _Token, leaf: Certificate) -> bool:
    """Return whether a certificate has signed a token, and the token names it."""
    if not token.digest or not leaf.may(TIME_STAMPING, alone=True) or leaf.is_authority:
        return False
    values: dict[bytes, der.Node] = {}
    for attribute in token.attributes.children():
        name, listed = attribute.require(der.SEQUENCE).children()
        (value,) = listed.require(der.SET).children()
        if values.setdefault(name.body, value) is not value:
            return False
    kind, digest = values.get(_CONTENT_TYPE), values.get(_MESSAGE_DIGEST)
    hashed = hashlib.new(token.digest, token.content).digest()
    if not kind or not digest or kind.body != _TST_INFO or digest.body != hashed:
        return False
    signed = der.encode(der.SET, token.attributes.body)
    function = _SIGNING.get(token.algorithm, token.digest)
    return _names(values, leaf.der) and leaf.key.verifies(token.signature, signed, [function])


def _names(values: t.Mapping[bytes, der.Node], raw: bytes) -> bool:
    """Return whether the attribute signing-certificate has the hash of a certificate (RFC 5816)."""
    old, new = values.get(_SIGNING_V1), values.get(_SIGNING_V2)
    found = new or old
    if found is None:
        return False
    first = found.require(der.SEQUENCE).children()[0].children()[0].children()
    function = "sha256" if new else "sha1"
    if new and first[0].tag == der.SEQUENCE:
        function = _HASHES.get(_algorithm(first.pop(0)), "")
    return bool(function) and first[0].body == hashlib.new(function, raw).digest()
