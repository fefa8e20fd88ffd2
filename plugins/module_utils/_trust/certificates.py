# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates (RFC 5280): chains to a trusted authority at a point in time, and proofs that a log has them (RFC 6962)."""

from __future__ import annotations

import calendar
import hashlib
import typing as t

from .._image.dates import Moment
from . import der
from .errors import SignatureInvalidError
from .keys import MORE_CURVES, Library, PublicKey, library, of_key
from .trusted_root import Chain, Log, Period, moment_of

CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
_SCTS = der.oid("1.3.6.1.4.1.11129.2.4.2")
_EXTENSIONS = 0xA3
_HASHES = ("sha256", "sha384", "sha512")


class Certificate(t.NamedTuple):
    """A certificate: that of the library, its DER form, and its key."""

    cert: t.Any
    der: bytes
    key: PublicKey

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Certificate:
        """Return the certificate in ``raw``; raise SignatureInvalidError if it is malformed or its key is unsupported."""
        known = library()
        der.read_one(raw, der.SEQUENCE)  # before version 36, the library ignores bytes after it
        try:
            cert = known.x509.load_der_x509_certificate(raw)
            key = of_key(cert.public_key(), MORE_CURVES)
            list(cert.extensions)  # parses them
        except _errors(known) as exc:
            raise SignatureInvalidError(f"{where}: the certificate is malformed") from exc
        return cls(cert, raw, key)

    @property
    def period(self) -> Period:
        """Return when the certificate is valid."""
        dates = []
        for name in ("not_valid_before", "not_valid_after"):
            # cryptography 42 has the first of these names, and a later one will lack the second.
            date = getattr(self.cert, f"{name}_utc", None) or getattr(self.cert, name)
            dates.append(moment_of(calendar.timegm(date.timetuple())))
        return Period(*dates)

    def extension(self, dotted: str) -> t.Any:
        """Return an extension by its object identifier, None if there is none."""
        known = library()
        try:
            return self.cert.extensions.get_extension_for_oid(known.x509.ObjectIdentifier(dotted))
        except known.x509.ExtensionNotFound:
            return None

    def is_issued_by(self, issuer: Certificate) -> bool:
        """Return whether an authority has issued this certificate, by name and signature."""
        try:
            function = self.cert.signature_hash_algorithm
        except library().unsupported:
            return False
        names = [function.name] if function is not None else []
        if self.cert.issuer != issuer.cert.subject or not set(names) <= set(_HASHES):
            return False
        return issuer.key.verifies(self.cert.signature, self.cert.tbs_certificate_bytes, names)

    @property
    def is_authority(self) -> bool:
        """Whether the certificate may issue others."""
        basic, usage = self.extension("2.5.29.19"), self.extension("2.5.29.15")
        return bool(basic and basic.value.ca and (usage is None or usage.value.key_cert_sign))

    def may_have_below(self, count: int) -> bool:
        """Return whether so many authorities may be between this authority and a signer."""
        basic = self.extension("2.5.29.19")
        most = basic.value.path_length if basic else None
        return most is None or count <= most

    def may(self, purpose: str, alone: bool = False) -> bool:
        """Return whether the certificate is for a purpose; ``alone``: critically, and for no other."""
        usage = self.extension("2.5.29.37")
        purposes = [one.dotted_string for one in usage.value] if usage else []
        if alone:
            return purposes == [purpose] and bool(usage.critical)
        return purpose in purposes

    @property
    def may_sign(self) -> bool:
        """Whether the key may sign data."""
        usage = self.extension("2.5.29.15")
        return not self.is_authority and (usage is None or bool(usage.value.digital_signature))


def _errors(known: Library) -> tuple[type[Exception], ...]:
    """Return the errors that the library raises for malformed and unsupported certificates."""
    x509 = known.x509
    own = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
    return (ValueError, TypeError, known.unsupported, *own)


def issuer_at(
    leaf: Certificate, chains: t.Sequence[Chain], moments: t.Sequence[Moment], where: str
) -> Certificate:
    """Return the authority that issued a certificate and is trusted, with its whole chain, at all of these moments.

    Raise SignatureInvalidError if there is none.
    """
    if not all(leaf.period.has(moment) for moment in moments):
        raise SignatureInvalidError(f"{where}: the certificate was not valid when it signed")
    for chain in chains:
        above = [Certificate.parse(raw, where) for raw in chain.certificates]
        path = [leaf, *above]
        is_linked = all(
            lower.is_issued_by(upper) and upper.is_authority for lower, upper in zip(path, above)
        )
        periods = [chain.period, *(one.period for one in above)]
        if is_linked and all(one.has(moment) for one in periods for moment in moments):
            return above[0]
    raise SignatureInvalidError(f"{where}: the certificate is by no authority of the trusted root")


# The log of certificates.


def require_logged(
    leaf: Certificate, issuer: Certificate, logs: t.Sequence[Log], where: str
) -> None:
    """Raise SignatureInvalidError unless the certificate has a signature of a trusted log (RFC 6962 3.2)."""
    tbs, stamps = _without_stamps(leaf.der)
    subject = hashlib.sha256(issuer.key.der).digest() + len(tbs).to_bytes(3, "big") + tbs
    for stamp in _stamps(stamps):
        for log in logs:
            if stamp.log_id == log.log_id and log.period.has(moment_of(stamp.time // 1000)):
                head = b"\0\0" + stamp.time.to_bytes(8, "big") + b"\0\1"
                tail = len(stamp.extensions).to_bytes(2, "big") + stamp.extensions
                if log.key.verifies(stamp.signature, head + subject + tail):
                    return
    raise SignatureInvalidError(f"{where}: the certificate is in no log of the trusted root")


class _Stamp(t.NamedTuple):
    log_id: bytes
    time: int  # in milliseconds
    extensions: bytes
    signature: bytes


def _without_stamps(raw: bytes) -> tuple[bytes, bytes]:
    """Return the signed part of a certificate without the stamps of logs in it, and these stamps."""
    fields = der.read_one(raw, der.SEQUENCE).children()[0].require(der.SEQUENCE).children()
    stamps, parts = [], []
    for field in fields:
        if field.tag != _EXTENSIONS:
            parts.append(field.raw)
            continue
        kept = []
        for extension in der.read_one(field.body, der.SEQUENCE).children():
            name, *_critical, value = extension.require(der.SEQUENCE).children()
            if name.require(der.OID).body == _SCTS:
                stamps.append(value.require(der.OCTETS).body)
            else:
                kept.append(extension.raw)
        parts.append(der.encode(_EXTENSIONS, der.encode(der.SEQUENCE, b"".join(kept))))
    inner = der.read_one(stamps[0], der.OCTETS).body if len(stamps) == 1 else b""
    return der.encode(der.SEQUENCE, b"".join(parts)), inner


def _stamps(data: bytes) -> list[_Stamp]:
    """Return the stamps in a list; raise SignatureInvalidError if it is malformed."""
    found = []
    listed, rest = _cut(data, 2) if data else (b"", b"")
    while listed:
        raw, listed = _cut(listed, 2)
        extensions, tail = _cut(raw[41:], 2)
        signature, end = _cut(tail[2:], 2)
        if len(raw) < 43 or raw[0] != 0 or end:
            raise der.malformed()
        found.append(_Stamp(raw[1:33], int.from_bytes(raw[33:41], "big"), extensions, signature))
    if rest:
        raise der.malformed()
    return found


def _cut(data: bytes, width: int) -> tuple[bytes, bytes]:
    """Return the bytes after a length of so many bytes, and the rest."""
    size = int.from_bytes(data[:width], "big")
    if len(data) < width + size:
        raise der.malformed()
    return data[width : width + size], data[width + size :]
