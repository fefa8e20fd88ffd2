# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify images: one digest is resolved, verified and returned, and nothing else is trusted."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.pulling import LOGIN, USERS
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    SIGNATURE,
    Signed,
    b64,
    bundle,
    key,
    payload,
    sig_manifest,
    sig_tag,
    signed,
    statement,
)
from ansible_collections.lockstep.images.tests.support.sigstore import (
    ISSUER,
    SUBJECT,
    Sigstore,
    hashed_body,
)
from ansible_collections.lockstep.images.tests.support.stores import pull
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, Verifier, rule

AMD64, ARM64 = "linux/amd64", "linux/arm64"
APP = demo_image("app", "1", (AMD64, ARM64), size=100, attestations=True)
OTHER = demo_image("app", "2", size=100)
SINGLE = image([layer({"a": b"a"})])


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        push(registry, REPOSITORY, OTHER, "2")
        yield registry


@pytest.fixture(name="verifier")
def fixture_verifier(tmp_path, registry):
    return Verifier(tmp_path, registry)


def platform(name):
    return APP.for_platform(name)


def test_verdict_names_rule_signer_and_pin(verifier):
    verifier.sign(APP)
    found = verifier.verified(rule(verifier.registry.address))
    assert found["digest"] == APP.digest
    assert found["pinned"] == f"{verifier.name}:1@{APP.digest}"
    verdict = found["verified"]
    (one,) = verdict.pop("signatures")
    assert verdict == {
        "rule": verifier.registry.address,
        "covers": "index",
        "by": [f"key {one['signer']}"],
    }
    assert (one["by"], one["form"], one["signed_as"], one["log"]) == ("key", "cosign", verifier.name, None)  # fmt: skip


def test_unsigned_image_is_missing_a_signature(verifier):
    error = verifier.error()
    assert error.kind == "signature-missing"
    assert str(error).startswith(f"{verifier.name}:1@{APP.digest}: has no signature, the rule for * requires one")  # fmt: skip
    assert (error.details["digest"], error.details["found"]) == (APP.digest, 0)


def test_signatures_of_another_image_are_a_mismatch(verifier, registry):
    made = sig_manifest([signed(payload(OTHER.digest, verifier.name), key())])
    push(registry, REPOSITORY, made, sig_tag(APP.digest))
    assert verifier.kind() == "signature-mismatch"
    verifier.sign(APP)
    assert verifier.kind() == ""


def test_one_untrusted_image_does_not_hide_the_others(verifier):
    verifier.sign(APP)
    outcome = verifier.outcome(names=[f"{verifier.name}:{tag}" for tag in ("1", "2", "1")])
    result = outcome.result()
    assert result["pinned"] == [f"{verifier.name}:1@{APP.digest}"]
    assert [one["name"] for one in result["failures"]] == [f"{verifier.name}:2"]
    assert str(outcome.failure).startswith("1 of 2 images failed: ")
    assert result["diff"]["before"] == result["diff"]["after"]


def test_name_with_a_digest_is_not_resolved(verifier, registry):
    verifier.sign(APP)
    registry.clear()
    name = f"{verifier.name}@{APP.digest}"
    assert verifier.verified(names=[name])["pinned"] == name
    assert registry.requests_by_method() == {"GET": 2}


def test_digest_counts_beside_a_tag(verifier):
    verifier.sign(APP)
    name = f"{verifier.name}:2@{APP.digest}"
    assert verifier.verified(names=[name])["pinned"] == name


def test_accepted_image_needs_no_signature_and_no_request_for_one(verifier, registry):
    found = verifier.verified({"match": "*", "accept": "unsigned"})
    assert found["pinned"] == f"{verifier.name}:1@{APP.digest}"
    assert found["verified"] == {"rule": "*", "covers": None, "by": ["unsigned"], "signatures": []}
    assert registry.requests_by_method() == {"HEAD": 1}


def test_rejected_image_costs_no_request(verifier, registry):
    assert verifier.kind({"match": registry.address, "reject": True}) == "policy-rejected"
    assert verifier.kind(rule("a.b")) == "policy-rejected"
    assert registry.requests == []


def test_rule_for_a_digest_counts_for_a_tag_that_points_to_it(verifier, registry):
    verifier.sign(APP)
    rejected = {"match": f"{verifier.name}@{APP.digest}", "reject": True}
    assert verifier.kind(rule(), rejected) == "policy-rejected"
    assert registry.requests_by_method() == {"HEAD": 1}
    accepted = {"match": f"{verifier.name}@{OTHER.digest}", "accept": "unsigned"}
    found = verifier.verified(rule(), accepted, names=[f"{verifier.name}:2"])
    assert found["verified"]["rule"] == accepted["match"]
    tag = {"match": f"{verifier.name}:2", "reject": True}
    assert verifier.kind(rule(), accepted, tag, names=[f"{verifier.name}:2"]) == "policy-rejected"


def test_all_requirements_must_be_met(verifier):
    both = {
        "match": "*",
        "all": [{"keys": rule()["keys"]}, {"keys": rule("*", key("rsa"))["keys"]}],
    }
    data = payload(APP.digest, verifier.name)
    verifier.sign(APP, signed(data, key()))
    assert verifier.kind(both) == "signature-invalid"
    verifier.sign(APP, signed(data, key()), signed(data + b" ", key("rsa")))
    found = verifier.verified(both)["verified"]
    assert len(found["by"]) == len(found["signatures"]) == 2


def test_signatures_in_another_repository_are_read_there(verifier, registry):
    elsewhere = f"{registry.address}/demo/signatures"
    made = sig_manifest([signed(payload(APP.digest, verifier.name), key())])
    push(registry, "demo/signatures", made, sig_tag(APP.digest))
    assert verifier.kind() == "signature-missing"
    assert verifier.kind(rule(signatures=elsewhere)) == ""


def test_bundle_of_an_identity_is_verified(verifier, registry):
    sigstore = Sigstore()
    root = {"text": sigstore.trusted_root()}
    who = {"issuer": ISSUER, "subject": "https://github.com/acme/shop/*"}
    trust = {"match": "*", "identities": [who], "trusted_root": root}
    assert verifier.kind(trust) == "signature-missing"
    verifier.attach(APP, sigstore.bundle(statement(APP.digest)))
    registry.clear()
    found = verifier.verified(trust)["verified"]
    assert found["by"] == [f"identity {SUBJECT} ({ISSUER})"]
    (one,) = found["signatures"]
    assert (one["signer"], one["issuer"], one["log"]) == (SUBJECT, ISSUER, "2026-01-02T03:04:05Z")
    assert registry.requests_by_method() == {"HEAD": 1, "GET": 3}
    evil = {**trust, "identities": [{**who, "subject": "https://github.com/evil/*"}]}
    assert verifier.kind(evil) == "signature-untrusted"
    other = {**trust, "trusted_root": {"text": Sigstore(1).trusted_root()}}
    assert verifier.kind(other) == "signature-invalid"


def test_bundle_of_an_identity_that_was_made_for_another_image_is_a_mismatch(verifier):
    sigstore = Sigstore()
    who = {"issuer": ISSUER, "subject": SUBJECT}
    trust = {"match": "*", "identities": [who], "trusted_root": {"text": sigstore.trusted_root()}}
    verifier.attach(APP, sigstore.bundle(statement(OTHER.digest)))
    assert verifier.kind(trust) == "signature-mismatch"
    verifier.attach(APP, sigstore.bundle(statement(APP.digest, "https://slsa.dev/provenance/v1")))
    assert verifier.kind(trust) == "signature-mismatch"


def test_attestation_of_an_identity_is_verified(verifier):
    """Keyless provenance, as a workflow of GitHub attaches it: the signer, the builder and the source all count."""
    sigstore = Sigstore()
    who = {"issuer": ISSUER, "subject": SUBJECT}
    kind, builder, source = "https://slsa.dev/provenance/v1", "https://ci.example.com/1", "git+https://git.example.com/shop"  # fmt: skip
    wanted = {"predicate_type": kind, "builder": "https://ci.example.com/*", "source": source}
    trust = {"match": "*", "identities": [who], "trusted_root": {"text": sigstore.trusted_root()}}
    required = {**trust, "attestation": wanted}
    assert verifier.kind(required) == "signature-missing"
    content = {
        "buildDefinition": {"externalParameters": {"source": source}},
        "runDetails": {"builder": {"id": builder}},
    }
    verifier.attach(APP, sigstore.bundle(statement(APP.digest, kind, content=content)))
    (one,) = verifier.verified(required)["verified"]["signatures"]
    assert (one["by"], one["signer"], one["predicate_type"]) == ("identity", SUBJECT, kind)
    refused = {
        "another builder": {**required, "attestation": {**wanted, "builder": "https://evil/*"}},
        "another source": {**required, "attestation": {**wanted, "source": "git+https://evil"}},
        "another subject": {**required, "identities": [{**who, "subject": f"{SUBJECT}2"}]},
        "no signature": trust,
    }
    found = {case: verifier.kind(policy) for case, policy in refused.items()}
    assert found == {
        "another builder": "signature-mismatch",
        "another source": "signature-mismatch",
        "another subject": "signature-untrusted",
        "no signature": "signature-mismatch",
    }


# What must be signed: the index, or the images of the platforms


def test_signed_index_covers_its_platforms(verifier):
    verifier.sign(APP)
    for level, kind in (("any", ""), ("index", ""), ("platform", "signature-missing")):
        assert verifier.kind(rule(level=level)) == kind


def test_signed_platforms_cover_only_themselves(verifier):
    verifier.sign(platform(AMD64))
    for level, kind in (("any", ""), ("index", "signature-missing"), ("platform", "")):
        assert verifier.kind(rule(level=level)) == kind
    assert verifier.verified()["verified"]["covers"] == "platforms"
    assert verifier.kind(platform=[ARM64]) == "signature-missing"
    error = verifier.error(platform=[AMD64, ARM64])
    assert f"{ARM64} ({platform(ARM64).digest}) is not signed" in str(error)
    verifier.sign(platform(ARM64))
    assert len(verifier.verified(platform=[AMD64, ARM64])["verified"]["signatures"]) == 2


def test_every_entry_must_be_signed_for_all_also_attestations(verifier):
    verifier.sign(platform(AMD64))
    verifier.sign(platform(ARM64))
    assert verifier.kind(platform=[AMD64, ARM64]) == ""
    assert verifier.kind(platform=["all"]) == "signature-missing"
    for one in APP.images[2:]:
        verifier.sign(one)
    assert verifier.kind(platform=["all"]) == ""


def test_entry_with_a_file_cannot_be_covered_by_platforms(verifier, registry):
    blob = {"mediaType": "text/plain", "digest": SINGLE.config_digest, "size": len(SINGLE.config)}
    mixed = index([SINGLE], manifests=[SINGLE.descriptor(), blob])
    push(registry, REPOSITORY, mixed, "1")
    verifier.sign(SINGLE)
    assert verifier.kind(platform=["all"]) == "signature-missing"
    verifier.sign(mixed)
    assert verifier.kind(platform=["all"]) == ""


@pytest.mark.parametrize("level", ["any", "index", "platform"])
def test_empty_index_is_not_trusted_without_a_signature(verifier, registry, level):
    push(registry, REPOSITORY, index([]), "1")
    assert verifier.kind(rule(level=level), platform=["all"]) == "signature-missing"
    verifier.sign(index([]))
    assert verifier.kind(rule(level=level), platform=["all"]) == ""


def test_index_in_an_index_may_be_signed(verifier, registry):
    inner = index([SINGLE])
    outer = index([inner, SINGLE])
    push(registry, REPOSITORY, outer, "1")
    verifier.sign(inner)
    assert verifier.kind(platform=["all"]) == "signature-missing"
    verifier.sign(SINGLE)
    assert verifier.kind(platform=["all"]) == ""


def test_image_without_an_index_is_signed_itself(verifier, registry):
    push(registry, REPOSITORY, SINGLE, "1")
    assert verifier.kind() == "signature-missing"
    verifier.sign(SINGLE)
    for level in ("any", "index", "platform"):
        assert verifier.verified(rule(level=level))["verified"]["covers"] == "index"


def test_missing_platform_is_an_error(verifier):
    assert verifier.kind(platform=["linux/s390x"]) == "platform-not-found"


# A registry that changes or lies


def test_tag_that_moves_after_it_was_resolved_changes_nothing(verifier, registry):
    verifier.sign(platform(AMD64))
    registry.faults.append(Fault(method="HEAD", set_headers={"Docker-Content-Digest": APP.digest}))
    registry.tag(REPOSITORY, "1", OTHER.digest)
    assert verifier.verified()["pinned"] == f"{verifier.name}:1@{APP.digest}"


def test_moved_tag_is_not_read_where_the_first_digest_is_gone(verifier, registry):
    verifier.sign(OTHER)
    registry.faults.append(Fault(method="HEAD", set_headers={"Docker-Content-Digest": APP.digest}))
    registry.remove(REPOSITORY, APP.digest)
    registry.tag(REPOSITORY, "1", OTHER.digest)
    assert verifier.kind() == "not-found"


def test_index_with_other_bytes_than_its_digest_is_an_error(verifier, registry):
    verifier.sign(platform(AMD64))
    assert verifier.kind() == ""
    registry.faults.append(Fault(path=f"/manifests/{APP.digest}", corrupt=-5, times=None))
    assert verifier.kind() == "digest-mismatch"


def mirrored(registry, mirror):
    mirrors = [{"url": f"http://{mirror.address}/demo"}]
    return {"settings": [{"registry": f"{registry.address}/demo", "mirrors": mirrors}]}


def test_mirror_that_hides_signatures_proves_nothing(tmp_path, registry):
    with Registry() as mirror:
        push(mirror, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, **mirrored(registry, mirror))
        assert verifier.kind() == "signature-missing"
        verifier.sign(APP)
        assert verifier.kind() == ""


def test_mirror_that_serves_old_signatures_proves_nothing(tmp_path, registry):
    old = sig_manifest([signed(payload(APP.digest, "x/y"), key("p256", 1))])
    with Registry() as mirror:
        push(mirror, REPOSITORY, APP, "1")
        push(mirror, REPOSITORY, old, sig_tag(APP.digest))
        verifier = Verifier(tmp_path, registry, **mirrored(registry, mirror))
        assert verifier.kind() == "signature-missing"
        verifier.sign(APP)
        assert verifier.kind() == ""


def test_origin_that_refuses_is_an_error_if_a_mirror_has_no_signature(tmp_path, registry):
    with Registry() as mirror:
        push(mirror, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, retries=0, **mirrored(registry, mirror))
        registry.faults.append(Fault(path="[.]sig$", status=403, times=None))
        assert verifier.kind() == "denied"


def test_signature_from_a_mirror_is_enough(tmp_path, registry):
    with Registry() as mirror:
        verifier = Verifier(tmp_path, registry, **mirrored(registry, mirror))
        push(mirror, REPOSITORY, APP, "1")
        made = sig_manifest([signed(payload(APP.digest, verifier.name), key())])
        push(mirror, REPOSITORY, made, sig_tag(APP.digest))
        assert verifier.kind() == ""
        assert registry.requests == []


def test_login_is_sent_for_signatures_too(tmp_path):
    with Registry(auth="bearer", users=USERS) as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, login=LOGIN)
        verifier.sign(APP)
        assert verifier.kind() == ""
        assert Verifier(tmp_path, registry).kind() == "authentication-failed"


# A store


@pytest.fixture(name="store")
def fixture_store(verifier, tmp_path):
    """Pull with referrers, from a registry that is gone then."""
    store = ImageStore(str(tmp_path / "store"))

    def fill(*names, **how):
        pull(store, verifier.puller.sources, *names, **how)
        return store

    return fill


def test_signatures_in_a_store_are_verified_without_a_request(verifier, registry, store):
    verifier.sign(APP)
    verifier.attach(OTHER, {})
    held = store(f"{verifier.name}:1", f"{verifier.name}:2", referrers=True)
    registry.clear()
    assert verifier.verified(store=held)["pinned"] == f"{verifier.name}:1@{APP.digest}"
    assert verifier.kind(store=held, names=[f"{verifier.name}:2"]) == "signature-invalid"
    assert registry.requests == []


def test_bundles_in_a_store_are_verified(verifier, store):
    verifier.attach(APP, bundle(statement(APP.digest), key()))
    held = store(f"{verifier.name}:1", referrers=True)
    assert verifier.verified(store=held)["verified"]["signatures"][0]["form"] == "bundle"


def test_image_that_was_pulled_unverified_is_not_trusted(verifier, store):
    held = store(f"{verifier.name}:1")
    assert verifier.kind(store=held) == "signature-missing"
    assert verifier.kind(store=held, names=[f"{verifier.name}:3"]) == "not-in-store"


def test_platforms_of_a_stored_image_are_those_it_was_pulled_for(verifier, store):
    verifier.sign(platform(ARM64))
    held = store(f"{verifier.name}:1", platforms=[ARM64])
    tag = f"{verifier.name}:{sig_tag(platform(ARM64).digest)}"
    store(tag)
    assert verifier.kind(store=held, platform=[]) == ""
    assert verifier.kind(store=held, platform=[AMD64]) == "not-in-store"


def test_corrupt_signature_in_a_store_is_an_error(verifier, store):
    verifier.sign(APP)
    held = store(f"{verifier.name}:1", referrers=True)
    tag = held.names()[f"{verifier.name}:{sig_tag(APP.digest)}"]
    path = held.blob_path(tag.target.digest)
    with open(path, "r+b") as blob:
        blob.write(b"#")
    assert verifier.kind(store=held) == "not-in-store"


def test_nothing_is_applied(verifier):
    verifier.sign(APP)
    assert execute(verifier.outcome().plan).result()["changed"] is False


def sigstore_policy(**fields):
    """Return a policy.json that requires a signature by the first key of the tests."""
    keys = base64.b64encode(key().public.encode()).decode()
    return {"default": [{"type": "sigstoreSigned", "keyData": keys, **fields}]}


def test_policy_json_requires_the_signed_tag(verifier):
    verifier.sign(APP)
    repository = sigstore_policy(signedIdentity={"type": "matchRepository"})
    assert verifier.verified(repository)["verified"]["rule"] == "default"
    assert verifier.kind(sigstore_policy()) == "signature-mismatch"
    by_digest = [f"{verifier.name}@{APP.digest}"]
    assert verifier.kind(sigstore_policy(), names=by_digest) == "signature-mismatch"
    for tag, kind in (("1", ""), ("2", "signature-mismatch")):
        verifier.sign(APP, signed(payload(APP.digest, f"{verifier.name}:{tag}"), key()))
        assert verifier.kind(sigstore_policy()) == kind
        assert verifier.kind(sigstore_policy(), names=by_digest) == ""


def test_bundle_states_no_name_for_a_policy_json(verifier):
    verifier.attach(APP, bundle(statement(APP.digest), key()))
    assert verifier.kind(rule()) == ""
    identity = {"type": "matchRepository"}
    assert verifier.kind(sigstore_policy(signedIdentity=identity)) == "signature-mismatch"


def logged(sigstore, data, signature):
    """Return an entry of a signature that the log of a Sigstore has, as cosign 2 stores it."""
    found = sigstore.entry(hashed_body(data, signature, key().public.encode()))
    note = {
        "SignedEntryTimestamp": found["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": found["canonicalizedBody"],
            "integratedTime": int(found["integratedTime"]),
            "logIndex": int(found["logIndex"]),
            "logID": base64.b64decode(found["logId"]["keyId"]).hex(),
        },
    }
    notes = {SIGNATURE: b64(signature), "dev.sigstore.cosign/bundle": json.dumps(note)}
    return Signed(data, notes)


def test_log_of_a_policy_json_is_required(verifier):
    sigstore = Sigstore()
    verifier.sign(APP, signed(payload(APP.digest, f"{verifier.name}:1"), key()))
    assert verifier.kind(sigstore_policy()) == ""
    log = base64.b64encode(sigstore.log.public.encode()).decode()
    other = base64.b64encode(key("p384").public.encode()).decode()
    assert verifier.kind(sigstore_policy(rekorPublicKeyData=log)) == "signature-invalid"
    data = payload(APP.digest, f"{verifier.name}:1")
    verifier.sign(APP, logged(sigstore, data, key().sign(data)))
    assert verifier.kind(sigstore_policy(rekorPublicKeyDatas=[other, log])) == ""
    assert verifier.kind(sigstore_policy(rekorPublicKeyData=other)) == "signature-invalid"
