# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps: each fault alone makes one invalid."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.timestamps import time_of
from ansible_collections.lockstep.images.plugins.module_utils._trust.trusted_root import (
    moment_of,
    parse_trusted_root,
)
from ansible_collections.lockstep.images.tests.support.sigstore import (
    NOW,
    Sigstore,
    chain_entry,
    der_of,
    shown,
    token,
)

SIGSTORE, STRANGE = Sigstore(), Sigstore(1)
CERT = der_of(SIGSTORE.tsa_cert)
PERIOD = {"start": shown(NOW), "end": shown(NOW)}
RIGHT = SIGSTORE.timestamp(b"signature")


def check(raw=RIGHT, signature=b"signature", chain=None):
    entry = chain_entry(chain or [SIGSTORE.tsa_cert, SIGSTORE.tsa.cert], PERIOD)
    root = SIGSTORE.trusted_root(timestampAuthorities=[entry])
    trusted = parse_trusted_root(json.dumps(root).encode(), "root")
    return time_of(raw, signature, trusted.time_authorities, "x")


def test_time_is_proven():
    assert check() == moment_of(NOW)
    assert check(SIGSTORE.timestamp(b"signature", status=b"\1")) == moment_of(NOW)


def made(**how):
    return SIGSTORE.timestamp(b"signature", **how)


ATTACKS = {
    "empty": b"",
    "garbage": b"hello",
    "cut": RIGHT[:-1],
    "refused": made(status=b"\2"),
    "of other bytes": SIGSTORE.timestamp(b"other"),
    "by another authority": STRANGE.timestamp(b"signature"),
    "by another key": token(b"signature", NOW, STRANGE.tsa_key, CERT),
    "names another certificate": made(named=der_of(STRANGE.tsa_cert)),
    "names no certificate": made(names_cert=False),
    "of another type of content": made(content_type="16.1.5"),
    "of another digest": made(digest=bytes(32)),
    "two signers": made(signers=2),
    "no signer": made(signers=0),
    "before the authority": SIGSTORE.timestamp(b"signature", NOW - 1),
    "after the authority": SIGSTORE.timestamp(b"signature", NOW + 1),
}


@pytest.mark.parametrize("raw", ATTACKS.values(), ids=ATTACKS)
def test_every_fault_alone_makes_a_time_stamp_invalid(raw):
    assert check()
    with pytest.raises(SignatureInvalidError):
        check(raw)


def test_certificate_must_be_for_time_stamps_alone():
    plain = SIGSTORE.tsa.issue(SIGSTORE.tsa_key, [], SIGSTORE.tsa.name)
    raw = token(b"signature", NOW, SIGSTORE.tsa_key, der_of(plain))
    with pytest.raises(SignatureInvalidError, match="by no authority"):
        check(raw, chain=[plain, SIGSTORE.tsa.cert])


def test_certificate_must_have_been_valid():
    old = SIGSTORE.tsa.issue(SIGSTORE.tsa_key, list(stamping()), SIGSTORE.tsa.name, until=NOW - 1)
    raw = token(b"signature", NOW, SIGSTORE.tsa_key, der_of(old))
    with pytest.raises(SignatureInvalidError, match="was not valid"):
        check(raw, chain=[old, SIGSTORE.tsa.cert])


def stamping():
    """Yield the extensions of a certificate for time stamps."""
    for extension in SIGSTORE.tsa_cert.extensions:
        yield extension.value, extension.critical


def test_certificate_must_be_by_the_authority_of_the_root():
    raw = token(b"signature", NOW, SIGSTORE.tsa_key, CERT)
    with pytest.raises(SignatureInvalidError, match="by no authority"):
        check(raw, chain=[SIGSTORE.tsa_cert, STRANGE.tsa.cert])


def test_root_without_authorities_accepts_none():
    with pytest.raises(SignatureInvalidError, match="by no authority"):
        time_of(RIGHT, b"signature", (), "x")
