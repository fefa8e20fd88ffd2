# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is attached to images: what each tool writes is listed, within bounds, and no payload is read."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import (
    Platform,
    Reference,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.registry_info import (
    plan_registry_info,
)
from ansible_collections.lockstep.images.tests.support.bodies import digest_of
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import (
    Layer,
    demo_image,
    image,
    index,
    push,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run
from ansible_collections.lockstep.images.tests.support.pulling import Puller
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    BUNDLE,
    att_tag,
    attestation,
    bundle,
    key,
    payload,
    referrer,
    sig_manifest,
    sig_tag,
    signed,
    statement,
    with_manifest,
)

AMD64, ARM64 = "linux/amd64", "linux/arm64"
APP = demo_image("app", "1", (AMD64, ARM64), size=200)
ONE = APP.for_platform(AMD64)
SLSA, SPDX = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"
SIGN, VULN = (
    "https://sigstore.dev/cosign/sign/v1",
    "https://cosign.sigstore.dev/attestation/vuln/v1",
)
NOTE, BUILDKIT_NOTE = "dev.sigstore.bundle.predicateType", "in-toto.io/predicate-type"
IN_TOTO = "application/vnd.in-toto+json"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}


def bundle_of(predicate, subject=APP, note=True):
    """Return a bundle about an image, as cosign 3 attaches it."""
    data = bundle(statement(subject.digest, predicate), key())
    notes = {"annotations": {NOTE: predicate}} if note else {}
    return referrer(data, subject.descriptor(), **notes)


def content(kind, raw, **annotations):
    """Return a layer, and its entry in a manifest."""
    made = Layer(raw, kind, digest_of(raw), digest_of(raw), None)
    notes = {"annotations": annotations} if annotations else {}
    return made, {**made.descriptor(), **notes}


def manifest_of(*contents, **fields):
    layers, listed = zip(*contents)
    made = image(layers, platform="", history=False)
    return with_manifest(made, layers=list(listed), **fields)


def buildkit(*images, artifact=False):
    """Return an index with the attestations that BuildKit adds to each image, as an artifact if it is new."""
    proofs = []
    for one in images:
        made = manifest_of(
            content(IN_TOTO, statement(one.digest, SPDX), **{BUILDKIT_NOTE: SPDX}),
            content(IN_TOTO, statement(one.digest, SLSA), **{BUILDKIT_NOTE: SLSA}),
            **(
                {
                    "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
                    "subject": one.descriptor(),
                    "config": EMPTY,
                }
                if artifact
                else {}
            ),
        )
        proofs.append(made)
    marks = [
        {
            **proof.descriptor(),
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": one.digest,
            },
        }
        for one, proof in zip(images, proofs)
    ]
    return index(
        [*images, *proofs], manifests=[*(one.descriptor() for one in images), *marks]
    ), proofs


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, "demo/app", APP, "1")
        yield registry


@pytest.fixture(name="look")
def fixture_look(tmp_path, registry):
    def look(name="demo/app:1", platforms=(), attached=True):
        registry.clear()
        plan = plan_registry_info(
            [Reference.parse(f"{registry.address}/{name}")],
            sources=Puller(tmp_path, registry).sources,
            workers=4,
            platforms=[Platform.parse(text) for text in platforms],
            attached=attached,
        )
        return dry_run(plan).result()["images"]

    return look


def kinds(entry):
    return [
        (one["kind"], one["found_in"], one["predicate_type"] or one["artifact_type"] or one["media_type"])
        for one in entry["attached"]
    ]  # fmt: skip


def test_nothing_is_requested_unless_it_is_asked_for(look, registry):
    push(registry, "demo/app", bundle_of(SIGN))
    assert [one["attached"] for one in look(attached=False)] == [[], []]
    assert [one for one in registry.requests if "referrers" in one.path or ".sig" in one.path] == []


def test_image_without_attachments_costs_four_requests_for_each_digest(look, registry):
    assert [one["attached"] for one in look(platforms=[AMD64])] == [[]]
    paths = [one.path.partition("/demo/app/")[2] for one in registry.requests]
    asked = [path for path in paths if not path.startswith("blobs/")]
    names = [
        f"{tag}{suffix}"
        for tag in (one.digest.replace(":", "-") for one in (APP, ONE))
        for suffix in (".sig", ".att", ".sbom")
    ]
    assert sorted(asked) == sorted(
        [
            "manifests/1",
            f"manifests/{APP.digest}",
            f"manifests/{ONE.digest}",
            *(f"manifests/{name}" for name in names),
            *(f"referrers/{one.digest}" for one in (APP, ONE)),
        ]
    )


def test_tags_of_cosign_are_listed_with_their_layers(look, registry):
    name = f"{registry.address}/demo/app"
    signature = signed(payload(APP.digest, name), key())
    push(registry, "demo/app", sig_manifest([signature]), sig_tag(APP.digest))
    proofs = [attestation(statement(APP.digest, kind), key(), kind) for kind in (SPDX, SLSA, VULN)]
    push(registry, "demo/app", sig_manifest(proofs), att_tag(APP.digest))
    sbom = manifest_of(content("text/spdx+json", b"{}"), content("application/x", b"unknown"))
    push(registry, "demo/app", sbom, att_tag(APP.digest).replace(".att", ".sbom"))
    for entry in look():
        found = [(kind, where.rpartition(".")[2], what) for kind, where, what in kinds(entry)]
        assert sorted(found) == [
            ("attestation", "att", VULN),
            ("provenance", "att", SLSA),
            ("sbom", "att", SPDX),
            ("sbom", "sbom", "application/x"),
            ("sbom", "sbom", "text/spdx+json"),
            ("signature", "sig", "application/vnd.dev.cosign.simplesigning.v1+json"),
        ]
        one = entry["attached"][0]
        assert (one["kind"], one["digest"], one["size"]) == (
            "signature",
            digest_of(signature.data),
            len(signature.data),
        )
        assert (one["status"], one["subject"]) == ("present, not verified", APP.digest)
    # Payloads are never read, only the configurations of the two images.
    assert sum("/blobs/" in one.path for one in registry.requests) == 2


def test_attachments_of_a_platform_are_listed_with_it_only(look, registry):
    push(registry, "demo/app", bundle_of(SLSA, ONE))
    push(registry, "demo/app", bundle_of(SIGN))
    amd64, arm64 = look()
    assert [(one["kind"], one["subject"]) for one in amd64["attached"]] == [
        ("signature", APP.digest),
        ("provenance", ONE.digest),
    ]
    assert [one["kind"] for one in arm64["attached"]] == ["signature"]


def test_list_of_referrers_is_enough_if_it_states_the_type(look, registry):
    push(registry, "demo/app", bundle_of(SIGN))
    push(registry, "demo/app", referrer(b"{}", APP.descriptor(), "application/spdx+json"))
    push(
        registry,
        "demo/app",
        referrer(b"{}", APP.descriptor(), "application/vnd.cncf.notary.signature"),
    )
    (entry,) = look(platforms=[ARM64])
    assert set(kinds(entry)) == {
        ("signature", "referrers", SIGN),
        ("signature", "referrers", "application/vnd.cncf.notary.signature"),
        ("sbom", "referrers", "application/spdx+json"),
    }
    assert [one["kind"] for one in entry["attached"]] == ["signature", "signature", "sbom"]
    assert sum(one.path.partition("/manifests/")[2].startswith("sha256:") for one in registry.requests) == 2  # fmt: skip


def test_manifest_is_read_if_the_list_does_not_state_the_type(look, registry):
    """Cosign 3 states the type of the configuration, and without the API a client may state nothing."""
    registry.faults.append(Fault(path="/referrers/", status=404, times=None))
    made = [bundle_of(SIGN), bundle_of(SLSA), bundle_of(VULN, note=False)]
    for one in made:
        push(registry, "demo/app", one)
    entries = [
        {**made[0].descriptor(), "artifactType": EMPTY["mediaType"]},
        made[1].descriptor(),
        {**made[2].descriptor(), "artifactType": BUNDLE},
        # It was deleted, and a client has left its entry.
        {**made[2].descriptor(), "digest": digest_of(b"gone"), "artifactType": BUNDLE},
    ]
    listed = index([], manifests=entries)
    push(registry, "demo/app", listed, APP.digest.replace(":", "-"))
    (entry,) = look(platforms=[ARM64])
    assert kinds(entry) == [
        ("signature", "referrers", SIGN),
        ("provenance", "referrers", SLSA),
        ("other", "referrers", BUNDLE),
    ]


@pytest.mark.parametrize("artifact", [False, True], ids=["old", "artifact"])
def test_attestations_of_buildkit_are_listed_with_their_image(look, registry, artifact):
    item, proofs = buildkit(*APP.images, artifact=artifact)
    push(registry, "demo/app", item, "2")
    for entry, proof, own in zip(look("demo/app:2"), proofs, APP.images):
        assert kinds(entry) == [("sbom", "index", SPDX), ("provenance", "index", SLSA)]
        assert {one["subject"] for one in entry["attached"]} == {own.digest}
        assert [one["digest"] for one in entry["attached"]] == [
            layer["digest"] for layer in proof.view["layers"]
        ]
        assert entry["manifest"] == own.digest
    # By its digest, a platform is no longer in an index, but an artifact refers to it.
    (alone,) = look(f"demo/app@{ONE.digest}")
    assert [one["found_in"] for one in alone["attached"]] == ["referrers"] * (2 * artifact)


def test_attestations_that_were_not_copied_are_not_listed(look, registry):
    item, proofs = buildkit(*APP.images)
    push(registry, "demo/app", item, "2")
    registry.faults.append(Fault(path=f"/manifests/{proofs[0].digest}", status=404, times=None))
    assert [len(one["attached"]) for one in look("demo/app:2")] == [0, 2]


def test_manifests_that_are_read_are_bounded(look, registry):
    entries = [
        {**ONE.descriptor(), "digest": digest_of(str(number).encode()), "artifactType": BUNDLE}
        for number in range(60)
    ]
    listed = index([], manifests=entries)
    headers = {"Content-Type": listed.media_type}
    path = f"/referrers/{APP.digest}"
    registry.faults.append(Fault(path=path, status=200, headers=headers, body=listed.raw, times=None))  # fmt: skip
    (entry,) = look(platforms=[ARM64])
    assert [one["kind"] for one in entry["attached"]] == ["other"] * 10
    assert sum(one.path.partition("/manifests/")[2].startswith("sha256:") for one in registry.requests) == 52  # fmt: skip


def test_index_under_a_tag_of_cosign_is_not_hidden(look, registry):
    push(registry, "demo/app", index([]), sig_tag(APP.digest))
    assert [one["kind"] for one in look(platforms=[ARM64])[0]["attached"]] == ["other"]


@pytest.mark.parametrize("path", [r"\.sig", r"\.sbom", "/referrers/"])
@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication-failed"), (403, "denied"), (500, "registry-error")]
)
def test_refusal_is_an_error_and_not_an_empty_list(look, registry, path, status, kind):
    tags = [f"{APP.digest.replace(':', '-')}{suffix}" for suffix in (".sig", ".sbom")]
    for tag in tags:
        push(registry, "demo/app", sig_manifest([]), tag)
    registry.faults.append(Fault(path=path, status=status, times=None))
    with pytest.raises(LockstepError) as caught:
        look()
    assert caught.value.kind == kind
