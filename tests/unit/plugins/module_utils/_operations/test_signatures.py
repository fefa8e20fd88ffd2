# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signatures of an image are found wherever tools store them; a refusal never means that they are missing."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    SIGNATURE,
    att_tag,
    attestation,
    bundle,
    fallback_index,
    key,
    payload,
    referrer,
    sig_manifest,
    sig_tag,
    signed,
    statement,
    with_manifest,
)
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, Verifier, rule

APP = demo_image("app", "1", size=100)
OTHER = demo_image("app", "2", size=100)
BUNDLE = bundle(statement(APP.digest), key())
TAG = sig_tag(APP.digest)


@pytest.fixture(name="registry", params=[True, False], ids=["referrers", "fallback tag"])
def fixture_registry(request):
    with Registry(referrers=request.param) as registry:
        push(registry, REPOSITORY, APP, "1")
        yield registry


@pytest.fixture(name="verifier")
def fixture_verifier(tmp_path, registry):
    return Verifier(tmp_path, registry)


def has_api(registry):
    return registry._distribution.has_referrers


def attach(verifier, *contents, **fields):
    """Attach bundles in the way that the registry has."""
    return verifier.attach(APP, *contents, tag=not has_api(verifier.registry), **fields)


def test_cosign_signature_costs_two_requests_after_the_tag(verifier, registry):
    verifier.sign(APP)
    registry.clear()
    assert verifier.verified()["verified"]["signatures"][0]["form"] == "cosign"
    assert registry.requests_by_method() == {"HEAD": 1, "GET": 2}


def test_bundle_is_found_as_a_referrer(verifier, registry):
    attach(verifier, BUNDLE)
    registry.clear()
    found = verifier.verified()["verified"]["signatures"][0]
    assert (found["form"], found["signed_as"]) == ("bundle", None)
    assert registry.requests_by_method()["GET"] == (4 if has_api(registry) else 5)


def test_bundle_is_found_that_cosign_3_lists_with_the_type_of_an_empty_configuration(tmp_path):
    """That is what cosign 3.1.1 writes to a registry without the API of referrers."""
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry)
        (one,) = verifier.attach(APP, BUNDLE)
        entry = {**one.descriptor(), "artifactType": "application/vnd.oci.empty.v1+json"}
        push(registry, REPOSITORY, index([], manifests=[entry]), APP.digest.replace(":", "-"))
        assert verifier.kind() == ""


def test_bundle_of_an_older_tool_is_found_by_its_configuration(verifier, registry):
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    config = {"mediaType": kind, "digest": APP.images[0].config_digest, "size": len(APP.images[0].config)}  # fmt: skip
    made = with_manifest(referrer(BUNDLE, APP.descriptor()), artifactType=None, config=config)
    push(registry, REPOSITORY, made)
    entries = index([], manifests=[made.descriptor()])
    push(registry, REPOSITORY, entries, APP.digest.replace(":", "-"))
    assert verifier.kind() == ""


def test_a_list_under_the_fallback_tag_is_read_where_the_api_lists_nothing(tmp_path):
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        made = referrer(BUNDLE, APP.descriptor())
        push(registry, REPOSITORY, made)
        push(registry, REPOSITORY, fallback_index([made]), APP.digest.replace(":", "-"))
        nothing = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
        registry.faults.append(Fault(path="/referrers/", replace=nothing, times=None))
        assert Verifier(tmp_path, registry).kind() == ""


def test_other_referrers_are_not_read(verifier, registry):
    sbom = attach(verifier, b"sbom", artifact_type="application/spdx+json")[0]
    registry.clear()
    assert verifier.kind() == "signature-missing"
    assert not [one for one in registry.requests if sbom.digest in one.path]


def test_attestations_that_are_noted_as_such_are_counted_and_not_read(tmp_path):
    note = {"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry)
        made = verifier.attach(APP, BUNDLE, annotations=note)[0]
        error = verifier.error()
        assert error.details["reasons"][0] == "1 bundles are attestations, not signatures"
        assert not [one for one in registry.requests if one.path.endswith(made.digest)]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
@pytest.mark.parametrize("path", ["[.]sig$", "/referrers/", "/blobs/"])
def test_refusal_at_the_place_of_a_signature_is_an_error(tmp_path, path, status):
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, retries=0)
        if path == "/blobs/":
            verifier.sign(APP)
            assert verifier.kind() == ""
        registry.faults.append(Fault(path=path, status=status, times=None))
        kind = verifier.kind()
        assert kind in ("authentication-failed", "denied", "rate-limited", "registry-error")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_refusal_of_the_fallback_tag_is_an_error(tmp_path, status):
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, retries=0)
        assert verifier.kind() == "signature-missing"
        path = f"/manifests/{APP.digest.replace(':', '-')}$"
        registry.faults.append(Fault(path=path, status=status, times=None))
        assert verifier.kind() in ("authentication-failed", "denied", "registry-error")


@pytest.mark.parametrize("path", ["[.]sig$", "/referrers/"])
def test_registry_that_does_not_answer_is_an_error(tmp_path, path):
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, retries=0, timeout=0.2)
        registry.faults.append(Fault(path=path, delay=1.0, times=None))
        assert verifier.kind() == "registry-unreachable"


@pytest.mark.parametrize("path", ["[.]sig$", "/referrers/", "/manifests/sha256-[0-9a-f]+$"])
def test_garbage_at_the_place_of_a_signature_is_an_error(verifier, registry, path):
    assert verifier.kind() == "signature-missing"
    registry.faults.append(Fault(path=path, status=200, body="<html>Login</html>", times=None))
    assert verifier.kind() in ("invalid-manifest", "registry-protocol")


def test_fallback_tag_with_a_manifest_is_an_error(tmp_path):
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        push(registry, REPOSITORY, image([layer({"a": b"a"})]), APP.digest.replace(":", "-"))
        assert Verifier(tmp_path, registry).kind() == "registry-protocol"


def test_index_in_the_place_of_signatures_is_invalid(verifier, registry):
    push(registry, REPOSITORY, index([]), TAG)
    assert verifier.error(platform=["all"]).details["reasons"][0] == f"{TAG}: is an index, expected a manifest with signatures"  # fmt: skip


def test_payload_with_other_bytes_than_its_digest_is_an_error(verifier, registry):
    verifier.sign(APP)
    assert verifier.kind() == ""
    registry.faults.append(Fault(path="/blobs/", corrupt=5, times=None))
    assert verifier.kind() == "digest-mismatch"


def test_missing_payload_is_an_error(verifier, registry):
    entry = signed(payload(APP.digest, verifier.name), key())
    verifier.sign(APP, entry)
    registry.remove(REPOSITORY, sig_manifest([entry]).layers[0].digest)
    assert verifier.kind() == "not-found"


def test_signatures_are_bounded(verifier, registry):
    many = [signed(payload(APP.digest, verifier.name) + b" " * n, key()) for n in range(60)]
    verifier.sign(APP, *many[:50])
    assert verifier.kind() == ""
    verifier.sign(APP, *many)
    registry.clear()
    assert "has 60 signatures, at most 50 are read" in str(verifier.error())
    assert not [one for one in registry.requests if "/blobs/" in one.path]


def test_payload_is_bounded(verifier, registry):
    data = payload(APP.digest, verifier.name) + b" " * 200_000
    verifier.sign(APP, signed(data, key()))
    registry.clear()
    assert "a payload has" in str(verifier.error())
    assert not [one for one in registry.requests if "/blobs/" in one.path]


def test_payload_that_does_not_end_is_not_read(verifier, registry):
    entry = signed(payload(APP.digest, verifier.name), key())
    verifier.sign(APP, entry)
    registry.faults.append(Fault(path="/blobs/", status=200, body=Filler(1 << 30), times=None))
    registry.clear()
    assert verifier.kind() == "size-mismatch"
    assert sum(one.bytes_sent for one in registry.requests) < 16 * 1024 * 1024


def test_bundle_is_bounded(verifier, registry):
    right = referrer(BUNDLE, APP.descriptor())
    listed = [{**right.view["layers"][0], "size": 1 << 30}]
    made = with_manifest(right, layers=listed)
    push(registry, REPOSITORY, made)
    push(registry, REPOSITORY, fallback_index([made]), APP.digest.replace(":", "-"))
    registry.clear()
    assert "has 1073741824 bytes" in str(verifier.error())
    assert not [one for one in registry.requests if "/blobs/" in one.path]


def test_ten_thousand_referrers_are_refused_without_reading_one(tmp_path):
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        entry = referrer(BUNDLE, APP.descriptor())
        push(registry, REPOSITORY, entry)
        entries = [
            {**entry.descriptor(), "artifactType": entry.view["artifactType"], "digest": f"sha256:{n:064x}"}
            for n in range(10_000)
        ]  # fmt: skip
        push(registry, REPOSITORY, index([], manifests=entries[:50]), APP.digest.replace(":", "-"))
        verifier = Verifier(tmp_path, registry)
        assert verifier.kind() == "not-found"
        push(registry, REPOSITORY, index([], manifests=entries), APP.digest.replace(":", "-"))
        registry.clear()
        assert "has 10000 bundles, at most 50 are read" in str(verifier.error(rule(level="index")))
        assert len(registry.requests) == 4


def test_bundle_of_another_image_that_refers_to_this_one_is_a_mismatch(verifier):
    attach(verifier, bundle(statement(OTHER.digest), key()))
    assert verifier.kind() == "signature-mismatch"
    attach(verifier, bundle(statement(OTHER.digest), key()), BUNDLE)
    assert verifier.kind() == ""


def test_referrer_of_another_image_in_the_list_is_a_mismatch(tmp_path):
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        made = referrer(BUNDLE, OTHER.descriptor())
        push(registry, REPOSITORY, made)
        push(registry, REPOSITORY, fallback_index([made]), APP.digest.replace(":", "-"))
        assert "refers to other content" in str(Verifier(tmp_path, registry).error())


@pytest.mark.parametrize(
    "content",
    [b"hello", b"{}", {**BUNDLE, "mediaType": "x/y"}, {**BUNDLE, "more": 1}],
    ids=["text", "empty", "type", "key"],
)
def test_bundle_that_cannot_be_read_is_counted_and_named(verifier, content):
    attach(verifier, content)
    error = verifier.error()
    assert (error.kind, error.details["found"]) == ("signature-invalid", 1)
    assert "bundle sha256:" in error.details["reasons"][0]
    attach(verifier, content, BUNDLE)
    assert verifier.kind() == ""


def test_layer_without_a_signature_is_invalid(verifier):
    entry = signed(payload(APP.digest, verifier.name), key())
    verifier.sign(APP, entry._replace(annotations={}))
    assert verifier.kind() == "signature-invalid"
    verifier.sign(APP, entry._replace(annotations={SIGNATURE: entry.annotations[SIGNATURE]}))
    assert verifier.kind() == ""


# Attestations

SLSA = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
PROVENANCE = {
    "buildDefinition": {"externalParameters": {"source": "git+https://git.example/shop"}},
    "runDetails": {"builder": {"id": "https://ci.example/b"}},
}


def provenance(digest=APP.digest, kind=SLSA):
    return statement(digest, kind, content=PROVENANCE)


def attested(*keys, kind=SLSA, **how):
    return rule("*", *keys, attestation={"predicate_type": kind, **how})


@pytest.fixture(name="attest", params=["envelope", "bundle"])
def fixture_attest(request, verifier):
    """Return a function that attests statements about APP, as cosign 2 or 3 does."""

    def attest(*statements, by=None):
        if request.param == "bundle":
            return attach(verifier, *(bundle(one, by or key()) for one in statements))
        made = [
            attestation(one, by or key(), json.loads(one)["predicateType"]) for one in statements
        ]
        return push(verifier.registry, REPOSITORY, sig_manifest(made), att_tag(APP.digest))

    return attest


def test_attestation_of_the_type_is_accepted(verifier, attest):
    assert verifier.kind(attested()) == "signature-missing"
    attest(provenance(), statement(APP.digest, SPDX))
    (one,) = verifier.verified(attested())["verified"]["signatures"]
    assert (one["predicate_type"], one["signed_as"]) == (SLSA, None)
    assert verifier.kind(attested(kind=SPDX)) == ""
    assert verifier.kind(attested(kind="https://cyclonedx.org/bom")) in ("signature-missing", "signature-mismatch")  # fmt: skip
    assert verifier.kind(attested(key("ed25519"))) == "signature-invalid"


def test_attestation_is_not_a_signature_and_a_signature_not_an_attestation(verifier, attest):
    attest(provenance())
    assert verifier.kind() in ("signature-missing", "signature-mismatch")
    both = {"match": "*", "all": [{**attested()}, {**rule()}]}
    for one in both["all"]:
        del one["match"]
    assert verifier.kind(both) in ("signature-missing", "signature-mismatch")
    verifier.sign(APP)
    assert len(verifier.verified(both)["verified"]["signatures"]) == 2


def test_signature_does_not_count_as_an_attestation(verifier):
    verifier.sign(APP)
    attach(verifier, BUNDLE)
    assert verifier.kind() == ""
    assert verifier.kind(attested()) in ("signature-missing", "signature-mismatch")


def test_builder_and_source_are_compared(verifier, attest):
    attest(provenance())
    good = {"builder": "https://ci.example/*", "source": "git+https://git.example/shop"}
    assert verifier.kind(attested(**good)) == ""
    for wrong in ({"builder": "https://ci.example"}, {"source": "https://git.example/shop"}):
        assert verifier.kind(attested(**{**good, **wrong})) == "signature-mismatch"


def test_attestation_of_another_image_or_with_a_changed_statement_is_refused(verifier, attest):
    attest(provenance(OTHER.digest))
    assert verifier.kind(attested()) == "signature-mismatch"


def test_note_of_a_type_proves_nothing(verifier):
    """A layer that is listed with the wanted type, but whose statement has another one."""
    lying = attestation(statement(APP.digest, SPDX), key(), SLSA)
    push(verifier.registry, REPOSITORY, sig_manifest([lying]), att_tag(APP.digest))
    assert verifier.kind(attested()) == "signature-mismatch"


def test_tag_of_attestations_that_is_something_else_is_invalid(verifier):
    push(verifier.registry, REPOSITORY, index([OTHER]), att_tag(APP.digest))
    assert verifier.kind(attested()) == "signature-invalid"
