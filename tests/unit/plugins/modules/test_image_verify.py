# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_verify, as Ansible runs it."""

from __future__ import annotations

import json
import os
import sys

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    BUNDLE,
    key,
    payload,
    sig_manifest,
    sig_tag,
    signed,
)
from ansible_collections.lockstep.images.tests.support.verifying import rule

APP = demo_image("app", "1", size=200)
OTHER = demo_image("app", "2", size=200)
TYPE = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(name="registry", scope="module")
def fixture_registry():
    with Registry() as registry:
        push(registry, "demo/app", APP, "1")
        push(registry, "demo/app", OTHER, "2")
        made = sig_manifest([signed(payload(APP.digest, f"{registry.address}/demo/app"), key())])
        push(registry, "demo/app", made, sig_tag(APP.digest))
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry):
    return {
        "name": [f"{registry.address}/demo/app:1"],
        "verify": [rule(registry.address)],
        "retries": 0,
    }


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_verify", monkeypatch) == documented_options("image_verify")


def test_results_are_documented_and_nothing_is_changed(registry, params):
    registry.clear()
    for outcome in four_times("image_verify", **params):
        assert_as_documented("image_verify", outcome.result)
        assert outcome.result["changed"] is False
        assert outcome.result["pinned"] == [f"{params['name'][0]}@{APP.digest}"]
    assert registry.requests_by_method() == {"HEAD": 4, "GET": 8}


def test_key_file_is_read_on_the_host(params, tmp_path):
    (tmp_path / "a.pub").write_text(key().public)
    verify = [{"match": "*", "keys": [{"path": os.fspath(tmp_path / "a.pub")}]}]
    assert not run("image_verify", **{**params, "verify": verify}).failed


def test_file_of_a_policy_that_is_a_link_is_refused(params, tmp_path):
    real, link = tmp_path / "a", tmp_path / "b"
    real.write_text(key().public)
    link.symlink_to(real)
    for path, kind in ((real, None), (link, "invalid-policy")):
        verify = [{"match": "*", "keys": [{"path": os.fspath(path)}]}]
        assert run("image_verify", **{**params, "verify": verify}).kind == kind
    gpg = {"keyring": {"path": os.fspath(link)}, "lookaside": "https://example.com"}
    outcome = run("image_verify", **{**params, "verify": [{"match": "*", "gpg": gpg}]})
    assert outcome.kind == "invalid-policy"
    assert os.fspath(link) in outcome.result["msg"]


def test_images_in_a_store_are_verified(params, tmp_path):
    store = os.fspath(tmp_path / "store")
    run("image_pull", name=params["name"], referrers=True, store=store, platform=["linux/amd64"])
    found = {**params, "source": "store", "store": store}
    for outcome in four_times("image_verify", **found):
        assert outcome.result["pinned"] == [f"{params['name'][0]}@{APP.digest}"]
        assert "stats" not in outcome.result


def test_subject_of_a_rule_is_not_hidden(registry, params):
    """A URL with an @ looks like one with a password."""
    outcome = run("image_verify", **{**params, "name": [f"{registry.address}/demo/app:2"]})
    assert "VALUE_SPECIFIED_IN_NO_LOG" not in outcome.stdout
    strange = [{"match": "https://a.b/c@refs/tags/x", "accept": "unsigned"}]
    outcome = run("image_verify", **{**params, "verify": strange})
    assert "https://a.b/c@refs/tags/x is not a scope" in outcome.result["msg"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"name": ["a b"]}, "invalid-reference", id="name"),
        pytest.param({"platform": ["a/b/c/d"]}, "invalid-platform", id="platform"),
        pytest.param({"verify": []}, "invalid-policy", id="no rules"),
        pytest.param({"verify": "text"}, "invalid-policy", id="text"),
        pytest.param({"verify": [rule("a.b")]}, "policy-rejected", id="no rule matches"),
        pytest.param({"verify": [rule("*", key("rsa"))]}, "signature-invalid", id="another key"),
        pytest.param({"verify": [rule(signed_as="exact")]}, "signature-mismatch", id="exact"),
        pytest.param({"name": ["{registry}/demo/app:2"]}, "signature-missing", id="unsigned"),
        pytest.param({"name": ["{registry}/demo/app:3"]}, "not-found", id="no image"),
        pytest.param({"parallel": 0}, "invalid-input", id="parallel"),
        pytest.param(
            {"source": "store", "store": "/nonexistent/store"}, "not-in-store", id="store"
        ),
    ],
)
def test_a_failure_names_its_kind(registry, params, change, kind):
    change = dict(change)
    if "name" in change:
        change["name"] = [change["name"][0].format(registry=registry.address)]
    answers = four_times("image_verify", **{**params, **change})
    assert {outcome.kind for outcome in answers} == {kind}
    assert_as_documented("image_verify", {"error": answers[0].result["error"]}, "failure")
    assert "Traceback" not in answers[0].stdout + answers[0].stderr


def test_invalid_policy_costs_no_request(registry, params):
    registry.clear()
    verify = [*params["verify"], {"match": "a.b", "keys": [{"path": "/nonexistent"}]}]
    assert run("image_verify", **{**params, "verify": verify}).kind == "invalid-policy"
    assert registry.requests == []


@pytest.mark.parametrize("library", ["cryptography", "requests"])
def test_missing_library_is_reported(params, library):
    outcome = run("image_verify", missing=(library,), **params)
    assert outcome.kind == "missing-dependency"
    assert outcome.result["error"]["library"] == library
    assert library in outcome.result["msg"]
    assert_as_documented("image_verify", {"error": outcome.result["error"]}, "failure")


def test_policy_that_needs_no_signature_needs_no_library(params):
    verify = [{"match": "*", "accept": "unsigned"}]
    outcome = run("image_verify", missing=("cryptography",), **{**params, "verify": verify})
    assert outcome.result["images"][0]["verified"]["by"] == ["unsigned"]


# Write the largest resident size of a command in KiB to a file. The process that runs it is small itself.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def peak_of(tmp_path, params):
    """Verify, and return the kind of the error and the largest resident size in MiB."""
    peak = tmp_path / "peak"
    launcher = [sys.executable, "-c", MEASURED, os.fspath(peak)]
    kind = run("image_verify", launcher=launcher, **params).kind
    return kind, int(peak.read_text()) / 1024


def test_flood_of_signatures_needs_little_memory(tmp_path):
    """Ten thousand referrers, and a payload of 1 GiB, each with less than 96 MiB."""
    with Registry() as registry:
        push(registry, "demo/app", APP, "1")
        name = f"{registry.address}/demo/app"
        entry = signed(payload(APP.digest, name), key())
        push(registry, "demo/app", sig_manifest([entry]), sig_tag(APP.digest))
        params = {"name": [f"{name}:1"], "verify": [rule()], "retries": 0}
        kind, control = peak_of(tmp_path, params)
        assert kind is None
        registry.faults.append(Fault(path="/blobs/", status=200, body=Filler(1 << 30), times=None))
        kind, peak = peak_of(tmp_path, params)
        assert kind == "size-mismatch" and peak < control + 16 < 96
        push(registry, "demo/app", sig_manifest([]), sig_tag(APP.digest))
        one = {**APP.descriptor(), "artifactType": BUNDLE}
        many = [{**one, "digest": f"sha256:{number:064x}"} for number in range(10_000)]
        listed = json.dumps({"schemaVersion": 2, "mediaType": TYPE, "manifests": many})
        headers = {"Content-Type": TYPE}
        registry.faults.append(Fault(path="/referrers/", status=200, headers=headers, body=listed))
        kind, peak = peak_of(tmp_path, params)
        assert kind == "signature-invalid" and peak < control + 48 < 96
