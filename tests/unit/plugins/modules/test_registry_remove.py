# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module registry_remove, as Ansible runs it."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry

USER, PASSWORD = "robot", "correct-horse-battery"
APP = demo_image("app", "1", size=200)


@pytest.fixture(name="registry", params=[None, "basic", "bearer"], ids=str)
def fixture_registry(request):
    with Registry(auth=request.param, users={USER: PASSWORD}) as registry:
        push(registry, "demo/app", APP, "1", "2", "3")
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry):
    return {
        "name": [f"{registry.address}/demo/app:{tag}" for tag in ("1", "2", "none")],
        "username": USER,
        "password": PASSWORD,
        "retries": 0,
    }


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("registry_remove", monkeypatch) == documented_options("registry_remove")


@pytest.mark.parametrize(("by", "left", "deleted"), [("tag", ["3"], 2), ("digest", [], 1)])
def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(
    registry, params, by, left, deleted
):
    outcomes = four_times("registry_remove", by=by, **params)
    assert [one.result["changed"] for one in outcomes] == [True, True, False, False]
    check, real, check_again, again = (one.result for one in outcomes)
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("removed", "diff"))
        assert sorted(map(str, one["actions"])) == sorted(map(str, other["actions"]))
    assert [one["name"] for one in real["removed"]] == params["name"][:2]
    assert {one["digest"] for one in real["removed"]} == {APP.digest}
    assert again["removed"] == again["actions"] == []
    assert registry.storage.tags("demo/app") == left
    assert registry.requests_by_method()["DELETE"] >= deleted
    for outcome in outcomes:
        assert_as_documented("registry_remove", outcome.result)
        assert PASSWORD not in outcome.stdout + outcome.stderr


def test_check_mode_deletes_nothing(registry, params):
    assert run("registry_remove", check=True, **params).result["changed"]
    assert "DELETE" not in registry.requests_by_method()


def test_refusal_is_reported_only_for_its_name_and_as_documented(registry, params):
    registry.faults.append(
        Fault(method="DELETE", path="/manifests/1$", status=405, times=None, body=b"")
    )
    outcome = run("registry_remove", **params)
    assert_as_documented("registry_remove", outcome.result, "failure")
    assert (outcome.kind, outcome.result["changed"]) == ("registry-unsupported", True)
    assert "by: digest" in outcome.result["msg"]
    assert [one["name"] for one in outcome.result["failures"]] == params["name"][:1]
    assert [one["name"] for one in outcome.result["removed"]] == params["name"][1:2]
    assert registry.storage.tags("demo/app") == ["1", "3"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"name": ["a b"]}, "invalid-reference", id="name"),
        pytest.param({"name": [f"x@{APP.digest}"]}, "invalid-input", id="no tag"),
        pytest.param({"parallel": 0}, "invalid-input", id="parallel"),
        pytest.param({"name": ["127.0.0.1:1/x"]}, "registry-unreachable", id="unreachable"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(registry, params, change, kind):
    outcome = run("registry_remove", **{**params, **change})
    assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert registry.storage.tags("demo/app") == ["1", "2", "3"]


def test_missing_requests_is_reported(params):
    outcome = run("registry_remove", missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert outcome.result["changed"] is False
