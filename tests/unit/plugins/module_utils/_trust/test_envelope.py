# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Envelopes under the tag .att: which layers are read, within which bounds."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.artifacts import (
    DSSE_ENVELOPE,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Manifest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.envelope import (
    attestation_layers,
    attestation_tag,
    envelope_evidence,
    require_size,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureListError,
    SignatureMismatchError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.keys import key_of_pem
from ansible_collections.lockstep.images.tests.support.images import index
from ansible_collections.lockstep.images.tests.support.signing import (
    Signed,
    attestation,
    envelope,
    key,
    sig_manifest,
    statement,
)

DIGEST = Digest.parse("sha256:" + "1" * 64)
KIND = "https://slsa.dev/provenance/v1"
GOOD = attestation(statement(str(DIGEST), KIND), key(), KIND)


def layers(*entries):
    return attestation_layers(Manifest.parse(sig_manifest(entries).raw, "", "x"), KIND, "tag")


def test_tag_of_attestations():
    assert attestation_tag(DIGEST) == f"sha256-{'1' * 64}.att"


def test_layers_with_another_type_are_not_read():
    other = GOOD._replace(annotations={"predicateType": "https://spdx.dev/Document"})
    unstated = Signed(b"{}", {}, DSSE_ENVELOPE)
    signature = Signed(b"{}", {"predicateType": KIND})
    found = layers(other, GOOD, unstated, signature)
    assert [str(one.digest) for one in found] == [str(Digest.of(one.data)) for one in (GOOD, unstated)]  # fmt: skip


def test_index_and_too_many_envelopes_are_errors():
    with pytest.raises(SignatureListError, match="has 51 attestations"):
        layers(*[GOOD] * 51)
    with pytest.raises(SignatureListError, match="is an index"):
        attestation_layers(Manifest.parse(index([]).raw, "", "x"), KIND, "tag")


def test_size_is_bounded():
    (layer,) = layers(GOOD)
    require_size(layer, "tag")


def test_envelope_is_read():
    (layer,) = layers(GOOD)
    found = envelope_evidence(layer, GOOD.data, "tag")
    public = key_of_pem(key().public.encode())
    assert public.verifies(found.signature, found.signed)
    assert json.loads(found.payload)["predicateType"] == KIND
    with pytest.raises(SignatureMismatchError, match="an attestation of the type"):
        found.claim(DIGEST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"payloadType": "text/plain"}, "is not an in-toto statement"),
        ({"signatures": []}, "has 0 signatures, not 1"),
        ({"signatures": [{"sig": "AAAA"}] * 2}, "has 2 signatures, not 1"),
        ({"payload": "?"}, "is not base64"),
    ],
)
def test_malformed_envelope_is_invalid(change, message):
    (layer,) = layers(GOOD)
    raw = json.dumps({**envelope(statement(str(DIGEST), KIND), key()), **change}).encode()
    with pytest.raises(SignatureInvalidError, match=message):
        envelope_evidence(layer, raw, "tag")
