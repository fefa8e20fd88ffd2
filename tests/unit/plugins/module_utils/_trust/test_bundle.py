# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sigstore bundles: parsed strictly, whichever version."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.bundle import (
    bundle_evidence,
    parse_bundle,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMismatchError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.keys import key_of_pem
from ansible_collections.lockstep.images.tests.support.signing import b64, bundle, key, statement

DIGEST = Digest.parse("sha256:" + "1" * 64)
DATA = statement(str(DIGEST))
RIGHT = bundle(DATA, key())
OLD = "application/vnd.dev.sigstore.bundle+json;version="


def evidence(value=None):
    return bundle_evidence(
        json.dumps(RIGHT if value is None else value).encode(), "sha256:0", "bundle"
    )


def changed(path, value):
    """Return the right bundle with another value at a path, or without it."""
    found = copy.deepcopy(RIGHT)
    place = found
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


def test_bundle_with_a_statement_is_read():
    found = evidence()
    assert (found.form, found.certificate, found.needs_proof) == ("bundle", None, True)
    assert key_of_pem(key().public.encode()).verifies(found.signature, found.signed)
    assert found.claim(DIGEST) == (None, {})
    with pytest.raises(SignatureMismatchError):
        found.claim(Digest.of(b"another"))


@pytest.mark.parametrize(
    ("version", "material", "proof"),
    [
        ("0.1", "x509CertificateChain", False),
        ("0.2", "x509CertificateChain", True),
        ("0.3", "certificate", True),
    ],
)
def test_versions_have_their_form_of_certificate(version, material, proof):
    certificate = {"rawBytes": "YWJj"}
    content = {"certificates": [certificate]} if material != "certificate" else certificate
    found = evidence(
        {**RIGHT, "mediaType": OLD + version, "verificationMaterial": {material: content}}
    )
    assert (found.certificate, found.needs_proof) == (b"abc", proof)


def test_message_signature_is_read_but_is_not_for_an_image():
    value = {key: RIGHT[key] for key in ("mediaType", "verificationMaterial")}
    value["messageSignature"] = {"messageDigest": {"algorithm": "SHA2_256", "digest": "YWJj"}, "signature": "YWJj"}  # fmt: skip
    found = parse_bundle(json.dumps(value).encode(), "x")
    assert (found.signature, found.message_digest, found.payload) == (b"abc", b"abc", None)
    with pytest.raises(SignatureInvalidError, match="signs a file, not an image"):
        evidence(value)
    value["messageSignature"]["messageDigest"]["algorithm"] = "SHA2_512"
    with pytest.raises(SignatureInvalidError, match="not a SHA-256"):
        parse_bundle(json.dumps(value).encode(), "x")


MATERIAL, ENVELOPE = "verificationMaterial", "dsseEnvelope"
SIG = {"sig": RIGHT[ENVELOPE]["signatures"][0]["sig"]}
ATTACKS = {
    "version 0.9": changed(["mediaType"], OLD + "0.9"),
    "no version": changed(["mediaType"], None),
    "unknown key": changed(["more"], 1),
    "unknown material": changed([MATERIAL, "more"], 1),
    "no material": changed([MATERIAL], None),
    "no key": changed([MATERIAL, "publicKey"], None),
    "two keys": changed([MATERIAL, "certificate"], {"rawBytes": "YWJj"}),
    "chain in version 0.3": changed([MATERIAL], {"x509CertificateChain": {"certificates": [{"rawBytes": "YWJj"}]}}),
    "empty chain": {**changed([MATERIAL], {"x509CertificateChain": {"certificates": []}}), "mediaType": OLD + "0.2"},
    "certificate is no base64": changed([MATERIAL], {"certificate": {"rawBytes": "YW Jj"}}),
    "certificate is a text": changed([MATERIAL], {"certificate": "YWJj"}),
    "nine log entries": changed([MATERIAL, "tlogEntries"], [{}] * 9),
    "nine time stamps": changed([MATERIAL, "timestampVerificationData"], {"rfc3161Timestamps": [{"signedTimestamp": "YWJj"}] * 9}),
    "time stamp is no base64": changed([MATERIAL, "timestampVerificationData"], {"rfc3161Timestamps": [{}]}),
    "time stamps are a list": changed([MATERIAL, "timestampVerificationData"], [1]),
    "no signature": changed([ENVELOPE], None),
    "two forms": changed(["messageSignature"], {"signature": "YWJj"}),
    "payload type": changed([ENVELOPE, "payloadType"], "text/plain"),
    "two signatures": changed([ENVELOPE, "signatures"], [SIG, SIG]),
    "no signatures": changed([ENVELOPE, "signatures"], []),
    "payload is no base64": changed([ENVELOPE, "payload"], "=" + b64(DATA)),
    "signature has a line end": changed([ENVELOPE, "signatures"], [{"sig": SIG["sig"] + "\n"}]),
}  # fmt: skip


@pytest.mark.parametrize("raw", [b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x02\x02\x00", b"x"])
def test_chain_with_a_malformed_certificate_is_invalid(raw):
    chain = {"certificates": [{"rawBytes": "YWJj"}, {"rawBytes": b64(raw)}]}
    old = {**changed([MATERIAL], {"x509CertificateChain": chain}), "mediaType": OLD + "0.2"}
    with pytest.raises(SignatureInvalidError):
        evidence(old)


@pytest.mark.parametrize("value", ATTACKS.values(), ids=ATTACKS)
def test_malformed_bundle_is_invalid(value):
    assert evidence()
    with pytest.raises(SignatureInvalidError):
        evidence(value)


def test_double_key_is_invalid():
    raw = json.dumps(RIGHT).replace('"payload":', '"payload": "YWJj", "payload":').encode()
    with pytest.raises(SignatureInvalidError, match="duplicate keys"):
        bundle_evidence(raw, "sha256:0", "bundle")
