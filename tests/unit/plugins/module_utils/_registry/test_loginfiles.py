# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with logins: where they are, which login serves a name, what writing one leaves alone."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthFileError,
    CredentialHelperError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    lock_directory,
    login_path,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
    lookup_keys,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    HUB_KEY,
    AuthFile,
    AuthPlace,
    CredentialStore,
    host_of_key,
    places,
    server_key,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginwriter import (
    save_login,
)
from ansible_collections.lockstep.images.tests.support.logins import (
    NOT_FOUND,
    Helpers,
    find_login,
    login,
    write_auth_file,
)
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    attached,
    params,
    table,
)

SECRET = "hunter22"
USER = Credentials("alice", SECRET)
HOST = "registry.example"

# (Table, case) -> (what we do, why not as upstream).
DEVIATIONS = {
    ("paths", "a runtime directory that does not exist"): (
        "/nonexistent/containers/auth.json",
        "upstream fails; a file that is not there has no logins, so a login elsewhere is found",
    ),
    ("hosts", "unix:///var/run/docker.sock"): ("", "no registry is reached by a socket"),
    ("hosts", "https://::1:6555/v2/"): ("::1:6555", "no URL: an IPv6 host stands in brackets"),
}
# Left out: registries.conf and a login given as an option of the caller (other parts of the
# collection have them), macOS and FreeBSD paths, and logging in to a namespace.


@pytest.fixture(name="path")
def fixture_path(tmp_path) -> Path:
    return tmp_path / "auth.json"


@pytest.fixture(name="helpers")
def fixture_helpers(tmp_path, monkeypatch) -> Helpers:
    return Helpers(tmp_path / "bin", monkeypatch)


def auths_from(name: str) -> dict:
    """The entries of a file of the tables, where "user:password" stands for one."""
    return {
        key: login(*text.split(":", 1))
        for key, text in attached("credentials", "files")[name].items()
    }


def refused(path, name: str = HOST) -> str:
    with pytest.raises(AuthFileError) as caught:
        find_login(path, name)
    assert_tells(caught.value, "invalid-auth-file", str(path), never=(SECRET, f"alice:{SECRET}"))
    assert caught.value.as_result()["path"] == str(path)
    return str(caught.value)


def test_every_deviation_is_about_a_case_of_a_table():
    keys = {"paths": "case", "hosts": "key"}
    for name, case in DEVIATIONS:
        assert case in [row[keys[name]] for row in table("credentials", name)]


@pytest.mark.parametrize("case", params(table("credentials", "lookup"), "case"))
def test_the_most_specific_key_serves_a_name(case, path):
    """A004, A005: an identity token comes with an empty password."""
    if case["file"] == "example_identitytoken":
        who = case["login"]
        token = {"auth": base64.b64encode(f"{who['username']}:".encode()).decode()}
        write_auth_file(path, {case["key"]: {**token, "identitytoken": who["identity_token"]}})
    elif case["file"]:
        write_auth_file(path, auths_from(case["file"]))
    assert find_login(path, case["key"]) == (
        Credentials(**case["login"]) if case["login"] else None
    )


@pytest.mark.parametrize("case", params(table("credentials", "legacy"), "case"))
def test_the_legacy_file_is_auths_alone(case, path):
    path.write_text(json.dumps(auths_from("legacy")))
    found = AuthFile.load(AuthPlace(str(path), legacy=True)).find(case["registry"], "")
    assert found == Credentials(**case["login"])


@pytest.mark.parametrize("case", params(table("credentials", "order"), "case"))
def test_keys_are_tried_from_the_most_specific_to_the_host(case):
    """A004."""
    registry, _slash, repository = case["name"].partition("/")
    assert lookup_keys(registry, repository) == case["keys"]


@pytest.mark.parametrize("case", params(table("credentials", "docker_login"), "name"))
def test_login_stored_by_docker_is_found(case, path):
    """A004."""
    write_auth_file(path, {case["login"]: login("alice", SECRET)})
    assert find_login(path, case["name"]) == USER


@pytest.mark.parametrize("case", params(table("credentials", "namespaces"), "case"))
def test_a_key_serves_what_is_below_it(case, path):
    """A004."""
    write_auth_file(path, {case["key"]: login("alice", SECRET)})
    assert (find_login(path, case["name"]) is not None) == case["found"]


@pytest.mark.parametrize("case", params(table("credentials", "hosts"), "key"))
def test_a_key_stands_for_a_host(case):
    """A004."""
    expected = DEVIATIONS.get(("hosts", case["key"]), (case["host"],))[0]
    assert host_of_key(case["key"]) == expected


@pytest.mark.parametrize("case", params(table("credentials", "paths"), "case"))
def test_the_first_file_is_that_of_containers(case):
    """A018."""
    env = {"XDG_RUNTIME_DIR": case["runtime_dir"]}
    found = places(case["option"], env, "/home/alice", 1000)
    expected = DEVIATIONS.get(("paths", case["case"]), (case["path"],))[0]
    assert found[0].name == expected and (len(found) == 1) == case["only"]


def test_files_are_read_in_the_order_of_containers_auth_json():
    """A018."""
    env = {
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "XDG_CONFIG_HOME": "/config",
        "DOCKER_CONFIG": "/docker",
        "DOCKER_AUTH_CONFIG": "{}",
    }
    found = places(None, env, "/home/alice", 1000)
    assert all(place.tried for place in found)
    assert [place._replace(tried=False) for place in found] == [
        AuthPlace("/run/user/1000/containers/auth.json"),
        AuthPlace("/config/containers/auth.json"),
        AuthPlace("DOCKER_AUTH_CONFIG", "{}"),
        AuthPlace("/docker/config.json"),
        AuthPlace("/home/alice/.dockercfg", legacy=True),
    ]


def test_unset_and_empty_variables_have_defaults():
    """A018."""
    expected = [
        "/run/containers/7/auth.json",
        "/home/alice/.config/containers/auth.json",
        "/home/alice/.docker/config.json",
        "/home/alice/.dockercfg",
    ]
    names = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG")
    for env in ({}, dict.fromkeys((*names, "REGISTRY_AUTH_FILE"), "")):
        assert [place.name for place in places(None, env, "/home/alice", 7)] == expected


def test_a_relative_variable_is_used_as_it_is():
    """A018."""
    env = {"XDG_RUNTIME_DIR": "run", "DOCKER_CONFIG": "docker"}
    names = [place.name for place in places(None, env, "/home/alice", 7)]
    assert names[0] == "run/containers/auth.json" and "docker/config.json" in names


def test_a_file_named_by_the_user_is_the_only_one():
    """A018, A019: an option comes before a variable, a variable before anybody's home."""
    env = {"REGISTRY_AUTH_FILE": "/variable", "DOCKER_CONFIG": "/docker"}
    assert places("/option", env, "/home/alice", 7) == [AuthPlace("/option")]
    assert places(None, env, "/home/alice", 7) == [AuthPlace("/variable")]
    assert login_path("/option", env, "/home/alice") == "/option"
    assert login_path(None, env, "/home/alice") == "/variable"


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, 0), (0o400, 0), (0o644, 1), (0o666, 1), (0o640, 1)]
)
def test_a_file_that_others_can_read_is_warned_about(mode, warned, path):
    """A001."""
    write_auth_file(path, {HOST: login("alice", SECRET)})
    path.chmod(mode)
    store = CredentialStore([AuthPlace(str(path))])
    assert store.find(HOST, "app") == USER
    assert store.find(HOST, "app") == USER
    assert len(store.warnings) == warned
    assert all(str(path) in text and SECRET not in text for text in store.warnings)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"auths": {"x": "hunter22"', id="broken-off"),
        pytest.param(b"hunter22", id="not-JSON"),
        pytest.param(b'\xef\xbb\xbf{"auths": {}}', id="BOM"),
        pytest.param('{"auths": {}}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"auths": "hunter22"}', id="auths-is-text"),
        pytest.param(b'{"auths": ["hunter22"]}', id="auths-is-a-list"),
        pytest.param(b'{"credHelpers": "hunter22"}', id="credHelpers-is-text"),
        pytest.param(b'["hunter22"]', id="list"),
        pytest.param(b'"hunter22"', id="text"),
        pytest.param(b"7", id="number"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"\xff\xfe", id="not-UTF-8"),
    ],
)
def test_invalid_login_file_is_named_and_not_shown(raw, path):
    """A002."""
    path.write_bytes(raw)
    refused(path)
    with pytest.raises(AuthFileError):
        save_login(str(path), HOST, USER, lock_directory)
    assert path.read_bytes() == raw


@pytest.mark.parametrize("raw", [b"", b" \n", b"null", b"{}", b'{"auths": null}', b'{"auths": {}}'])
def test_an_empty_file_has_no_logins(raw, path):
    """A002."""
    path.write_bytes(raw)
    assert find_login(path, HOST) is None


def test_a_missing_file_has_no_logins(tmp_path):
    """A002."""
    assert find_login(tmp_path / "none", HOST) is None
    (tmp_path / "file").write_text("")
    assert find_login(tmp_path / "file" / "below", HOST) is None


@pytest.mark.parametrize("text", ["hunter22", '{"auths": "\udcff"}', '{"auths": []x}'], ids=repr)
def test_a_variable_that_holds_no_logins_is_named_and_not_shown(text):
    """A002."""
    with pytest.raises(AuthFileError) as caught:
        AuthFile.load(AuthPlace("DOCKER_AUTH_CONFIG", text))
    assert_tells(caught.value, "invalid-auth-file", "DOCKER_AUTH_CONFIG", never=(SECRET,))


def test_a_variable_may_hold_logins():
    """A018."""
    text = json.dumps({"auths": {HOST: login("alice", SECRET)}})
    assert CredentialStore([AuthPlace("DOCKER_AUTH_CONFIG", text)]).find(HOST, "app") == USER


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"auth": "alice:hunter22"}, id="not-base64"),
        pytest.param({"auth": b64(b"hunter22")}, id="no-colon"),
        pytest.param({"auth": b64(b"alice:hunter22")[:-2]}, id="no-padding"),
        pytest.param({"auth": "\u00e9"}, id="not-ASCII"),
        pytest.param({"auth": ["hunter22"]}, id="list"),
        pytest.param({"auth": 7}, id="number"),
        pytest.param({"username": "alice", "password": ["hunter22"]}, id="password-in-a-list"),
        pytest.param({"identitytoken": {"hunter22": 1}}, id="token-in-an-object"),
    ],
)
def test_invalid_entry_is_named_and_not_shown(entry, path):
    """A003."""
    write_auth_file(path, {HOST: entry})
    assert HOST in refused(path)


@pytest.mark.parametrize(
    ("entry", "who"),
    [
        pytest.param({"auth": b64(b"alice:hunter22")}, USER, id="plain"),
        pytest.param({"auth": b64(b"alice:a:b:c")}, Credentials("alice", "a:b:c"), id="colons"),
        pytest.param({"auth": b64(b"alice:hunter22\0\0")}, USER, id="NUL-padding"),
        pytest.param(
            {"auth": b64("\u00e9:\u00e9".encode())}, Credentials("\u00e9", "\u00e9"), id="UTF-8"
        ),
        pytest.param({"auth": b64(b":hunter22")}, Credentials("", SECRET), id="no-user"),
        pytest.param({"auth": b64(b"alice:")}, None, id="empty-password"),
        pytest.param({"auth": ""}, None, id="empty"),
        pytest.param({}, None, id="nothing"),
        pytest.param(None, None, id="null"),
        pytest.param({"username": "alice", "password": SECRET}, USER, id="two-fields"),
        pytest.param({"auth": None, "username": "alice", "password": SECRET}, USER, id="null-auth"),
    ],
)
def test_a_login_is_cut_at_its_first_colon(entry, who, path):
    """A003."""
    write_auth_file(path, {HOST: entry})
    assert find_login(path, HOST) == who


@pytest.mark.parametrize(
    "key",
    [
        HOST,
        f"https://{HOST}",
        f"http://{HOST}/",
        f"https://{HOST}/v1/",
        f"https://{HOST}/v2",
        f"{HOST}/",
        HOST.upper(),
        f"https://{HOST.upper()}/v2/",
    ],
)
def test_a_host_has_many_spellings_as_a_key(key, path):
    """A004: a new login replaces each of them."""
    write_auth_file(path, {key: login("bob", "old"), "other.example": login("bob", "old")})
    assert find_login(path, f"{HOST}/app") == Credentials("bob", "old")
    save_login(str(path), HOST, USER, lock_directory)
    assert set(json.loads(path.read_text())["auths"]) == {HOST, "other.example"}


@pytest.mark.parametrize(
    "key",
    [f"{HOST}:443", f"x{HOST}", f"{HOST}.x", f"https://{HOST}.x/app", f"{HOST}/other", "example"],
)
def test_a_key_of_something_else_is_none(key, path):
    """A004."""
    write_auth_file(path, {key: login("alice", SECRET)})
    assert find_login(path, f"{HOST}/app") is None


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "registry-1.docker.io", HUB_KEY])
def test_docker_hub_has_more_spellings(key, path):
    """A004."""
    write_auth_file(path, {key: login("bob", "old")})
    assert find_login(path, "docker.io/library/debian") == Credentials("bob", "old")
    save_login(str(path), "docker.io", USER, lock_directory)
    assert list(json.loads(path.read_text())["auths"]) == [HUB_KEY] == [server_key("docker.io")]


def test_kinds_of_tokens_are_distinguished(path):
    """A005."""
    auths = {
        "a.example": {"identitytoken": "i"},
        "b.example": {"registrytoken": "r", **login("x", "y")},
    }
    write_auth_file(path, auths)
    assert find_login(path, "a.example") == Credentials(identity_token="i")
    assert find_login(path, "b.example") == Credentials(registry_token="r")


def test_the_helper_of_the_host_comes_first_then_the_store_then_the_file(path, helpers):
    """A011."""
    for name in ("own", "all"):
        helpers.answer(name, json.dumps({"Username": name, "Secret": SECRET}))
    auths = {name: login("file", SECRET) for name in (HOST, "other.example")}
    write_auth_file(path, auths, credHelpers={HOST: "own"}, credsStore="all")
    assert find_login(path, f"{HOST}/app") == Credentials("own", SECRET)
    assert find_login(path, "other.example") == Credentials("all", SECRET)
    helpers.answer("all", NOT_FOUND, 1)
    assert find_login(path, "other.example") == Credentials("file", SECRET)
    helpers.answer("all", "{}")
    assert find_login(path, "other.example") == Credentials("file", SECRET)


def test_a_helper_is_asked_for_the_key_of_docker_hub(path, helpers):
    """A011."""
    asked = helpers.write("own", 'cat >"$0.asked"\necho "{}"\n')
    write_auth_file(path, {}, credHelpers={"index.docker.io": "own"})
    assert find_login(path, "docker.io/library/debian") is None
    assert Path(f"{asked}.asked").read_text() == HUB_KEY


def test_failed_helper_is_not_replaced_by_another_login(path, helpers):
    """A006, A011."""
    helpers.answer("all", "locked, hunter22", 2)
    write_auth_file(path, {HOST: login("alice", SECRET)}, credsStore="all")
    with pytest.raises(CredentialHelperError) as caught:
        find_login(path, HOST)
    assert_tells(caught.value, "credential-helper", HOST, never=(SECRET,))


@pytest.mark.parametrize("name", ["../x", "a b", "a;id"])
def test_a_file_cannot_name_any_program(name, path):
    """A009."""
    write_auth_file(path, {}, credsStore=name)
    with pytest.raises(CredentialHelperError) as caught:
        find_login(path, HOST)
    assert_tells(caught.value, "credential-helper", repr(name))


def test_the_first_file_that_knows_a_login_decides(tmp_path):
    """A018."""
    first = write_auth_file(tmp_path / "1", {"other.example": login("bob", "x")})
    second = write_auth_file(tmp_path / "2", {HOST: login("alice", SECRET)})
    third = write_auth_file(tmp_path / "3", {HOST: login("carol", "y")})
    store = CredentialStore(
        [AuthPlace(name) for name in (str(tmp_path / "0"), first, second, third)]
    )
    assert store.find(HOST, "app") == USER
    assert store.find("nobody.example", "app") is None


@pytest.mark.parametrize("kind", ["FIFO", "directory", "link-to-itself"])
def test_special_file_is_an_error_at_once(kind, path):
    """A012."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    refused(path)
    with pytest.raises(AuthFileError):
        save_login(str(path), HOST, USER, lock_directory)
