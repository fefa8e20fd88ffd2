# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures with certificates that live for minutes: whom they are by, when they were made, and that logs have them."""

from __future__ import annotations

import typing as t

from .._image.dates import Moment
from .._image.errors import printable
from . import der
from .certificates import CODE_SIGNING, Certificate, issuer_at, require_logged
from .errors import SignatureError, SignatureInvalidError, SignatureUntrustedError
from .evidence import Evidence
from .keys import PublicKey
from .naming import Identity
from .rekor import LogEntry, verify_entry
from .timestamps import time_of
from .trusted_root import TrustedRoot, shown_moment

_ISSUER_1, _ISSUER_2 = "1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"
_NAMES, _OTHER_NAME = "2.5.29.17", "1.3.6.1.4.1.57264.1.7"


class Proven(t.NamedTuple):
    """What a certificate proves: issuer and subject of the signer, and the first time that is proven."""

    issuer: str
    subject: str
    time: str


def keyless_signer(
    evidence: Evidence, identities: t.Sequence[Identity], root: TrustedRoot
) -> Proven:
    """Return whom a signature is by.

    Raise SignatureInvalidError unless everything about it is proven, SignatureUntrustedError if it is by another identity.
    """
    found = prove(evidence, root)
    if not any(one.accepts(found.issuer, found.subject) for one in identities):
        raise SignatureUntrustedError(
            f"{evidence.place}: is by {printable(found.subject)} of {printable(found.issuer)}, whom the rule does not name"
        )
    return found


def prove(evidence: Evidence, root: TrustedRoot) -> Proven:
    """Return whom a signature is by, according to its certificate; raise SignatureInvalidError unless that is proven."""
    where = evidence.place
    if evidence.certificate is None:
        raise SignatureInvalidError(f"{where}: has no certificate")
    leaf = Certificate.parse(evidence.certificate, where)
    try:
        entries = logged(evidence, leaf.der, root)
        moments = _moments(evidence, entries, root)
        for entry in entries:
            if not all(entry.log.period.has(moment) for moment in moments):
                raise SignatureInvalidError(f"{where}: the key of its log was not valid then")
        if not leaf.may(CODE_SIGNING) or not leaf.may_sign:
            raise SignatureInvalidError(f"{where}: the certificate is not for signing")
        issuer = issuer_at(leaf, root.authorities, moments, where)
        require_logged(leaf, issuer, root.certificate_logs, where)
        if not leaf.key.verifies(evidence.signature, evidence.signed):
            raise SignatureInvalidError(f"{where}: was not made with the key of its certificate")
        return Proven(*_identity(leaf, where), shown_moment(min(moments)))
    except (IndexError, ValueError, UnicodeDecodeError) as exc:
        raise SignatureInvalidError(f"{where}: the certificate is malformed") from exc


def logged(evidence: Evidence, key_der: bytes, root: TrustedRoot) -> list[LogEntry]:
    """Return the entries that trusted logs have of a signature; raise SignatureInvalidError if there are none."""
    found, failures = [], []
    for entry in evidence.entries:
        try:
            found.append(verify_entry(entry, evidence, key_der, root))
        except SignatureError as exc:
            failures.append(exc)
    if found:
        return found
    raise failures[0] if failures else SignatureInvalidError(f"{evidence.place}: is in no log")


def require_key_logged(evidence: Evidence, key: PublicKey, root: TrustedRoot) -> str | None:
    """Return when a log added a signature by a key, None if it does not sign that; raise SignatureInvalidError if none has it."""
    entries = logged(evidence, key.der, root)
    moments = [entry.time for entry in entries if entry.time]
    for entry in entries:
        if not all(entry.log.period.has(moment) for moment in moments):
            raise SignatureInvalidError(f"{evidence.place}: the key of its log was not valid then")
    return shown_moment(min(moments)) if moments else None


def _moments(evidence: Evidence, entries: t.Sequence[LogEntry], root: TrustedRoot) -> list[Moment]:
    """Return all times that are proven; raise SignatureInvalidError if there is none."""
    found = [entry.time for entry in entries if entry.time]
    failures = []
    for token in evidence.timestamps:
        try:
            found.append(time_of(token, evidence.signature, root.time_authorities, evidence.place))
        except SignatureError as exc:
            failures.append(exc)
    if found:
        return found
    raise (
        failures[0]
        if failures
        else SignatureInvalidError(f"{evidence.place}: nothing proves when it was made")
    )


def _identity(leaf: Certificate, where: str) -> tuple[str, str]:
    """Return issuer and subject in a certificate of Fulcio."""
    new, old = leaf.extension(_ISSUER_2), leaf.extension(_ISSUER_1)
    names = leaf.extension(_NAMES)
    if (new is None and old is None) or names is None or len(list(names.value)) != 1:
        raise SignatureInvalidError(f"{where}: the certificate does not name one signer")
    raw = der.read_one(new.value.value, der.UTF8).body if new else old.value.value
    (name,) = names.value
    value = name.value
    if isinstance(value, bytes):  # otherName
        if name.type_id.dotted_string != _OTHER_NAME:
            raise SignatureInvalidError(
                f"{where}: the certificate names the signer in an unknown way"
            )
        value = der.read_one(value, der.UTF8).body.decode("utf-8")
    if not isinstance(value, str):
        raise SignatureInvalidError(f"{where}: the certificate names the signer in an unknown way")
    return raw.decode("utf-8"), value
