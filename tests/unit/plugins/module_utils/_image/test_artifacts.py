# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of what is attached to images."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.artifacts import (
    COSIGN_TAGS,
    attestations_subject,
    is_conclusive,
    kind_of,
    predicate_type_of,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations import referrers
from ansible_collections.lockstep.images.tests.support.bodies import digest_of

PREDICATES = {
    "https://sigstore.dev/cosign/sign/v1": "signature",
    "https://slsa.dev/provenance/v0.2": "provenance",
    "https://slsa.dev/provenance/v1": "provenance",
    "https://spdx.dev/Document": "sbom",
    "https://spdx.dev/Document/v2.3": "sbom",
    "https://cyclonedx.org/bom": "sbom",
    "https://cyclonedx.org/bom/v1.4": "sbom",
    "https://syft.dev/bom": "sbom",
    "https://slsa.dev/verification_summary/v1": "attestation",
    "https://cosign.sigstore.dev/attestation/vuln/v1": "attestation",
    "https://evil.example/?https://slsa.dev/provenance/v1": "attestation",
}
TYPES = {
    "application/vnd.dev.cosign.simplesigning.v1+json": "signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "signature",
    "application/vnd.cncf.notary.signature": "signature",
    "application/spdx+json": "sbom",
    "text/spdx": "sbom",
    "application/vnd.cyclonedx+json": "sbom",
    "application/vnd.CycloneDX+xml": "sbom",
    "application/vnd.syft+json": "sbom",
    "application/vnd.in-toto+json": "attestation",
    "application/vnd.dsse.envelope.v1+json": "attestation",
    "application/vnd.docker.attestation.manifest.v1+json": "attestation",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "other",
    "application/vnd.cncf.helm.config.v1+json": "other",
    "": "other",
}


@pytest.mark.parametrize(("predicate", "kind"), PREDICATES.items())
def test_predicate_decides_the_kind(predicate, kind):
    assert kind_of(predicate, "application/vnd.dev.sigstore.bundle.v0.3+json") == kind
    assert is_conclusive("application/vnd.dev.sigstore.bundle.v0.3+json", predicate)


@pytest.mark.parametrize(("name", "kind"), TYPES.items())
def test_type_decides_the_kind_without_a_predicate(name, kind):
    assert kind_of("", name) == kind
    assert kind_of("", "application/x", name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "",
        "application/vnd.oci.empty.v1+json",
        "application/vnd.in-toto+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.docker.attestation.manifest.v1+json",
    ],
)
def test_type_that_can_contain_anything_is_not_conclusive(name):
    assert not is_conclusive(name, "")
    assert is_conclusive("application/spdx+json", "")


def test_each_tool_states_the_type_of_a_predicate_in_its_own_annotation():
    notes = ("dev.sigstore.bundle.predicateType", "predicateType", "in-toto.io/predicate-type")
    assert [predicate_type_of({note: "a"}) for note in notes] == ["a"] * 3
    assert predicate_type_of({notes[0]: ""}) == predicate_type_of({"other": "a"}) == ""


def test_entry_of_buildkit_names_the_image_of_its_attestations():
    digest = digest_of(b"image")
    notes = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": digest,
    }
    assert str(attestations_subject(notes)) == digest
    for key, value in (
        ("vnd.docker.reference.type", "other"),
        ("vnd.docker.reference.digest", "x"),
    ):
        assert attestations_subject({**notes, key: value}) is None
        assert attestations_subject({name: notes[name] for name in notes if name != key}) is None


def test_tags_of_cosign_are_those_that_are_copied_with_an_image():
    assert ("", *COSIGN_TAGS) == referrers._SUFFIXES
