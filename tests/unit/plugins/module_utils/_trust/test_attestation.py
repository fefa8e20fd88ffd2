# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attestations: type, builder and source are compared as a whole, and only with what the statement states."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._trust.attestation import Attestation
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureInvalidError,
    SignatureMismatchError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.naming import subject_pattern
from ansible_collections.lockstep.images.tests.support.signing import statement

DIGEST = Digest.parse("sha256:" + "1" * 64)
V02, V1 = "https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"
BUILDER, SOURCE = "https://ci.example/b@v1", "git+https://git.example/shop"
OLD = {"builder": {"id": BUILDER}, "invocation": {"configSource": {"uri": SOURCE}}}


def new(**parameters):
    return {
        "buildDefinition": {"externalParameters": parameters},
        "runDetails": {"builder": {"id": BUILDER}},
    }


def claim(predicate, kind=V1, builder=BUILDER, source=SOURCE, raw=None, expected=V1):
    patterns = [one and subject_pattern(one) for one in (builder, source)]
    raw = raw or statement(str(DIGEST), kind, content=predicate)
    return Attestation(expected, *patterns).claim(raw, DIGEST, "x")


@pytest.mark.parametrize(
    "predicate",
    [
        pytest.param(new(configSource={"uri": SOURCE}), id="BuildKit"),
        pytest.param(new(source={"uri": SOURCE}), id="source as an object"),
        pytest.param(new(source=SOURCE), id="source as a text"),
        pytest.param(new(workflow={"repository": SOURCE, "path": "a.yml"}), id="GitHub"),
        pytest.param(new(workflow={"repository": SOURCE}, source=SOURCE), id="the same twice"),
        pytest.param(OLD, id="version 0.2"),
    ],
)
@pytest.mark.parametrize("source", [SOURCE, "git+https://git.example/*", None])
def test_builder_and_source_are_found(predicate, source):
    assert claim(predicate, source=source).reference is None


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        pytest.param(new(source=SOURCE + "-evil"), "the source is git", id="longer source"),
        pytest.param(new(source="x" + SOURCE), "the source is xgit", id="prefixed source"),
        pytest.param(new(source=SOURCE, workflow={"repository": "other"}), "other, not as", id="two sources"),
        pytest.param(new(), "the source is none", id="no source"),
        pytest.param(new(source=["a"]), "the source is none", id="source as a list"),
        pytest.param({**new(source=SOURCE), "runDetails": {"builder": {"id": "other"}}}, "the builder is other", id="builder"),
        pytest.param({**new(source=SOURCE), "builder": {"id": "other"}}, "the builder is other", id="two builders"),
        pytest.param({**new(source=SOURCE), "runDetails": []}, "the builder is none", id="no builder"),
        pytest.param({}, "the builder is none", id="empty"),
        pytest.param(None, "the builder is none", id="null"),
        pytest.param("text", "the builder is none", id="text"),
    ],
)  # fmt: skip
def test_other_builder_or_source_is_a_mismatch(predicate, message):
    with pytest.raises(SignatureMismatchError, match=message):
        claim(predicate)


def test_type_is_compared_exactly():
    assert claim({}, V1, None, None) == (None, {})
    for kind in (V02, V1 + "/", V1.upper(), "https://sigstore.dev/cosign/sign/v1"):
        with pytest.raises(SignatureMismatchError, match=f"expected {V1}"):
            claim({}, kind, None, None)


def test_image_may_be_one_of_several_subjects():
    value = json.loads(statement(str(DIGEST), V1))
    value["subject"].insert(0, {"name": "other", "digest": {"sha256": "2" * 64}})
    assert claim(None, builder=None, source=None, raw=json.dumps(value).encode()) == (None, {})
    del value["subject"][1]
    with pytest.raises(SignatureMismatchError, match="is for other content"):
        claim(None, builder=None, source=None, raw=json.dumps(value).encode())


def test_malformed_statement_is_invalid():
    with pytest.raises(SignatureInvalidError):
        claim(None, raw=b"{}")


def test_everything_that_decides_is_in_the_digest_of_a_rule():
    patterns = subject_pattern("a*"), subject_pattern("b")
    values = [
        Attestation(V1),
        Attestation(V02),
        Attestation(V1, patterns[0]),
        Attestation(V1, None, patterns[0]),
        Attestation(V1, *patterns),
    ]
    assert len({json.dumps(one.as_json()) for one in values}) == len(values)
