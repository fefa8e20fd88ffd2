# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of cosign 2: which layers are read, within which bounds."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import (
    Descriptor,
    Manifest,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.cosign import (
    cosign_evidence,
    signature_layers,
    signature_tag,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.tests.support.images import index
from ansible_collections.lockstep.images.tests.support.signing import (
    SIGNATURE,
    Signed,
    b64,
    key,
    payload,
    sig_manifest,
    signed,
)

DIGEST = Digest.parse("sha256:" + "1" * 64)
DATA = payload(str(DIGEST), "a.b/c")
GOOD = signed(DATA, key())


def layers(*entries):
    return signature_layers(Manifest.parse(sig_manifest(entries).raw, "", "x"), "tag")


def evidence(**annotations):
    (layer,) = layers(GOOD._replace(annotations={**GOOD.annotations, **annotations}))
    return cosign_evidence(layer, DATA, "tag")


def test_tag_of_signatures():
    assert signature_tag(DIGEST) == f"sha256-{'1' * 64}.sig"


def test_only_payloads_are_signatures():
    other = GOOD._replace(media_type="application/vnd.dsse.envelope.v1+json", data=b"{}")
    found = layers(other, GOOD)
    assert [str(one.digest) for one in found] == [str(Digest.of(DATA))]


def test_signature_is_read():
    found = evidence()
    assert (found.form, found.signed, found.certificate, found.entries) == (
        "cosign",
        DATA,
        None,
        (),
    )
    assert base64.b64encode(found.signature).decode() == GOOD.annotations[SIGNATURE]
    assert found.claim(DIGEST).reference == "a.b/c"


def test_too_many_signatures_are_invalid():
    many = [signed(DATA + b" " * number, key()) for number in range(51)]
    assert len(layers(*many[:50])) == 50
    with pytest.raises(SignatureInvalidError, match="has 51 signatures"):
        layers(*many)


def test_large_payload_is_invalid():
    assert layers(Signed(b" " * 65_536, {}))
    with pytest.raises(SignatureInvalidError, match="65537 bytes"):
        layers(Signed(b" " * 65_537, {}))


def test_an_index_is_invalid():
    with pytest.raises(SignatureInvalidError, match="is an index"):
        signature_layers(Manifest.parse(index([]).raw, "", "x"), "tag")


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
LOG = {"SignedEntryTimestamp": "c2V0", "Payload": {"body": "Ym9keQ==", "integratedTime": 5, "logIndex": 7, "logID": "00ff"}}  # fmt: skip


def test_certificate_and_log_entry_are_read():
    found = evidence(
        **{
            "dev.sigstore.cosign/certificate": CERTIFICATE,
            "dev.sigstore.cosign/bundle": json.dumps(LOG),
        }
    )
    assert found.certificate == b"abc"
    assert found.entries == (
        {
            "logIndex": 7,
            "logId": {"keyId": "AP8="},
            "integratedTime": 5,
            "inclusionPromise": {"signedEntryTimestamp": "c2V0"},
            "canonicalizedBody": "Ym9keQ==",
        },
    )
    assert not found.needs_proof


@pytest.mark.parametrize(
    "annotations",
    [
        {SIGNATURE: ""},
        {SIGNATURE: "###"},
        {SIGNATURE: b64(b"abc") + "\n"},
        {SIGNATURE: "YWJj\nZGVm"},
        {"dev.sigstore.cosign/certificate": "hello"},
        {"dev.sigstore.cosign/certificate": CERTIFICATE * 2},
        {"dev.sigstore.cosign/bundle": "{"},
        {"dev.sigstore.cosign/bundle": "\ud800"},
        {"dev.sigstore.cosign/bundle": json.dumps({**LOG, "more": 1})},
        {"dev.sigstore.cosign/bundle": json.dumps({**LOG, "Payload": {**LOG["Payload"], "logID": "x"}})},
        {"dev.sigstore.cosign/bundle": json.dumps({**LOG, "Payload": {**LOG["Payload"], "integratedTime": -1}})},
        {"dev.sigstore.cosign/bundle": json.dumps({**LOG, "Payload": {"body": ""}})},
    ],
)  # fmt: skip
def test_malformed_annotations_are_invalid(annotations):
    assert evidence()
    with pytest.raises(SignatureInvalidError):
        evidence(**annotations)


def test_missing_signature_is_invalid():
    layer = Descriptor("x/y", Digest.of(DATA), len(DATA))
    with pytest.raises(SignatureInvalidError, match="signature: is not base64"):
        cosign_evidence(layer, DATA, "tag")
