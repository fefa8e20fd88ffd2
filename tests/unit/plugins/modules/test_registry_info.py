# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module registry_info, as Ansible runs it."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer, push
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry

USER, PASSWORD = "robot", "correct-horse-battery"
APP = demo_image("app", "1", size=200)
SIGNATURE = image([layer({"s": b"s"})], artifactType="application/x", subject=APP.descriptor())


@pytest.fixture(name="registry", params=[None, "basic", "bearer"], ids=str)
def fixture_registry(request):
    with Registry(auth=request.param, users={USER: PASSWORD}) as registry:
        push(registry, "demo/app", APP, "1")
        push(registry, "demo/app", SIGNATURE)
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry):
    return {
        "name": [f"{registry.address}/demo/app:1", f"{registry.address}/demo/none:1"],
        "username": USER,
        "password": PASSWORD,
        "retries": 0,
    }


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("registry_info", monkeypatch) == documented_options("registry_info")


def test_results_are_documented_and_nothing_is_changed(registry, params):
    more = {"referrers": True, "attached": True, "repositories": True, "registry_url": registry.url}
    for outcome in four_times("registry_info", **params, **more):
        assert_as_documented("registry_info", outcome.result)
        result = outcome.result
        assert result["changed"] is False
        assert [one["platform"] for one in result["images"]] == ["linux/amd64", "linux/arm64"]
        assert [one["digest"] for one in result["images"]] == [APP.digest] * 2
        referrers = [one["referrers"][0]["digest"] for one in result["images"]]
        assert referrers == [SIGNATURE.digest] * 2
        attached = [one["attached"][0] for one in result["images"]]
        assert [one["status"] for one in attached] == ["present, not verified"] * 2
        assert result["missing"] == params["name"][1:]
        assert result["repositories"] == ["demo/app"]
        assert PASSWORD not in outcome.stdout + outcome.stderr
    assert set(registry.requests_by_method()) <= {"HEAD", "GET"}


def test_tags_are_returned_as_documented(registry, params):
    repository = f"{registry.address}/demo/app"
    outcome = run("registry_info", **{**params, "name": [repository], "tags": True})
    assert_as_documented("registry_info", outcome.result)
    assert outcome.result["tags"] == {repository: ["1"]}


def test_empty_list_of_names_returns_no_images(params):
    outcome = run("registry_info", **{**params, "name": []})
    assert (outcome.failed, outcome.result["images"]) == (False, [])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"name": ["a b"]}, "invalid-reference", id="name"),
        pytest.param({"platform": ["a/b/c/d"]}, "invalid-platform", id="platform"),
        pytest.param({"name": None}, "invalid-input", id="nothing"),
        pytest.param({"tags": True}, "invalid-input", id="tags of a tag"),
        pytest.param({"parallel": 0}, "invalid-input", id="parallel"),
        pytest.param({"name": ["127.0.0.1:1/x"]}, "registry-unreachable", id="unreachable"),
        pytest.param(
            {"name": None, "repositories": True, "registry_url": "a b"},
            "invalid-reference",
            id="registry_url",
        ),
    ],
)
def test_a_failure_names_its_kind(params, change, kind):
    outcome = run("registry_info", **{**params, **change})
    assert (outcome.failed, outcome.kind) == (True, kind)
    assert_as_documented("registry_info", {"error": outcome.result["error"]}, "failure")
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert PASSWORD not in outcome.stdout + outcome.stderr


def test_missing_requests_is_reported(params):
    outcome = run("registry_info", missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert_as_documented("registry_info", {"error": outcome.result["error"]}, "failure")
