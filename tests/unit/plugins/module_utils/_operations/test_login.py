# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans to store and to remove a login."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    lock_directory,
    login_path,
    plan_login,
    plan_logout,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    places,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginwriter import (
    save_login,
)
from ansible_collections.lockstep.images.tests.support.logins import (
    KEEPER,
    Helpers,
    find_login,
    login,
    write_auth_file,
)
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    secret_forms,
    short,
)

SECRET = "hunter22"
USER = Credentials("alice", SECRET)
HOST = "registry.example"


@pytest.fixture(name="path")
def fixture_path(tmp_path) -> Path:
    return tmp_path / "auth.json"


@pytest.fixture(name="helpers")
def fixture_helpers(tmp_path, monkeypatch) -> Helpers:
    return Helpers(tmp_path / "bin", monkeypatch)


class FakeRegistry:
    """A registry that takes a login, refuses it, or wants none ("")."""

    def __init__(self, name: str = HOST, scheme: str = "bearer", refuses: bool = False) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.pings = 0
        self._scheme = scheme
        self._refuses = refuses

    def request(self, method: str, path: str, repository: str) -> types.SimpleNamespace:
        assert (method, path, repository) == ("GET", "", "")
        self.pings += 1
        if self._refuses:
            raise AuthenticationError(f"{self.name}: the credentials for user alice were refused")
        return types.SimpleNamespace(status=200, close=lambda: None)

    @property
    def login_scheme(self) -> str:
        return self._scheme


def log_in(path, registry=None, who=USER, verify=True, reauthorize=False):
    return plan_login(
        registry or FakeRegistry(), who, str(path), verify=verify, reauthorize=reauthorize
    )


def test_login_goes_to_the_docker_file_in_the_home_of_the_user():
    """A019: the home is that of the user a task became, which the caller knows."""
    assert login_path(None, {}, "/home/alice") == "/home/alice/.docker/config.json"
    assert login_path(None, {"DOCKER_CONFIG": "/docker"}, "/root") == "/docker/config.json"
    assert all(place.name.startswith(("/root/", "/run/")) for place in places(None, {}, "/root", 0))


def test_a_wrong_password_is_not_stored(path):
    """A015."""
    with pytest.raises(AuthenticationError) as caught:
        log_in(path, FakeRegistry(refuses=True))
    assert_tells(caught.value, "authentication-failed", HOST, never=(SECRET,))
    assert not path.exists()


def test_a_login_is_verified_before_it_is_stored(path):
    """A015: and planning writes nothing."""
    plan = log_in(path)
    assert plan.changed and plan.facts["login_result"]["verified"] is True
    assert not path.exists()
    assert len(execute(plan).done) == 1
    assert find_login(path, f"{HOST}/app") == USER
    assert not log_in(path).changed


def test_existing_login_is_verified_again_only_on_request(path):
    """A015."""
    save_login(str(path), HOST, USER, lock_directory)
    registry = FakeRegistry()
    assert not log_in(path, registry).changed and registry.pings == 0
    assert not log_in(path, registry, reauthorize=True).changed and registry.pings == 1
    assert log_in(path, registry, who=Credentials("alice", "new"), verify=False).changed
    assert registry.pings == 1


def test_registry_without_authentication_cannot_verify_a_login(path):
    """A016."""
    plan = log_in(path, FakeRegistry(scheme=""))
    assert plan.facts["login_result"]["verified"] is False
    (warning,) = plan.warnings()
    assert HOST in warning and "could not be verified" in warning and SECRET not in warning


def test_logging_out_of_an_unknown_host_changes_nothing(path):
    """A017."""
    assert not plan_logout(HOST, str(path)).changed and not path.exists()
    write_auth_file(path, {"other.example": login("bob", "x")})
    assert not plan_logout(HOST, str(path)).changed


def test_logout_removes_one_host(path):
    """A017: and once more changes nothing."""
    write_auth_file(
        path, {"other.example": login("bob", "x"), f"https://{HOST}/v2/": login("alice", SECRET)}
    )
    execute(plan_logout(HOST, str(path)))
    assert find_login(path, HOST) is None and find_login(path, "other.example")
    assert not plan_logout(HOST, str(path)).changed


def test_login_in_a_helper_is_not_written_to_the_file(path, helpers):
    """A011, A017."""
    helpers.write("own", KEEPER)
    write_auth_file(path, {}, credHelpers={HOST: "own"})
    before = path.read_bytes()
    plan = log_in(path)
    assert plan.facts["login_result"]["stored_in"] == "docker-credential-own"
    execute(plan)
    assert find_login(path, HOST) == USER and not log_in(path).changed
    execute(plan_logout(HOST, str(path)))
    assert find_login(path, HOST) is None and path.read_bytes() == before


@pytest.mark.parametrize(
    "password", ["a\nb", "a'b\"c\\", "{{ x }}", "x" * 8192, "\u00e9", "a:b", " a "], ids=short
)
def test_any_password_is_stored_unchanged(password, path):
    """A020."""
    save_login(str(path), HOST, Credentials("alice", password), lock_directory)
    assert find_login(path, HOST) == Credentials("alice", password)
    assert not log_in(path, who=Credentials("alice", password)).changed


@pytest.mark.parametrize("password", [SECRET, "a\nsecret", "{{ secret }}", "s" * 8192], ids=short)
def test_result_of_a_login_shows_no_secret(password, path):
    """A020: neither as it is nor in base64."""
    plan = log_in(path, who=Credentials("alice", password))
    shown = json.dumps(dry_run(plan).result()) + repr(plan)
    execute(log_in(path, who=Credentials("alice", password)))
    for later in (log_in(path), plan_logout(HOST, str(path))):
        shown += json.dumps(dry_run(later).result())
    for form in secret_forms(password):
        assert form not in shown
    assert "alice" in shown
