# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_sign, as Ansible runs it."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.verifying import rule

APP = demo_image("app", "1", size=200)
PASSPHRASE = "correct horse battery"


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, "demo/app", APP, "1")
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry):
    return {
        "name": [f"{registry.address}/demo/app:1"],
        "key": {"text": key().secret},
        "retries": 0,
    }


@pytest.fixture(name="encrypted", scope="module")
def fixture_encrypted():
    return {"key": {"text": key().encrypted(PASSPHRASE)}, "passphrase": PASSPHRASE}


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_sign", monkeypatch) == documented_options("image_sign")


def test_results_are_documented_and_check_mode_equals_the_real_run(params, encrypted):
    check, real, *again = four_times("image_sign", **{**params, **encrypted})
    for outcome in (check, real, *again):
        assert_as_documented("image_sign", outcome.result)
        assert PASSPHRASE not in outcome.stdout + outcome.stderr
        assert "PRIVATE KEY" not in outcome.stdout + outcome.stderr
    for name in ("actions", "images", "diff", "changed"):
        assert check.result[name] == real.result[name]
    assert [one.result["changed"] for one in (check, real, *again)] == [True, True, False, False]
    verify = [{"match": "*", "keys": [{"text": real.result["public_key"]}]}]
    verified = run("image_verify", name=params["name"], verify=verify, retries=0).result
    assert verified["images"][0]["verified"]["by"] == [f"key {real.result['signer']}"]


def test_key_file_is_read_on_the_host(params, tmp_path):
    path = tmp_path / "shop.key"
    path.write_text(key("ed25519").secret)
    found = {"name": params["name"], "key": {"path": os.fspath(path)}, "retries": 0}
    assert not run("image_sign", **found).failed
    verify = [rule("*", key("ed25519"))]
    assert not run("image_verify", name=params["name"], verify=verify, retries=0).failed


def test_images_in_a_store_are_signed(registry, params, tmp_path):
    store = os.fspath(tmp_path / "store")
    run("image_pull", name=params["name"], store=store, platform=["linux/amd64"])
    registry.clear()
    found = {**params, "source": "store", "store": store}
    check, real, *again = four_times("image_sign", **found)
    assert check.result["diff"] == real.result["diff"]
    assert [one.result["changed"] for one in (check, real, *again)] == [True, True, False, False]
    verify = {"verify": [rule()], "source": "store", "store": store}
    assert not run("image_verify", name=params["name"], **verify).failed
    assert registry.requests == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"name": ["a b"]}, "invalid-reference", id="name"),
        pytest.param({"passphrase": "wrong horse"}, "invalid-key", id="passphrase"),
        pytest.param({"key": {"text": "no key"}}, "invalid-key", id="key"),
        pytest.param({"key": {"path": "/nonexistent/a.key"}}, "invalid-key", id="no file"),
        pytest.param({"annotations": {"a": 1}}, "invalid-input", id="annotations"),
        pytest.param({"form": "bundle", "signed_as": "exact"}, "invalid-input", id="exact"),
        pytest.param({"name": ["{registry}/demo/app:3"]}, "not-found", id="no image"),
        pytest.param({"parallel": 0}, "invalid-input", id="parallel"),
        pytest.param({"source": "store", "store": "/nonexistent/s"}, "not-in-store", id="store"),
    ],
)
def test_a_failure_names_its_kind(registry, params, encrypted, change, kind):
    change = dict(change)
    if "name" in change:
        change["name"] = [change["name"][0].format(registry=registry.address)]
    if "passphrase" in change:
        change = {**encrypted, **change}
    answers = [run("image_sign", check=check, **{**params, **change}) for check in (True, False)]
    assert {outcome.kind for outcome in answers} == {kind}
    assert_as_documented("image_sign", {"error": answers[0].result["error"]}, "failure")
    shown = answers[0].stdout + answers[0].stderr
    assert "Traceback" not in shown and PASSPHRASE not in shown


def test_invalid_key_costs_no_request(registry, params):
    registry.clear()
    assert run("image_sign", **{**params, "passphrase": "of no use"}).kind == "invalid-key"
    assert registry.requests == []


@pytest.mark.parametrize("library", ["cryptography", "requests"])
def test_missing_library_is_reported(params, library):
    outcome = run("image_sign", missing=(library,), **params)
    assert outcome.kind == "missing-dependency"
    assert outcome.result["error"]["library"] == library
    assert_as_documented("image_sign", {"error": outcome.result["error"]}, "failure")
