# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures by identities: a right one is accepted, and each fault alone makes it invalid."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.bundle import bundle_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.cosign import cosign_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureUntrustedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.keyless import (
    keyless_signer,
    require_key_logged,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.keys import key_of_pem
from ansible_collections.lockstep.images.plugins.module_utils._trust.naming import (
    Identity,
    subject_pattern,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.trusted_root import (
    parse_trusted_root,
)
from ansible_collections.lockstep.images.tests.support.signing import (
    b64,
    bundle,
    key,
    payload,
    signed,
    statement,
)
from ansible_collections.lockstep.images.tests.support.sigstore import (
    ISSUER,
    NOW,
    SUBJECT,
    Authority,
    Sigstore,
    chain_entry,
    der_of,
    dsse_body,
    hashed_body,
    log_entry,
    pem_of,
    shown,
)
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

DIGEST = Digest.parse("sha256:" + "1" * 64)
DATA = statement(str(DIGEST))
SIGSTORE, STRANGE = Sigstore(), Sigstore(1)
CERT = SIGSTORE.certificate()
RIGHT = SIGSTORE.bundle(DATA, CERT)
PERIOD = {"start": shown(NOW - 1000), "end": shown(NOW + 1000)}
MATERIAL = "verificationMaterial"


def verify(value=None, subject=SUBJECT, issuer=ISSUER, **root):
    text = json.dumps(RIGHT if value is None else value)
    evidence = bundle_evidence(text.encode(), "sha256:0", "bundle")
    trusted = parse_trusted_root(json.dumps(SIGSTORE.trusted_root(**root)).encode(), "root")
    return keyless_signer(evidence, [Identity(issuer, subject_pattern(subject))], trusted)


def test_right_bundle_proves_signer_and_time():
    assert verify() == (ISSUER, SUBJECT, "2026-01-02T03:04:05Z")


@pytest.mark.parametrize("size", range(1, 9))
def test_entry_is_found_wherever_it_is_in_the_log(size):
    for index in range(size):
        assert verify(SIGSTORE.bundle(DATA, size=size, index=index))


def test_time_stamp_replaces_the_promise_of_the_log():
    assert verify(SIGSTORE.bundle(DATA, promise=False, stamped=True))
    assert verify(SIGSTORE.bundle(DATA, stamped=True))
    with pytest.raises(SignatureInvalidError, match="nothing proves when"):
        verify(SIGSTORE.bundle(DATA, promise=False))


def test_certificate_log_may_have_extensions():
    assert verify(SIGSTORE.bundle(DATA, SIGSTORE.certificate(ct_extensions=b"index")))


@pytest.mark.parametrize(
    "name",
    [x509.RFC822Name("anna@example.com"), x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), b"\x0c\x04anna")],
    ids=["email", "other"],
)  # fmt: skip
def test_every_kind_of_subject_is_read(name):
    found = SIGSTORE.bundle(DATA, SIGSTORE.certificate(subject=None, names=[name]))
    assert verify(found, "anna*").subject.startswith("anna")


@pytest.mark.parametrize(
    ("subject", "issuer"),
    [
        ("https://github.com/acme/shop", ISSUER),
        (SUBJECT[:-1], ISSUER),
        (SUBJECT + "x", ISSUER),
        ("https://github.com/evil/*", ISSUER),
        (SUBJECT, ISSUER + "/"),
        (SUBJECT, "https://token"),
        (SUBJECT, "*"),
    ],
)
def test_another_identity_is_untrusted(subject, issuer):
    assert verify()
    with pytest.raises(SignatureUntrustedError, match="whom the rule does not name"):
        verify(subject=subject, issuer=issuer)


def test_pattern_matches_the_whole_subject():
    assert verify(subject="https://github.com/acme/shop/*@refs/tags/*")
    assert verify(subject="*")


def changed(path, value, base=None):
    found = copy.deepcopy(RIGHT if base is None else base)
    place = found
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


def material(*path):
    return [MATERIAL, "tlogEntries", 0, *path]


def cert(**how):
    """Return a bundle with a certificate that differs."""
    return SIGSTORE.bundle(DATA, SIGSTORE.certificate(**how))


def other_entry(data=DATA, signature=None, pem=None):
    """Return the right bundle with a true entry of something else."""
    own = RIGHT["dsseEnvelope"]["signatures"][0]["sig"]
    raw = base64.b64decode(own)
    body = dsse_body(data, signature or raw, pem or pem_of(CERT))
    return changed(material(), SIGSTORE.entry(body))


PROOF = RIGHT[MATERIAL]["tlogEntries"][0]["inclusionProof"]
ATTACKS = {
    "no certificate": changed([MATERIAL, "certificate"], None, {**RIGHT, MATERIAL: {**RIGHT[MATERIAL], "publicKey": {"hint": "x"}}}),
    "key instead of a certificate": changed([MATERIAL, "certificate"], {"rawBytes": b64(key().der)}),
    "certificate of another sigstore": STRANGE.bundle(DATA),
    "certificate of another signer": changed([MATERIAL, "certificate"], {"rawBytes": b64(der_of(STRANGE.certificate()))}),
    "signed with another key": SIGSTORE.bundle(DATA, by=key("p256", 77)),
    "no log entry": changed([MATERIAL, "tlogEntries"], []),
    "entry of another log": changed(material(), STRANGE.bundle(DATA)[MATERIAL]["tlogEntries"][0]),
    "entry for another payload": other_entry(data=b"{}"),
    "entry for another signature": other_entry(signature=b"abc"),
    "entry for another key": other_entry(pem=key().public.encode()),
    "entry of an unknown kind": changed(material(), SIGSTORE.entry({"kind": "rpm", "apiVersion": "0.0.1", "spec": {}})),
    "entry of another kind than stated": changed(material("kindVersion"), {"kind": "hashedrekord", "version": "0.0.1"}),
    "time changed": changed(material("integratedTime"), str(NOW + 1)),
    "index changed": changed(material("logIndex"), "1"),
    "promise by another log": changed(material("inclusionPromise", "signedEntryTimestamp"), b64(STRANGE.log.sign(b"x"))),
    "no proof": changed(material("inclusionProof"), None),
    "hash changed": changed(material("inclusionProof", "hashes", 0), b64(bytes(32))),
    "hash missing": changed(material("inclusionProof", "hashes"), PROOF["hashes"][:-1]),
    "hash more": changed(material("inclusionProof", "hashes"), [*PROOF["hashes"], b64(bytes(32))]),
    "size changed": changed(material("inclusionProof", "treeSize"), "6"),
    "index of the proof changed": changed(material("inclusionProof", "logIndex"), "2"),
    "root changed": changed(material("inclusionProof", "rootHash"), b64(bytes(32))),
    "checkpoint of another size": changed(material("inclusionProof", "checkpoint", "envelope"), SIGSTORE.checkpoint(6, base64.b64decode(PROOF["rootHash"]))),
    "checkpoint of another root": changed(material("inclusionProof", "checkpoint", "envelope"), SIGSTORE.checkpoint(5, bytes(32))),
    "checkpoint by another key": changed(
        material("inclusionProof", "checkpoint", "envelope"),
        SIGSTORE.checkpoint(5, base64.b64decode(PROOF["rootHash"]), STRANGE.log),
    ),
    "checkpoint without a signature": changed(material("inclusionProof", "checkpoint", "envelope"), PROOF["checkpoint"]["envelope"].partition("\n\n")[0]),
    "no checkpoint": changed(material("inclusionProof", "checkpoint"), None),
    "signed before the certificate": SIGSTORE.bundle(DATA, time=NOW - 61),
    "signed after the certificate": SIGSTORE.bundle(DATA, time=NOW + 541),
    "signed when the log was not valid": SIGSTORE.bundle(DATA, SIGSTORE.certificate(until=NOW + 9999), time=NOW + 1001),
    "certificate in no log": cert(is_logged=False),
    "certificate in another log": cert(logged_by=STRANGE.ct),
    "certificate for servers": cert(usage=ExtendedKeyUsageOID.SERVER_AUTH),
    "certificate of an authority": cert(is_authority=True),
    "certificate without a subject": cert(subject=None, names=[x509.DNSName("example.com"), x509.DNSName("example.org")]),
    "certificate with two subjects": cert(names=[x509.RFC822Name("evil@example.com")]),
    "certificate with an unknown kind of name": cert(subject=None, names=[x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x04anna")]),
    "time stamp of another signature": changed(
        [MATERIAL, "timestampVerificationData"],
        {"rfc3161Timestamps": [{"signedTimestamp": b64(SIGSTORE.timestamp(b"other"))}]},
        SIGSTORE.bundle(DATA, promise=False),
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", ATTACKS.values(), ids=ATTACKS)
def test_every_fault_alone_makes_a_bundle_invalid(value):
    assert verify()
    with pytest.raises(SignatureInvalidError):
        verify(value)


def test_entry_that_is_listed_twice_proves_no_more_than_once():
    entries = [MATERIAL, "tlogEntries"]
    (right,) = RIGHT[MATERIAL]["tlogEntries"]
    wrong = changed(material("integratedTime"), str(NOW + 1))[MATERIAL]["tlogEntries"]
    assert verify(changed(entries, [right, right]))
    for several in (wrong * 2, [*wrong, STRANGE.bundle(DATA)[MATERIAL]["tlogEntries"][0]]):
        with pytest.raises(SignatureInvalidError):
            verify(changed(entries, several))


ROOTS = {
    "another authority": {"certificateAuthorities": [chain_entry([STRANGE.ca.cert], PERIOD)]},
    "authority of the same name": {"certificateAuthorities": [chain_entry([Authority("ca 0", key("p256", 78)).cert], PERIOD)]},
    "authority not valid yet": {"certificateAuthorities": [chain_entry([SIGSTORE.ca.cert], {"start": shown(NOW + 1)})]},
    "authority no longer valid": {"certificateAuthorities": [chain_entry([SIGSTORE.ca.cert], {"start": shown(0), "end": shown(NOW - 1)})]},
    "expired root of a live leaf": {"certificateAuthorities": [chain_entry([Authority("ca 0", SIGSTORE.ca.key, days=-0.5).cert], PERIOD)]},
    "broken chain": {"certificateAuthorities": [chain_entry([SIGSTORE.ca.cert, STRANGE.ca.cert], PERIOD)]},
    "another log": {"tlogs": [log_entry(STRANGE.log, PERIOD)]},
    "no log": {"tlogs": []},
    "log not valid yet": {"tlogs": [log_entry(SIGSTORE.log, {"start": shown(NOW + 1)})]},
    "log no longer valid": {"tlogs": [log_entry(SIGSTORE.log, {"start": shown(0), "end": shown(NOW - 1)})]},
    "another log of certificates": {"ctlogs": [log_entry(STRANGE.ct, PERIOD)]},
    "log of certificates no longer valid": {"ctlogs": [log_entry(SIGSTORE.ct, {"start": shown(0), "end": shown(NOW - 1)})]},
}  # fmt: skip


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
def test_only_the_given_root_counts(root):
    assert verify()
    with pytest.raises(SignatureInvalidError):
        verify(**root)


def test_ends_of_periods_are_included():
    exact = {"start": shown(NOW), "end": shown(NOW)}
    assert verify(tlogs=[log_entry(SIGSTORE.log, exact)], ctlogs=[log_entry(SIGSTORE.ct, exact)])
    assert verify(certificateAuthorities=[chain_entry([SIGSTORE.ca.cert], exact)])


def test_signature_of_cosign_2_has_certificate_and_promise():
    certificate = SIGSTORE.certificate()
    data = payload(str(DIGEST), "a.b/c")
    entry = signed(data, SIGSTORE.signer)
    raw = base64.b64decode(next(iter(entry.annotations.values())))
    log = SIGSTORE.entry(hashed_body(data, raw, pem_of(certificate)), proof=False)
    said = {
        "SignedEntryTimestamp": log["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": log["canonicalizedBody"],
            "integratedTime": NOW,
            "logIndex": 103,
            "logID": base64.b64decode(log["logId"]["keyId"]).hex(),
        },
    }

    def found(**changes):
        notes = {
            **entry.annotations,
            "dev.sigstore.cosign/certificate": pem_of(certificate).decode(),
            "dev.sigstore.cosign/bundle": json.dumps(
                {**said, "Payload": {**said["Payload"], **changes}}
            ),
        }
        layer = Descriptor("x/y", Digest.of(data), len(data), annotations=notes)
        return cosign_evidence(layer, data, "sig")

    trusted = parse_trusted_root(json.dumps(SIGSTORE.trusted_root()).encode(), "root")
    identities = [Identity(ISSUER, subject_pattern(SUBJECT))]
    assert keyless_signer(found(), identities, trusted).subject == SUBJECT
    for change in ({"integratedTime": NOW + 1}, {"logIndex": 1}, {"logID": "00" * 32}):
        with pytest.raises(SignatureInvalidError):
            keyless_signer(found(**change), identities, trusted)


def test_log_can_be_required_for_a_key():
    value = bundle(DATA, key())
    raw = base64.b64decode(value["dsseEnvelope"]["signatures"][0]["sig"])
    public = key_of_pem(key().public.encode())
    trusted = parse_trusted_root(json.dumps(SIGSTORE.trusted_root()).encode(), "root")

    def check(*entries):
        found = changed([MATERIAL, "tlogEntries"], list(entries), value)
        return require_key_logged(
            bundle_evidence(json.dumps(found).encode(), "", "x"), public, trusted
        )

    body = dsse_body(DATA, raw, key().public.encode())
    assert check(SIGSTORE.entry(body)) == "2026-01-02T03:04:05Z"
    assert check(SIGSTORE.entry(body, promise=False)) is None
    for entries in ([], [STRANGE.entry(body)], [SIGSTORE.entry(body, time=NOW + 1001)]):
        with pytest.raises(SignatureInvalidError):
            check(*entries)
