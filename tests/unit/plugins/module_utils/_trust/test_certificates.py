# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates: what is malformed, and what they may be used for."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust import der
from ansible_collections.lockstep.images.plugins.module_utils._trust.certificates import (
    CODE_SIGNING,
    TIME_STAMPING,
    Certificate,
    issuer_at,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.trusted_root import (
    Chain,
    Period,
    moment_of,
)
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.sigstore import (
    NOW,
    Authority,
    Sigstore,
    der_of,
)

SIGSTORE = Sigstore()
LEAF = Certificate.parse(der_of(SIGSTORE.certificate()), "x")
CA = Certificate.parse(der_of(SIGSTORE.ca.cert), "x")
ALWAYS = Period(moment_of(0))


MALFORMED = {
    "empty": b"",
    "text": b"abc",
    "cut": LEAF.der[:-1],
    "longer": LEAF.der + b"x",
    "key": LEAF.key.der,
}


def rebuilt(version=None, names=None, algorithm=None):
    """Return the certificate of the leaf with another version, alternative names or algorithm of its signature."""
    fields, own, signature = der.read_one(LEAF.der, der.SEQUENCE).children()
    parts = [one.raw for one in fields.children()]
    if version is not None:
        parts[0] = der.encode(0xA0, der.encode(der.INTEGER, bytes([version])))
    if names is not None:
        oid = der.encode(der.OID, der.oid("2.5.29.17"))
        whole = der.read_one(parts[-1], 0xA3).body
        listed = der.read_one(whole, der.SEQUENCE).children()
        added = der.encode(der.SEQUENCE, oid + der.encode(der.OCTETS, names))
        kept = [added if one.body.startswith(oid) else one.raw for one in listed]
        assert added in kept
        parts[-1] = der.encode(0xA3, der.encode(der.SEQUENCE, b"".join(kept)))
    if algorithm is not None:
        parts[2] = der.encode(der.SEQUENCE, der.encode(der.OID, der.oid(algorithm)))
    head = der.encode(der.SEQUENCE, b"".join(parts))
    return der.encode(der.SEQUENCE, head + (parts[2] if algorithm else own.raw) + signature.raw)


MALFORMED["version 5"] = rebuilt(version=4)
# An X.400 address, which the library does not read.
MALFORMED["name of an unsupported kind"] = rebuilt(
    names=der.encode(der.SEQUENCE, der.encode(0xA3, b""))
)


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_malformed_certificate_is_invalid(raw):
    with pytest.raises(SignatureInvalidError):
        Certificate.parse(raw, "x")


def test_key_of_another_kind_is_invalid():
    cert = SIGSTORE.ca.issue(key("p192"), [])
    with pytest.raises(SignatureInvalidError):
        Certificate.parse(der_of(cert), "x")


def test_unknown_algorithm_is_by_no_authority():
    leaf = Certificate.parse(rebuilt(algorithm="1.2.3.4"), "x")
    assert not leaf.is_issued_by(CA)
    assert Certificate.parse(rebuilt(), "x").is_issued_by(CA)


def test_period_and_purpose_are_read():
    assert LEAF.period == Period(moment_of(NOW - 60), moment_of(NOW + 540))
    assert LEAF.may(CODE_SIGNING) and not LEAF.may(TIME_STAMPING)
    assert LEAF.may_sign and not LEAF.is_authority
    assert CA.is_authority and not CA.may(CODE_SIGNING) and not CA.may_sign
    stamping = Certificate.parse(der_of(SIGSTORE.tsa_cert), "x")
    assert stamping.may(TIME_STAMPING, alone=True) and not LEAF.may(CODE_SIGNING, alone=True)


def test_issuer_is_found_by_name_and_signature():
    other = Certificate.parse(der_of(Authority("ca 0", key("p256", 5)).cert), "x")
    assert LEAF.is_issued_by(CA)
    assert not LEAF.is_issued_by(other)
    assert not LEAF.is_issued_by(Certificate.parse(der_of(SIGSTORE.tsa.cert), "x"))


def test_leaf_is_not_an_authority_for_others():
    signer = Authority("leaf", key("p256", 6))
    inner = signer.issue(key("p256", 7), [], signer.name)
    child = Certificate.parse(der_of(inner), "x")
    chain = Chain((der_of(signer.cert),), ALWAYS)
    assert issuer_at(child, [chain], [moment_of(NOW)], "x")
    signer.cert = SIGSTORE.ca.issue(signer.key, [], signer.name)
    with pytest.raises(SignatureInvalidError):
        issuer_at(child, [Chain((der_of(signer.cert),), ALWAYS)], [moment_of(NOW)], "x")


def test_every_moment_must_be_in_every_period():
    chain = Chain((CA.der,), Period(moment_of(NOW - 10), moment_of(NOW + 10)))
    assert issuer_at(LEAF, [chain], [moment_of(NOW)], "x").der == CA.der
    for moment in (NOW - 11, NOW + 11, NOW + 541):
        with pytest.raises(SignatureInvalidError):
            issuer_at(LEAF, [chain], [moment_of(NOW), moment_of(moment)], "x")
