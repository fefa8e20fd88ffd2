# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: what a payload says is read only if it can be read in one way."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.claims import (
    COSIGN_TYPE,
    simple_claim,
    statement_claim,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMismatchError,
)
from ansible_collections.lockstep.images.tests.support.signing import payload, statement

DIGEST = Digest.parse("sha256:" + "1" * 64)
OTHER = "sha256:" + "2" * 64
RIGHT = payload(str(DIGEST), "a.b/c")


def claim(raw):
    return simple_claim(raw, DIGEST, "x")


def test_right_payload_is_read():
    assert claim(RIGHT) == ("a.b/c", {})
    assert claim(payload(str(DIGEST), "a.b/c", optional={"env": "prod"})).annotations == {
        "env": "prod"
    }


def changed(change):
    value = json.loads(RIGHT)
    change(value)
    return json.dumps(value).encode()


ATTACKS = {
    "not JSON": b"hello",
    "two values": RIGHT + RIGHT,
    "byte order mark": b"\xef\xbb\xbf" + RIGHT,
    "digest twice": RIGHT.replace(b'"docker-manifest-digest"', b'"docker-manifest-digest":"sha256:1","docker-manifest-digest"'),
    "critical twice": RIGHT.replace(b'"optional"', b'"critical":{},"optional"'),
    "type of another format": payload(str(DIGEST), "a.b/c", "atomic container signature"),
    "type in capitals": payload(str(DIGEST), "a.b/c", COSIGN_TYPE.upper()),
    "no type": changed(lambda value: value["critical"].pop("type")),
    "no optional": changed(lambda value: value.pop("optional")),
    "no image": changed(lambda value: value["critical"].pop("image")),
    "no identity": changed(lambda value: value["critical"].pop("identity")),
    "unknown key": changed(lambda value: value.update(more=1)),
    "unknown critical field": changed(lambda value: value["critical"].update(more=1)),
    "unknown field of the image": changed(lambda value: value["critical"]["image"].update(more=1)),
    "unknown field of the identity": changed(lambda value: value["critical"]["identity"].update(more=1)),
    "capital key": RIGHT.replace(b"docker-manifest", b"Docker-manifest"),
    "upper-case digest": payload("sha256:" + "A" * 64, "a.b/c"),
    "short digest": payload("sha256:11", "a.b/c"),
    "digest with a line end": payload(f"{DIGEST}\n", "a.b/c"),
    "digest as a list": changed(lambda value: value["critical"]["image"].update({"docker-manifest-digest": [str(DIGEST)]})),
    "reference is null": changed(lambda value: value["critical"]["identity"].update({"docker-reference": None})),
    "optional is a list": payload(str(DIGEST), "a.b/c", optional=[1]),
}  # fmt: skip


@pytest.mark.parametrize("raw", ATTACKS.values(), ids=ATTACKS)
def test_malformed_payload_is_invalid(raw):
    assert claim(RIGHT)
    with pytest.raises(SignatureInvalidError):
        claim(raw)


def test_payload_for_another_digest_is_a_mismatch():
    with pytest.raises(SignatureMismatchError, match="is for sha256:2222"):
        claim(payload(OTHER, "a.b/c"))


def test_statement_of_cosign_is_read():
    raw = statement(str(DIGEST), annotations={"env": "prod"})
    assert statement_claim(raw, DIGEST, "x") == (None, {"env": "prod"})


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param(statement(OTHER), SignatureMismatchError, id="another digest"),
        pytest.param(statement(str(DIGEST), "https://slsa.dev/provenance/v1"), SignatureMismatchError, id="attestation"),
        pytest.param(statement(str(DIGEST)).replace(b"Statement/v1", b"Statement/v9"), SignatureInvalidError, id="type"),
        pytest.param(statement(str(DIGEST)).replace(b"predicateType", b"predicatetype"), SignatureInvalidError, id="no predicate"),
        pytest.param(statement(str(DIGEST)).replace(b"sha256", b"sha512"), SignatureInvalidError, id="no sha256"),
        pytest.param(statement(str(DIGEST)).replace(b"1" * 64, b"1" * 63 + b"A"), SignatureInvalidError, id="upper case"),
        pytest.param(b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"a","subject":[]}', SignatureInvalidError, id="no subject"),
        pytest.param(b"[]", SignatureInvalidError, id="list"),
    ],
)  # fmt: skip
def test_every_other_statement_is_refused(raw, error):
    with pytest.raises(error):
        statement_claim(raw, DIGEST, "x")
