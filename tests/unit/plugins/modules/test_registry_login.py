# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module registry_login, as Ansible runs it."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry

USER, PASSWORD = "robot", "correct-horse-battery"
AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(name="registry", params=["basic", "bearer"])
def fixture_registry(request):
    with Registry(auth=request.param, users={USER: PASSWORD}) as registry:
        yield registry


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "docker" / "config.json"


@pytest.fixture(name="params")
def fixture_params(registry, path):
    return {
        "registry_url": registry.address,
        "username": USER,
        "password": PASSWORD,
        "config_path": str(path),
        "retries": 0,
    }


def assert_no_secret(outcome):
    assert not [word for word in (PASSWORD, AUTH) if word in outcome.stdout + outcome.stderr]


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("registry_login", monkeypatch) == documented_options("registry_login")


def test_login_is_verified_stored_once_and_never_shown(registry, params, path):
    outcomes = four_times("registry_login", **params)
    assert [one.result["changed"] for one in outcomes] == [True, True, False, False]
    check, real, check_again, again = (one.result for one in outcomes)
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("actions", "diff", "login_result"))
    assert json.loads(path.read_bytes()) == {"auths": {registry.address: {"auth": AUTH}}}
    assert path.stat().st_mode & 0o777 == 0o600
    for outcome in outcomes:
        assert_as_documented("registry_login", outcome.result)
        assert_no_secret(outcome)


def test_F17_given_login_is_verified_instead_of_one_in_the_option_registries(
    registry, params, path
):
    entry = {"registry": registry.address, "username": USER, "password": PASSWORD}
    params.update(username="somebody", password="else", registries=[entry])
    outcome = run("registry_login", **params)
    assert outcome.kind == "authentication-failed"
    assert not path.exists()


def test_check_mode_writes_nothing(params, path):
    assert run("registry_login", check=True, **params).result["changed"]
    assert not path.exists()


def test_logout_is_as_documented_and_sends_no_request(registry, params, path):
    run("registry_login", **params)
    registry.clear()
    gone = {"registry_url": registry.address, "config_path": str(path), "state": "absent"}
    outcomes = four_times("registry_login", **gone)
    assert [one.result["changed"] for one in outcomes] == [True, True, False, False]
    for outcome in outcomes:
        assert_as_documented("registry_login", outcome.result)
        assert_no_secret(outcome)
    assert registry.requests == []
    assert not json.loads(path.read_bytes()).get("auths")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"password": PASSWORD + "x"}, "authentication-failed", id="refused"),
        pytest.param({"registry_url": "a b"}, "invalid-reference", id="no registry"),
        pytest.param({"timeout": 0}, "invalid-input", id="timeout 0"),
    ],
)
def test_a_failure_names_its_kind_and_writes_nothing(params, path, change, kind):
    outcome = run("registry_login", **{**params, **change})
    assert (outcome.failed, outcome.kind) == (True, kind)
    assert outcome.result["changed"] is False
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert_no_secret(outcome)
    assert not path.exists()


def test_missing_requests_is_reported(params, path):
    outcome = run("registry_login", missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert_as_documented("registry_login", {"error": outcome.result["error"]}, "failure")
    assert "Failed to import the required Python library (requests)" in outcome.result["msg"]
    assert_no_secret(outcome)
    assert not path.exists()


def test_unverified_login_works_without_requests(params, path):
    outcome = run("registry_login", missing=("requests",), verify=False, **params)
    assert outcome.result["changed"]
    assert path.exists()


@pytest.mark.parametrize("value", [None, ""], ids=["null", "empty"])
@pytest.mark.parametrize("lost", [("username",), ("password",), ("username", "password")], ids=str)
def test_login_without_user_name_or_password_is_an_error(params, path, lost, value):
    outcome = run("registry_login", verify=False, **{**params, **dict.fromkeys(lost, value)})
    assert outcome.failed
    assert lost[0] in outcome.result["msg"]
    assert_no_secret(outcome)
    assert not path.exists()


def test_a_login_needs_both_options(params):
    del params["password"]
    outcome = run("registry_login", **params)
    assert "missing: password" in outcome.result["msg"]


def test_F25_a_login_that_cannot_be_written_is_reported_as_itself(params, path, tmp_path):
    """The error is about the login file, not about images."""
    (tmp_path / "docker").write_text("a file where the directory belongs")
    outcome = run("registry_login", **params)
    assert outcome.failed and outcome.kind == "invalid-auth-file"
    assert str(tmp_path) in outcome.result["msg"] and "images failed" not in outcome.result["msg"]
    assert [one["name"] for one in outcome.result["failures"]] == [params["registry_url"]]
    assert_no_secret(outcome)
