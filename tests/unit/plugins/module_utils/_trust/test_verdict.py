# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts: which signatures meet a requirement, and why others do not."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._trust.bundle import bundle_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.cosign import cosign_evidence
from ansible_collections.lockstep.images.plugins.module_utils._trust.errors import (
    SignatureMissingError,
)
from ansible_collections.lockstep.images.plugins.module_utils._trust.policy import parse_policy
from ansible_collections.lockstep.images.plugins.module_utils._trust.verdict import Tally
from ansible_collections.lockstep.images.tests.support.signing import (
    bundle,
    key,
    payload,
    signed,
    statement,
)

DIGEST = Digest.parse("sha256:" + "1" * 64)
OTHER = "sha256:" + "2" * 64
NAME = Reference.parse("a.b/c:1")
SAME = payload(str(DIGEST), "a.b/c")


def simple(data=SAME, by=None, **annotations):
    """Return a signature of cosign 2 as evidence."""
    entry = signed(data, by or key())
    layer = Descriptor(
        "x/y", Digest.of(data), len(data), annotations={**entry.annotations, **annotations}
    )
    return cosign_evidence(layer, data, "sig")


def bundled(data=None, by=None):
    value = bundle(data or statement(str(DIGEST)), by or key())
    return bundle_evidence(json.dumps(value).encode(), "sha256:0", "bundle")


def tally(*found, keys=("p256",), **rule):
    entries = [
        {"text": key(*kind.split("/")[:1], *map(int, kind.split("/")[1:])).public} for kind in keys
    ]
    policy = parse_policy([{"match": "a.b", "keys": entries, **rule}], lambda path: b"")
    made = Tally(policy.rules["a.b"].requirements[0], NAME, DIGEST)
    for one in found:
        made.add(one)
    return made


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_one_signature_with_a_key_of_the_rule_is_enough(kind):
    for evidence in (simple(by=key(kind)), bundled(by=key(kind))):
        found = tally(evidence, keys=[kind])
        assert found.is_met and found.causes() == []
        assert len(found.signers) == 1
        signer = next(iter(found.signers.values()))
        assert (signer.by, signer.form, signer.log) == ("key", evidence.form, None)
        assert signer.signed_as == ("a.b/c" if evidence.form == "cosign" else None)


def test_any_key_of_the_rule_counts():
    assert tally(simple(by=key("rsa")), keys=["ed25519", "rsa", "p256"]).is_met


def test_good_signature_counts_beside_bad_ones():
    found = tally(simple(by=key("p256", 1)), simple(payload(OTHER, "a.b/c")), simple())
    assert (found.is_met, found.found) == (True, 3)


@pytest.mark.parametrize(
    ("signers", "is_met"),
    [
        (["p256"], False),
        (["p256", "p256"], False),
        (["p256", "p256/1"], True),
        (["p256", "rsa"], False),
    ],
)
def test_count_is_that_of_different_keys(signers, is_met):
    by = {"p256": key(), "p256/1": key("p256", 1), "rsa": key("rsa")}
    found = tally(*(simple(by=by[one]) for one in signers), keys=["p256", "p256/1"], count=2)
    assert found.is_met is is_met
    if not is_met:
        assert str(found.causes()[0]) == "1 of the 2 required keys signed it"
        assert found.causes()[0].kind == "signature-untrusted"


@pytest.mark.parametrize(
    ("evidence", "rule", "kind"),
    [
        pytest.param(simple(by=key("p256", 1)), {}, "signature-invalid", id="another key"),
        pytest.param(bundled(by=key("p256", 1)), {}, "signature-invalid", id="bundle with another key"),
        pytest.param(simple()._replace(signed=SAME + b" "), {}, "signature-invalid", id="one byte more"),
        pytest.param(simple()._replace(signed=payload(str(DIGEST), "a.b/c:2")), {}, "signature-invalid", id="another payload"),
        pytest.param(simple()._replace(signature=b"\0"), {}, "signature-invalid", id="broken signature"),
        pytest.param(simple(b"hello"), {}, "signature-invalid", id="signed text"),
        pytest.param(simple(payload(OTHER, "a.b/c")), {}, "signature-mismatch", id="another digest"),
        pytest.param(bundled(statement(OTHER)), {}, "signature-mismatch", id="bundle of another digest"),
        pytest.param(bundled(statement(str(DIGEST), "https://slsa.dev/provenance/v1")), {}, "signature-mismatch", id="attestation"),
        pytest.param(simple(payload(str(DIGEST), "a.b/d")), {}, "signature-mismatch", id="another repository"),
        pytest.param(simple(), {"signed_as": "exact"}, "signature-mismatch", id="no tag"),
        pytest.param(simple(payload(str(DIGEST), "a.b/c:2")), {"signed_as": "exact"}, "signature-mismatch", id="another tag"),
        pytest.param(bundled(), {"signed_as": "exact"}, "signature-mismatch", id="bundle states no name"),
        pytest.param(simple(), {"annotations": {"env": "prod"}}, "signature-mismatch", id="no annotation"),
        pytest.param(
            simple(payload(str(DIGEST), "a.b/c", optional={"env": "test"})),
            {"annotations": {"env": "prod"}}, "signature-mismatch", id="another annotation",
        ),
        pytest.param(bundled(), {"annotations": {"env": "prod"}}, "signature-mismatch", id="bundle without annotation"),
    ],
)  # fmt: skip
def test_signature_is_refused_beside_one_that_is_accepted(evidence, rule, kind):
    found = tally(evidence, **rule)
    assert not found.is_met
    assert [cause.kind for cause in found.causes()] == [kind]
    right = simple(payload(str(DIGEST), "a.b/c:1", optional={"env": "prod"}))
    assert tally(evidence, right, **rule).is_met


def test_annotations_of_both_forms_are_compared():
    wanted = {"annotations": {"env": "prod"}}
    assert tally(simple(payload(str(DIGEST), "a.b/c", optional={"env": "prod"})), **wanted).is_met
    assert tally(bundled(statement(str(DIGEST), annotations={"env": "prod"})), **wanted).is_met


def test_any_name_is_accepted_if_the_rule_says_so():
    other = simple(payload(str(DIGEST), "c.d/e"))
    assert not tally(other).is_met
    assert tally(other, signed_as="any").is_met


def test_unreadable_signature_is_a_failure():
    found = tally()
    found.fail(SignatureMissingError("x"))
    assert (found.found, found.is_met, len(found.causes())) == (1, False, 1)
