# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the log: every kind says for which signature, key and data it is."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._trust.claims import Claim
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.evidence import Evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.rekor import (
    root_hash,
    verify_entry,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.trusted_root import (
    parse_trusted_root,
)
from ansible_collections.lockstep.images.tests.support.signing import b64, key, pae
from ansible_collections.lockstep.images.tests.support.sigstore import (
    Sigstore,
    dsse_body,
    hashed_body,
    tree_path,
    tree_root,
)

SIGSTORE = Sigstore()
ROOT = parse_trusted_root(json.dumps(SIGSTORE.trusted_root()).encode(), "root")
DATA, SIGNATURE, PEM, DER = b'{"a":1}', b"signature", key().public.encode(), key().der
FILE = Evidence("bundle", "x", "", DATA, SIGNATURE, lambda digest: Claim(None, {}))
ENVELOPE = FILE._replace(signed=pae(DATA), payload=DATA)
VERIFIER = {"publicKey": {"rawBytes": b64(DER)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}


def digest_of(data):
    return {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(data).digest())}


def hex_of(data):
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def hashed_2(data=DATA):
    signature = {"content": b64(SIGNATURE), "verifier": VERIFIER}
    spec = {"hashedRekordV002": {"data": digest_of(data), "signature": signature}}
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec}


def dsse_2(data=DATA):
    signature = {"content": b64(SIGNATURE), "verifier": VERIFIER}
    spec = {"dsseV002": {"payloadHash": digest_of(data), "signatures": [signature]}}
    return {"apiVersion": "0.0.2", "kind": "dsse", "spec": spec}


def intoto_2(data=DATA):
    signature = {"sig": b64(b64(SIGNATURE).encode()), "publicKey": b64(PEM)}
    spec = {"content": {"envelope": {"signatures": [signature]}, "payloadHash": hex_of(data)}}
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": spec}


KINDS = {
    "hashedrekord 0.0.1": (hashed_body(DATA, SIGNATURE, PEM), FILE),
    "hashedrekord 0.0.2": (hashed_2(), FILE),
    "hashedrekord 0.0.2 of an envelope": (hashed_2(pae(DATA)), ENVELOPE),
    "dsse 0.0.1": (dsse_body(DATA, SIGNATURE, PEM), ENVELOPE),
    "dsse 0.0.2": (dsse_2(), ENVELOPE),
    "intoto 0.0.2": (intoto_2(), ENVELOPE),
}


def check(body, evidence, der=DER):
    return verify_entry(SIGSTORE.entry(body), evidence, der, ROOT)


@pytest.mark.parametrize(("body", "evidence"), KINDS.values(), ids=KINDS)
def test_entry_is_for_one_signature_key_and_content(body, evidence):
    assert check(body, evidence).time
    with pytest.raises(SignatureInvalidError, match="for another signature"):
        check(body, evidence._replace(signature=b"other"))
    with pytest.raises(SignatureInvalidError, match="for another key"):
        check(body, evidence, key("p256", 1).der)
    other = evidence._replace(signed=b"x", payload=evidence.payload and b"x")
    with pytest.raises(SignatureInvalidError, match="for another content"):
        check(body, other)


@pytest.mark.parametrize("body", [dsse_body(DATA, SIGNATURE, PEM), dsse_2(), intoto_2()])
def test_entry_of_an_envelope_is_not_for_a_file(body):
    with pytest.raises(SignatureInvalidError, match="is for an envelope"):
        check(body, FILE)


def without(body, *path, value=None):
    found = copy.deepcopy(body)
    place = found["spec"]
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


HASHED, DSSE = hashed_body(DATA, SIGNATURE, PEM), dsse_body(DATA, SIGNATURE, PEM)


@pytest.mark.parametrize(
    "body",
    [
        {**HASHED, "spec": 1},
        {**HASHED, "apiVersion": "0.0.9"},
        {**HASHED, "kind": "rekord"},
        without(HASHED, "data"),
        without(HASHED, "data", "hash", "algorithm", value="md5"),
        without(HASHED, "data", "hash", "value", value="A" * 64),
        without(HASHED, "signature", "content"),
        without(HASHED, "signature", "publicKey", "content", value=b64(b"key")),
        without(HASHED, "signature", "publicKey", "content", value=b64(PEM + PEM)),
        without(DSSE, "signatures"),
        without(DSSE, "signatures", value=DSSE["spec"]["signatures"] * 2),
        without(DSSE, "payloadHash"),
        without(hashed_2(), "hashedRekordV002", "data", "algorithm", value="SHA2_512"),
        without(hashed_2(), "hashedRekordV002", "signature", "verifier", value={}),
        without(hashed_2(), "hashedRekordV002", "signature", "verifier", "x509Certificate", value={"rawBytes": b64(DER)}),
    ],
)  # fmt: skip
def test_malformed_entry_is_invalid(body):
    with pytest.raises(SignatureInvalidError):
        check(body, ENVELOPE if body["kind"] == "dsse" else FILE)


def test_checkpoint_that_is_not_text_is_invalid():
    entry = SIGSTORE.entry(HASHED)
    checkpoint = entry["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = f"\ud800{checkpoint['envelope']}"
    with pytest.raises(SignatureInvalidError, match="is not signed by the log"):
        verify_entry(entry, FILE, DER, ROOT)


def test_every_leaf_leads_to_the_root():
    for size in range(1, 20):
        leaves = [hashlib.sha256(bytes([number])).digest() for number in range(size)]
        for index in range(size):
            path = tree_path(leaves, index)
            assert root_hash(leaves[index], index, size, path) == tree_root(leaves)
            assert root_hash(leaves[index], index, size, [*path, bytes(32)]) is None
            assert not path or root_hash(leaves[index], index, size, path[:-1]) is None
    assert root_hash(bytes(32), 1, 1, []) is None
    assert root_hash(bytes(32), 0, 0, []) is None
