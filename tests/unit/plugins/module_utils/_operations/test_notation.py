# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with signatures of notation: the referrers that count, and those that are errors."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, index, push
from ansible_collections.lockstep.images.tests.support.notation import (
    ARTIFACT,
    COSE,
    JWS,
    chain,
    cose,
    jws,
    payload,
    rule,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    BUNDLE,
    bundle,
    fallback_index,
    key,
    referrer,
    statement,
    with_manifest,
)
from ansible_collections.lockstep.images.tests.support.stores import pull
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, Verifier

APP = demo_image("app", "1", ("linux/amd64", "linux/arm64"), size=100)
OTHER = demo_image("app", "2", size=100)
NOTATION = {"match": "*", "notation": rule()}


@pytest.fixture(name="verifier")
def fixture_verifier(tmp_path):
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        push(registry, REPOSITORY, OTHER, "2")
        yield Verifier(tmp_path, registry)


def signed(item, make=jws, by=None, **more):
    descriptor = item.descriptor()
    data = payload(item.digest, descriptor["size"], descriptor["mediaType"], **more)
    return make(data, by or chain())


def attach(verifier, item, raw, form=JWS, subject=None, tag=False, **fields):
    """Attach an envelope to an image as notation does, and return its manifest."""
    made = referrer(raw, (subject or item).descriptor(), ARTIFACT, **fields)
    listed = [{**one, "mediaType": form} for one in made.view["layers"]]
    made = with_manifest(made, layers=listed)
    push(verifier.registry, REPOSITORY, made)
    if tag:
        push(verifier.registry, REPOSITORY, fallback_index([made]), item.digest.replace(":", "-"))
    return made


@pytest.mark.parametrize(("form", "make"), [(JWS, jws), (COSE, cose)])
def test_index_is_verified(verifier, form, make):
    attach(verifier, APP, signed(APP, make), form)
    found = verifier.verified(NOTATION)["verified"]
    assert (found["covers"], found["by"]) == (
        "index",
        ["notation C=US, ST=WA, O=acme, inc, CN=builder"],
    )
    assert [one["form"] for one in found["signatures"]] == ["notation"]


def test_signature_of_a_platform_is_enough(verifier):
    one = APP.for_platform("linux/amd64")
    attach(verifier, one, signed(one))
    assert verifier.verified(NOTATION)["verified"]["covers"] == "platforms"
    assert verifier.kind(NOTATION, platform=["linux/arm64"]) == "signature-missing"


def test_fallback_tag_and_the_type_of_the_configuration_count(tmp_path):
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry)
        assert verifier.kind(NOTATION) == "signature-missing"
        attach(verifier, APP, signed(APP), tag=True)
        assert verifier.kind(NOTATION) == ""


def test_list_may_state_the_type_of_an_empty_configuration(tmp_path):
    empty = "application/vnd.oci.empty.v1+json"
    with Registry(referrers=False) as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry)
        made = attach(verifier, APP, signed(APP))
        listed = index([], manifests=[{**made.descriptor(), "artifactType": empty}])
        push(registry, REPOSITORY, listed, APP.digest.replace(":", "-"))
        assert verifier.kind(NOTATION) == ""


def test_other_signatures_do_not_count(verifier):
    verifier.sign(APP)
    verifier.attach(APP, bundle(statement(APP.digest), key()), artifact_type=BUNDLE)
    assert verifier.kind() == ""
    assert verifier.kind(NOTATION) == "signature-missing"
    attach(verifier, APP, signed(APP))
    assert (
        verifier.kind({"match": "*", "keys": [{"text": key("rsa").public}]}) == "signature-invalid"
    )


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"identities": ["x509.subject: C=US, ST=WA, O=x"]}, "signature-untrusted"),
        ({"by": chain("p384")}, "signature-untrusted"),
    ],
)
def test_other_signers_are_not_trusted(verifier, change, kind):
    attach(verifier, APP, signed(APP))
    assert verifier.kind({"match": "*", "notation": rule(**change)}) == kind


def test_names_are_not_stated(verifier):
    attach(verifier, APP, signed(APP, annotations={"env": "prod"}))
    assert verifier.kind({**NOTATION, "annotations": {"env": "prod"}}) == ""
    assert verifier.kind({**NOTATION, "annotations": {"env": "test"}}) == "signature-mismatch"
    assert verifier.kind({**NOTATION, "signed_as": "exact"}) == "signature-mismatch"


def test_signature_of_another_image_is_a_mismatch(verifier):
    attach(verifier, APP, signed(OTHER))
    assert verifier.kind(NOTATION) == "signature-mismatch"


def test_malformed_envelopes_are_invalid(verifier):
    attach(verifier, APP, b"{}")
    assert verifier.kind(NOTATION) == "signature-invalid"
    attach(verifier, APP, signed(APP), COSE)
    assert "expected 1" not in str(verifier.error(NOTATION))
    assert verifier.error(NOTATION).details["found"] == 2
    attach(verifier, APP, signed(APP))
    assert verifier.kind(NOTATION) == ""


def test_large_envelope_is_not_read(verifier):
    attach(verifier, APP, b" " * (4 * 1024 * 1024 + 1))
    assert "at most 4194304 are read" in str(verifier.error(NOTATION))


def test_more_than_fifty_signatures_are_an_error(verifier):
    for number in range(51):
        attach(verifier, APP, b"%d" % number)
    assert "has 51 signatures, at most 50 are read" in str(verifier.error(NOTATION))


@pytest.mark.parametrize("path", ["/referrers/", "/blobs/"])
def test_refused_request_is_an_error(verifier, path):
    attach(verifier, APP, signed(APP))
    verifier.registry.faults.append(Fault(path=path, status=500, times=None))
    assert verifier.kind(NOTATION) == "registry-error"


def test_signature_in_a_store_is_verified_without_a_request(verifier, tmp_path):
    attach(verifier, APP, signed(APP))
    store = ImageStore(str(tmp_path / "own"))
    pull(store, verifier.puller.sources, f"{verifier.name}:1", referrers=True)
    verifier.registry.close()
    assert verifier.verified(NOTATION, store=store)["verified"]["covers"] == "index"
