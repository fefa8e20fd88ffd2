# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places where an ordinary user can look for logins, and the effect of missing permissions."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import AuthFileError
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    CredentialStore,
    places,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.files import user_name
from ansible_collections.lockstep.images.tests.support.logins import login, write_auth_file
from ansible_collections.lockstep.images.tests.support.tables import assert_tells
from ansible_collections.lockstep.images.tests.support.users import (
    NOBODY,
    as_ordinary_user,
    public_directory,
)

HOST, SECRET = "registry.example", "hunter22"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of two users")


@pytest.fixture(name="home")
def fixture_home():
    """Return the home of the ordinary user, which only root and this user can change."""
    with public_directory() as path:
        yield path


def put(path: Path, mode: int = 0o600, ours: bool = False) -> Path:
    """Write a file with a login; it and its new directories belong to root unless they are ``ours``."""
    new = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_auth_file(path, {HOST: login("alice", SECRET)})
    path.chmod(mode)
    if ours and os.geteuid() == 0:
        for one in (path, *new):
            os.chown(one, NOBODY, NOBODY)
    return path


def found(home: Path, config_path: str | None = None, **env: str) -> Credentials | None:
    """What the ordinary user finds."""

    def look() -> Credentials | None:
        where = places(config_path, env, str(home), os.geteuid())
        return CredentialStore(where).find(HOST, "app")

    return as_ordinary_user(look)


def refused(home: Path, *subjects: str, config_path: str | None = None, **env: str) -> str:
    with pytest.raises(AuthFileError) as caught:
        found(home, config_path, **env)
    assert_tells(caught.value, "invalid-auth-file", *subjects, never=[SECRET])
    return str(caught.value)


@pytest.mark.parametrize("closed", [0o700, 0o000], ids=oct)
@pytest.mark.parametrize(
    ("variable", "inner"),
    [
        ("XDG_RUNTIME_DIR", "containers/auth.json"),
        ("XDG_CONFIG_HOME", "containers/auth.json"),
        ("DOCKER_CONFIG", "config.json"),
    ],
)
@needs_root
def test_F14_unsearchable_directory_has_no_login(variable, inner, closed, home):
    """As /run/containers is, where root has used podman."""
    closed_directory = put(home / "place" / inner).parents[inner.count("/")]
    closed_directory.chmod(closed)
    assert found(home, **{variable: str(closed_directory)}) is None
    put(home / ".docker" / "config.json", ours=True)
    expected = None if variable == "DOCKER_CONFIG" else Credentials("alice", SECRET)
    assert found(home, **{variable: str(closed_directory)}) == expected


@needs_root
def test_F14_the_home_of_another_user_holds_no_login(home):
    os.chown(home, 0, 0)
    home.chmod(0o755)
    for name in (".docker/config.json", ".config/containers/auth.json", ".dockercfg"):
        put(home / name)
    assert found(home) is None  # the files are root's
    home.chmod(0o700)
    assert found(home) is None  # and so is the directory


@pytest.mark.parametrize("home", ["/nonexistent", "", "~"])
def test_F14_without_a_home_there_is_no_login(home):
    assert found(Path(home) if home != "" else Path("/")) is None


def test_F14_the_home_of_a_user_without_one_is_not_the_current_directory(tmp_path, monkeypatch):
    """os.path.expanduser leaves "~" where the system knows no such user."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "~" / ".docker" / "config.json")
    where = places(None, {}, "~", 4242)
    assert [place.name for place in where] == ["/run/containers/4242/auth.json"]


@pytest.mark.parametrize("name", [".docker/config.json", ".config/containers/auth.json"])
@needs_root
def test_F14_a_file_in_our_home_that_we_cannot_read_is_an_error_that_says_whose_it_is(name, home):
    """As `sudo docker login` leaves one."""
    path = put(home / name)
    message = refused(home, str(path))
    assert f"{path} belongs to root (uid 0), mode 0600" in message
    assert f"this task runs as {user_name(NOBODY)}" in message


@needs_root
def test_F14_a_file_of_ours_without_the_right_to_read_is_an_error(home):
    path = put(home / ".docker" / "config.json", mode=0, ours=True)
    assert "mode 0000" in refused(home, str(path))


@pytest.mark.parametrize("variable", [False, True], ids=["option", "REGISTRY_AUTH_FILE"])
@needs_root
def test_F14_a_file_that_is_named_must_be_in_reach(variable, home):
    """A file that the user names is never replaced by another login or by none."""
    path = put(home / "closed" / "auth.json")
    (home / "closed").chmod(0o700)
    given = {"REGISTRY_AUTH_FILE": str(path)} if variable else {"config_path": str(path)}
    message = refused(home, str(path), **given)
    assert f"{home}/closed belongs to root (uid 0), mode 0700" in message
    (home / "closed").chmod(0o755)
    assert f"{path}: Permission denied; {path} belongs to root (uid 0), mode 0600" in refused(
        home, str(path), **given
    )
    path.chmod(0o644)
    assert found(home, **given) == Credentials("alice", SECRET)


def test_F14_a_link_to_nothing_holds_no_login(home):
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").symlink_to(home / "nowhere")
    assert found(home) is None


@needs_root
def test_F14_link_into_an_unsearchable_directory_has_no_login(home):
    put(home / "closed" / "config.json")
    (home / "closed").chmod(0o700)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").symlink_to(home / "closed" / "config.json")
    assert found(home) is None


def test_F14_a_directory_in_place_of_a_file_is_an_error(home):
    path = home / ".docker" / "config.json"
    path.mkdir(parents=True)
    assert "is not a regular file" in refused(home, str(path))


def test_F14_a_file_in_place_of_a_directory_holds_no_login(home):
    (home / ".docker").write_text("")
    assert found(home) is None


def test_F14_users_have_the_names_that_the_system_knows():
    name = pwd.getpwuid(os.getuid()).pw_name
    assert user_name(os.getuid()) == f"{name} (uid {os.getuid()})"
    assert user_name(4_000_000) == "uid 4000000"
