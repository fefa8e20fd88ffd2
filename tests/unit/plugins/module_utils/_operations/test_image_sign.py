# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images are signed once, in the forms that were asked for, and verified by what verifies signatures of cosign."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.image_sign import (
    plan_image_sign,
    registry_places,
    signing_of,
    store_places,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.push import plan_push
from ansible_collections.lockstep.images.plugins.module_utils._operations.sending import (
    SendOptions,
    SendPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, index, push
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.pulling import LOGIN, USER, USERS
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import key, sig_tag
from ansible_collections.lockstep.images.tests.support.stores import pull
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, Verifier, rule

AMD64, ARM64 = "linux/amd64", "linux/arm64"
APP = demo_image("app", "1", (AMD64, ARM64), size=100, attestations=True)
OTHER = demo_image("app", "2", size=100)


@pytest.fixture(name="registry", params=[True, False], ids=["referrers", "fallback tag"])
def fixture_registry(request):
    with Registry(referrers=request.param) as registry:
        push(registry, REPOSITORY, APP, "1")
        push(registry, REPOSITORY, OTHER, "2")
        yield registry


@pytest.fixture(name="verifier")
def fixture_verifier(tmp_path, registry):
    return Verifier(tmp_path, registry)


def signing(kind="p256", **options):
    params = {
        "key": {"text": key(kind).secret},
        "passphrase": None,
        "form": "both",
        "annotations": None,
        "recursive": False,
        "signed_as": "repository",
        **options,
    }
    return signing_of(params)


def plan(verifier, *names, places=None, **options):
    references = [Reference.parse(name) for name in names or [f"{verifier.name}:1"]]
    places = places or registry_places(verifier.puller.sources)
    return plan_image_sign(references, signing(**options), places, 3)


def sign(verifier, *names, **how):
    """Sign, check that check mode shows the same, and return the result."""
    shown = dry_run(plan(verifier, *names, **how)).result()
    outcome = execute(plan(verifier, *names, **how))
    if outcome.failure:
        raise outcome.failure
    result = outcome.result()
    assert {**result, "stats": None} == {**shown, "stats": None}
    again = plan(verifier, *names, **how)
    assert again.actions == ()
    assert again.before == again.after == result["diff"]["after"]
    return result


@pytest.mark.parametrize("form", ["cosign", "bundle", "both"])
@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_signed_image_is_accepted(verifier, kind, form):
    result = sign(verifier, kind=kind, form=form)
    assert result["changed"] is True
    (image,) = result["images"]
    assert (image["status"], image["digest"]) == ("signed", APP.digest)
    assert image["pinned"] == f"{verifier.name}:1@{APP.digest}"
    verified = verifier.verified(rule("*", key(kind)))["verified"]
    assert (verified["covers"], verified["by"]) == ("index", [f"key {result['signer']}"])
    assert verified["signatures"][0]["form"] == ("bundle" if form == "bundle" else "cosign")
    assert verifier.kind(rule("*", key("p384"))) == "signature-invalid"
    assert result["public_key"] == key(kind).public


def test_keys_sign_beside_each_other(verifier):
    for kind in ("p256", "ed25519", "p384"):
        sign(verifier, kind=kind)
    keys = [key(kind) for kind in ("p256", "ed25519", "p384")]
    assert len(verifier.verified(rule("*", *keys, count=3))["verified"]["by"]) == 3
    bundles = verifier.puller.sources.repository(Reference.parse(f"{verifier.name}:1"))
    assert len(bundles.referrers(Reference.parse(f"a.b/c@{APP.digest}").digest)) == 3


def test_other_annotations_are_another_signature(verifier):
    sign(verifier, annotations={"env": "test"})
    assert verifier.kind(rule(annotations={"env": "prod"})) == "signature-mismatch"
    sign(verifier, annotations={"env": "prod"})
    for env in ("test", "prod"):
        assert verifier.kind(rule(annotations={"env": env})) == ""
    assert plan(verifier).actions == ()  # a signature with more annotations is one, too


def test_exact_name_is_stated(verifier):
    sign(verifier, signed_as="exact")
    assert verifier.kind(rule(signed_as="exact")) == ""
    assert len(plan(verifier, f"{verifier.name}:1").actions) == 1
    assert len(plan(verifier, f"{verifier.name}@{APP.digest}", signed_as="exact").actions) == 1


def test_recursive_signs_every_manifest(verifier):
    result = sign(verifier, form="cosign", recursive=True)
    children = [one["digest"] for one in APP.view["manifests"]]
    assert [one["digest"] for one in result["images"][0]["signatures"]] == [APP.digest, *children]
    assert verifier.verified(rule(level="platform"), platform=["all"])["verified"]["covers"] == "platforms"  # fmt: skip


def test_only_the_missing_signatures_are_made(verifier):
    sign(verifier, form="cosign")
    result = sign(verifier, recursive=True)
    statuses = {(one["digest"], one["form"]): one["status"] for one in result["images"][0]["signatures"]}  # fmt: skip
    assert statuses[APP.digest, "cosign"] == "up_to_date"
    assert set(statuses.values()) == {"up_to_date", "signed"}


def test_tags_of_one_image_share_a_signature(verifier, registry):
    push(registry, REPOSITORY, APP, "stable")
    names = [f"{verifier.name}:{tag}" for tag in ("1", "stable", "1")]
    result = sign(verifier, *names, form="cosign")
    assert len(result["actions"]) == 1
    assert [one["name"] for one in result["images"]] == names[:2]


def test_failed_image_does_not_hold_back_others(verifier):
    outcome = execute(plan(verifier, f"{verifier.name}:missing", f"{verifier.name}:2"))
    assert [one["name"] for one in outcome.result()["failures"]] == [f"{verifier.name}:missing"]
    assert [one["name"] for one in outcome.result()["images"]] == [f"{verifier.name}:2"]
    assert outcome.failure.kind == "not-found"
    assert verifier.kind(names=[f"{verifier.name}:2"]) == ""


def test_place_of_signatures_that_is_something_else_is_not_changed(verifier, registry):
    push(registry, REPOSITORY, index([OTHER]), sig_tag(APP.digest))
    outcome = dry_run(plan(verifier))
    assert outcome.failure.kind == "signature-invalid"
    assert "is an index" in str(outcome.failure)


def test_refused_login_is_an_error(tmp_path):
    with Registry(auth="bearer", users=USERS) as registry:
        push(registry, REPOSITORY, APP, "1")
        verifier = Verifier(tmp_path, registry, login=Credentials(USER, "wrong"))
        assert dry_run(plan(verifier)).failure.kind == "authentication-failed"
        sign(Verifier(tmp_path, registry, login=LOGIN))


def test_images_of_a_store_are_signed_and_pushed(verifier, registry):
    store, name = verifier.puller.store, f"{verifier.name}:1"
    pull(store, verifier.puller.sources, name, platforms=None)
    registry.clear()
    with store.hold():
        result = sign(verifier, places=store_places(store), recursive=True)
        assert len(result["actions"]) == 2 * (1 + len(APP.view["manifests"]))
        assert verifier.verified(store=store)["verified"]["covers"] == "index"
    assert registry.requests == []
    assert verifier.kind() == "signature-missing"
    with store.hold():
        planner = SendPlanner(verifier.puller.sources, SendOptions(3, referrers=True))
        assert execute(plan_push(store, [name], [], planner)).failure is None
    for form in ("cosign", "bundle"):
        assert plan(verifier, form=form, recursive=True).actions == ()


def test_image_that_a_store_lacks_is_an_error(verifier):
    store = verifier.puller.store
    assert dry_run(plan(verifier, places=store_places(store))).failure.kind == "not-in-store"
    pull(store, verifier.puller.sources, f"{verifier.name}:1", platforms=[AMD64])
    places = store_places(store)
    assert len(plan(verifier, places=places).actions) == 2
    assert dry_run(plan(verifier, places=places, recursive=True)).failure.kind == "not-in-store"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"key": {"text": "text"}}, "invalid-key"),
        ({"key": {"path": "/nonexistent/a.key"}}, "invalid-key"),
        ({"key": {"path": "/"}}, "invalid-key"),
        ({"form": "bundle", "signed_as": "exact"}, "invalid-input"),
        ({"annotations": {"number": 1}}, "invalid-input"),
    ],
)
def test_invalid_option_names_its_kind(options, kind):
    with pytest.raises(LockstepError) as caught:
        signing(**options)
    assert caught.value.kind == kind
