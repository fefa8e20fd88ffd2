# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Login files as docker and skopeo read them, and the errors of rejected logins."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthFileError,
    CredentialHelperError,
    InputError,
    MissingHelperError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    lock_directory,
    login_path,
    login_target,
    plan_logout,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    AuthFile,
    AuthPlace,
    CredentialStore,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginwriter import (
    save_login,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.logins import (
    Helpers,
    login,
    write_auth_file,
    write_case,
)
from ansible_collections.lockstep.images.tests.support.modules import run
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    secret_forms,
    table,
)

HOST, SECRET = "registry.example", "pw-hunter22"
USER = Credentials("demo", SECRET)
TAKEN = table("credentials", "taken")


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "config.json"


@pytest.fixture(name="helpers")
def fixture_helpers(tmp_path, monkeypatch):
    return Helpers(tmp_path / "bin", monkeypatch)


@pytest.mark.parametrize("case", params(TAKEN, "case"))
def test_F15_a_login_that_docker_or_skopeo_finds_is_found(case, path):
    write_case(path, case, HOST)
    if case["found"] is True:
        assert AuthFile.load(AuthPlace(str(path))).find(HOST, "org/app") == USER
        return
    with pytest.raises(AuthFileError) as caught:
        AuthFile.load(AuthPlace(str(path))).find(HOST, "org/app")
    words = case["found"].replace("HOST", HOST)
    assert_tells(caught.value, "invalid-auth-file", str(path), words, never=[SECRET])


def test_F15_files_that_both_programs_accept_are_accepted():
    assert [case["case"] for case in TAKEN if case["docker"] and case["skopeo"]] == [
        case["case"]
        for case in TAKEN
        if case["docker"] and case["skopeo"] and case["found"] is True
    ]


@pytest.mark.parametrize("auth", ["", "\n", "\r\n", " "], ids=repr)
def test_F15_empty_auth_is_not_a_login(auth, path):
    write_auth_file(path, {HOST: {"auth": auth}, f"https://{HOST}": login("demo", SECRET)})
    assert AuthFile.load(AuthPlace(str(path))).find(HOST, "app") == USER


@pytest.mark.parametrize("key", ["HOST/path", "HOST/org2", "HOST/org/app/more"])
def test_F15_in_a_file_of_podman_a_path_is_for_what_is_below_it_alone(key, tmp_path):
    path = tmp_path / "auth.json"
    write_auth_file(path, {key.replace("HOST", HOST): login("demo", SECRET)})
    assert AuthFile.load(AuthPlace(str(path))).find(HOST, "org/app") is None


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("REGISTRY.example/org", "demo"),
        ("index.docker.io/library", None),
        ("registry.example/org/app/", "demo"),
        ("registry.example/", "demo"),
    ],
)
def test_F15_keys_of_a_namespace_have_spellings_too(key, found, tmp_path):
    path = tmp_path / "auth.json"
    write_auth_file(path, {key: login("demo", SECRET)})
    who = AuthFile.load(AuthPlace(str(path))).find(HOST, "org/app")
    assert (who.username if who else None) == found


def test_F15_the_most_specific_key_wins_and_its_own_spelling_first(path):
    auths = {
        f"https://{HOST}/v1/": login("url", SECRET),
        HOST: login("host", SECRET),
        f"{HOST}/other": login("other", SECRET),
        f"{HOST}/org/": login("org", SECRET),
    }
    write_auth_file(path, auths)
    names = ["org/app", "org", "else", ""]
    found = [AuthFile.load(AuthPlace(str(path))).find(HOST, name) for name in names]
    assert [who.username for who in found if who] == ["org", "org", "host", "host"]


@pytest.mark.parametrize("key", [f"https://{HOST}/any/path", f"{HOST}/", f"HTTP://{HOST}/v2"])
def test_F15_logging_out_removes_every_spelling(key, path):
    write_auth_file(path, {key: login("demo", SECRET), f"{HOST}/org": login("demo", SECRET)})
    plan = plan_logout(HOST, str(path))
    assert plan.changed
    execute(plan)
    assert list(json.loads(path.read_text())["auths"]) == [f"{HOST}/org"]
    assert not plan_logout(HOST, str(path)).changed


def test_F15_a_login_is_written_under_the_spelling_that_is_there(path):
    path.write_text(json.dumps({"Auths": {"other.example": login("demo", SECRET)}}))
    save_login(str(path), HOST, USER, lock_directory)
    assert list(json.loads(path.read_text())) == ["Auths"]
    assert AuthFile.load(AuthPlace(str(path))).find(HOST, "app") == USER


# Helpers


def test_F15_where_a_helper_is_missing_the_next_file_is_asked(tmp_path):
    first = write_auth_file(tmp_path / "1", {HOST: {}}, credsStore="missing")
    second = write_auth_file(tmp_path / "2", {HOST: login("demo", SECRET)})
    assert CredentialStore([AuthPlace(first), AuthPlace(second)]).find(HOST, "app") == USER
    with pytest.raises(MissingHelperError) as caught:
        CredentialStore([AuthPlace(first)]).find(HOST, "app")
    assert_tells(caught.value, "credential-helper", "docker-credential-missing")


def test_F15_failed_helper_is_not_replaced_by_another_file(tmp_path, helpers):
    helpers.answer("all", "locked", 2)
    first = write_auth_file(tmp_path / "1", {HOST: {}}, credsStore="all")
    second = write_auth_file(tmp_path / "2", {HOST: login("demo", SECRET)})
    with pytest.raises(CredentialHelperError):
        CredentialStore([AuthPlace(first), AuthPlace(second)]).find(HOST, "app")


def test_F15_a_helper_that_fails_is_asked_once(tmp_path, helpers):
    program = helpers.write("all", 'cat >/dev/null; echo x >>"$0.asked"; exit 2\n')
    store = CredentialStore([AuthPlace(write_auth_file(tmp_path / "1", {}, credsStore="all"))])
    for repository in ("app", "other", ""):
        with pytest.raises(CredentialHelperError):
            store.find(HOST, repository)
    assert Path(f"{program}.asked").read_text() == "x\n"


def pull(registry, tmp_path, config, **options):
    return run(
        "image_pull",
        name=f"{registry.address}/org/app:1",
        store=str(tmp_path / "store"),
        config_path=str(config),
        retries=0,
        env={"PATH": os.environ["PATH"]},
        **options,
    )


@pytest.fixture(name="public", params=[None, "bearer"], ids=["no-login", "token-for-all"])
def fixture_public(request):
    with Registry(auth=request.param, users={"demo": SECRET}, anonymous_pull=True) as registry:
        push(registry, "org/app", demo_image("app", "1"), "1")
        yield registry


@pytest.fixture(name="private", params=["basic", "bearer"])
def fixture_private(request):
    with Registry(auth=request.param, users={"demo": SECRET}) as registry:
        push(registry, "org/app", demo_image("app", "1"), "1")
        yield registry


@pytest.mark.parametrize("kind", ["missing", "no-program", "fails", "no-answer"])
def test_F15_a_helper_that_gives_no_login_is_a_warning_for_a_public_image(
    kind, public, tmp_path, path, helpers
):
    broken(kind, helpers)
    write_auth_file(path, {}, credsStore=kind)
    outcome = pull(public, tmp_path, path)
    assert not outcome.failed, outcome.result
    (warning,) = map(str, outcome.result["warnings"])
    assert f"docker-credential-{kind}" in warning
    assert f"requests to {public.address} are sent without a login" in warning


@pytest.mark.parametrize("kind", ["missing", "no-program", "fails", "no-answer"])
def test_F15_it_is_an_error_once_the_registry_asks_for_a_login(
    kind, private, tmp_path, path, helpers
):
    broken(kind, helpers)
    write_auth_file(path, {}, credsStore=kind)
    outcome = pull(private, tmp_path, path)
    assert outcome.kind == "credential-helper"
    assert f"{private.address}: authentication is required" in outcome.result["msg"]
    assert f"docker-credential-{kind}" in outcome.result["msg"]


def broken(kind: str, helpers: Helpers) -> None:
    """Install a helper that gives no login, in one of several ways."""
    if kind == "no-program":
        helpers.write(kind, "", mode=0o644)
    elif kind == "fails":
        helpers.answer(kind, "pass not initialized", 1)
    elif kind == "no-answer":
        helpers.answer(kind, "no JSON")


# Logins that a registry refuses


@pytest.fixture(name="stale", params=["auths", "namespace", "helper"])
def fixture_stale(request, helpers, path, private):
    """Return a file with an expired login, and the text that names its origin."""
    if request.param == "helper":
        helpers.answer("own", json.dumps({"Username": "demo", "Secret": "outdated"}))
        write_auth_file(path, {}, credHelpers={private.address: "own"})
        return f"docker-credential-own, which {path} names", private.address
    key = private.address + ("/org" if request.param == "namespace" else "")
    write_auth_file(path, {key: login("demo", "outdated")})
    return f"the entry {key} of {path}", key


def test_F16_a_refused_login_is_named_by_where_it_is_from(stale, private, tmp_path, path):
    origin, key = stale
    outcome = pull(private, tmp_path, path)
    assert outcome.kind == "authentication-failed"
    message = outcome.result["msg"]
    assert f"the credentials for user demo from {origin} were refused" in message
    assert f"registry_url: {key}, config_path: {path} and state: absent" in message
    assert not [form for form in secret_forms("outdated") if form in outcome.stdout]


@pytest.mark.parametrize(
    ("options", "origin"),
    [
        ({"username": "demo", "password": "outdated"}, "the option username of the task"),
        (
            {"registries": [{"registry": "HOST", "username": "demo", "password": "outdated"}]},
            "the option registries[0]",
        ),
    ],
    ids=["username", "registries"],
)
def test_F16_a_refused_login_of_a_task_is_named_by_its_option(
    options, origin, private, tmp_path, path
):
    given = json.loads(json.dumps(options).replace("HOST", private.address))
    outcome = pull(private, tmp_path, path, **given)
    assert f"the credentials for user demo from {origin} were refused" in outcome.result["msg"]
    assert "registry_login" not in outcome.result["msg"]


def test_F16_a_refused_login_of_a_variable_is_named_by_the_variable(private, tmp_path):
    text = json.dumps({"auths": {private.address: login("demo", "outdated")}})
    outcome = run(
        "image_pull",
        name=f"{private.address}/org/app:1",
        store=str(tmp_path / "store"),
        env={"DOCKER_AUTH_CONFIG": text},
    )
    assert f"the entry {private.address} of DOCKER_AUTH_CONFIG" in outcome.result["msg"]


def test_F16_a_login_that_has_expired_is_named_where_access_is_denied(tmp_path, path):
    """As Amazon ECR answers when the 12 hours of a password are over."""
    body = json.dumps({"errors": [{"code": "DENIED", "message": "Your token has expired"}]})
    with Registry(auth="basic", users={"AWS": SECRET}) as registry:
        registry.faults.append(
            Fault(path="/v2/org/app", status=403, body=body, times=None, method=".*")
        )
        write_auth_file(path, {registry.address: login("AWS", SECRET)})
        outcome = pull(registry, tmp_path, path)
    assert outcome.kind == "denied"
    words = (
        f"access is denied to the login for user AWS from the entry {registry.address} of {path}"
    )
    assert words in outcome.result["msg"]


# Types


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("text", "is a string, not a login"),
        (SECRET, "is a string, not a login"),
        (7, "is a number, not a login"),
        (True, "is true or false, not a login"),
        ([SECRET], "is a list, not a login"),
        ({"identitytoken": 7}, "is not a login: identitytoken is not a string"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("key", [HOST, f"{HOST}/org", f"https://{HOST}/v1/", "other.example"])
def test_F35_invalid_entry_is_named_with_its_file(key, entry, words, path):
    write_auth_file(path, {key: entry})
    with pytest.raises(AuthFileError) as caught:
        CredentialStore([AuthPlace(str(path))]).find(HOST, "org/app")
    subject = f"{path}: the entry {key} {words}"
    assert_tells(caught.value, "invalid-auth-file", subject, never=[SECRET])


# Logins for a part of a registry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quay.io", ("quay.io", "")),
        ("https://quay.io/v2/", ("quay.io", "")),
        ("https://index.docker.io/v1/", ("docker.io", "")),
        ("quay.io/org", ("quay.io", "org")),
        ("QUAY.io/org/", ("quay.io", "org")),
        ("quay.io/org/repo", ("quay.io", "org/repo")),
        ("registry.example:5000/a/b/c", ("registry.example:5000", "a/b/c")),
        ("docker.io/org", ("docker.io", "org")),
        ("index.docker.io/org", ("docker.io", "org")),
    ],
)
def test_F16_a_login_is_for_a_registry_or_a_part_of_it(text, expected):
    assert login_target(text) == expected


@pytest.mark.parametrize(
    "text",
    ["https://quay.io/org", "quay.io/Org", "quay.io/org:1", "quay.io/org@x", "a b/c", "/org"],
)
def test_F16_text_that_is_neither_a_registry_nor_a_namespace_is_rejected(text):
    with pytest.raises(InputError):
        login_target(text)


def test_F16_a_login_for_a_namespace_goes_to_the_file_of_podman():
    env: dict[str, str] = {}
    path = "/home/alice/.config/containers/auth.json"
    assert login_path(None, env, "/home/alice", namespace="org") == path
    assert login_path(None, {"XDG_CONFIG_HOME": "/c"}, "/h", "org") == "/c/containers/auth.json"
    assert login_path("/x", env, "/h", "org") == "/x"
    assert login_path(None, {"REGISTRY_AUTH_FILE": "/y"}, "/h", "org") == "/y"


def test_F14_without_a_home_a_login_needs_a_file():
    with pytest.raises(InputError) as caught:
        login_path(None, {}, "~")
    assert_tells(caught.value, "invalid-input", "has no home directory")
    assert "config_path" in caught.value.hint


def log_in(registry, path, **options):
    return run(
        "registry_login",
        registry_url=f"{registry.address}/org",
        username="demo",
        password=SECRET,
        retries=0,
        **({"config_path": str(path)} if path else {}),
        **options,
    )


def test_F16_a_login_for_a_namespace_serves_it_alone(private, tmp_path):
    path = tmp_path / "auth.json"
    write_auth_file(path, {private.address: login("other", "else")})
    first, again = log_in(private, path), log_in(private, path)
    assert (first.result["changed"], again.result["changed"]) == (True, False)
    assert first.result["login_result"] == {"verified": True, "stored_in": str(path)}
    assert first.result["diff"]["after"] == {f"{private.address}/org": "demo"}
    auth_file = AuthFile.load(AuthPlace(str(path)))
    for repository, who in [("org/app", "demo"), ("org", "demo"), ("org2", "other"), ("", "other")]:
        assert auth_file.find(private.address, repository).username == who
    assert not pull(private, tmp_path, path).failed
    gone = {"registry_url": f"{private.address}/org/", "config_path": str(path), "state": "absent"}
    assert [run("registry_login", **gone).result["changed"] for _time in range(2)] == [True, False]
    assert list(json.loads(path.read_text())["auths"]) == [private.address]


def test_F16_without_a_file_it_is_written_where_podman_reads_it(private, tmp_path):
    env = {"HOME": str(tmp_path)}
    path = tmp_path / ".config" / "containers" / "auth.json"
    assert log_in(private, None, env=env).result["login_result"]["stored_in"] == str(path)
    assert list(json.loads(path.read_text())["auths"]) == [f"{private.address}/org"]
    assert "warnings" not in log_in(private, None, env=env).result


def test_F16_in_the_file_of_docker_it_comes_with_a_warning(private, tmp_path):
    outcome = log_in(private, tmp_path / "config.json")
    (warning,) = map(str, outcome.result["warnings"])
    assert (
        f"docker uses the login for {private.address}/org for all of {private.address}" in warning
    )


def test_F16_a_helper_keeps_no_login_for_a_namespace(private, tmp_path, helpers):
    helpers.answer("own", "{}")
    path = tmp_path / "auth.json"
    write_auth_file(path, {}, credHelpers={private.address: "own"})
    outcome = log_in(private, path)
    assert outcome.kind == "invalid-input"
    assert "docker-credential-own, which keeps logins for whole registries" in outcome.result["msg"]
    assert json.loads(path.read_text())["auths"] == {}


@pytest.mark.parametrize(
    "key",
    [
        f"https://demo:{SECRET}@{HOST}",
        f"https://{HOST}/?token={SECRET}",
        f"https://{HOST}/#{SECRET}",
        f"{SECRET}@{HOST}",
    ],
)
@pytest.mark.parametrize(
    "entry", ["text", {"auth": "%%"}, {"auth": "YWJj"}, login("demo", "x")], ids=repr
)
def test_F35_a_key_that_holds_a_secret_is_named_without_it(key, entry, path):
    write_auth_file(path, {key: entry})
    try:
        who = AuthFile.load(AuthPlace(str(path))).find(HOST, "org/app")
    except AuthFileError as exc:
        shown = str(exc)
    else:
        shown = f"{who.origin} {who.way_out}" if who else HOST
    assert HOST in shown and SECRET not in shown


@pytest.mark.parametrize("pair", [b"robot:caf\xe9", b"\xfcser:word", "robot:caf\u00e9".encode()])
def test_F15_a_login_is_sent_as_the_bytes_that_it_is(pair, path):
    """docker and skopeo do not ask whether they are UTF-8."""
    auth = base64.b64encode(pair).decode("ascii")
    write_auth_file(path, {HOST: {"auth": auth}})
    assert AuthFile.load(AuthPlace(str(path))).find(HOST, "a").basic == f"Basic {auth}"


@pytest.mark.parametrize("token", ["t0k3n\nabc", " t0k3n", "t0k3n\ud800", "t0k3n\u00e9"])
def test_F15_a_token_that_no_header_can_hold_is_named_with_its_file(token, path):
    write_auth_file(path, {HOST: {"registrytoken": token}})
    with pytest.raises(AuthFileError) as caught:
        AuthFile.load(AuthPlace(str(path))).find(HOST, "a")
    assert f"{path}: registrytoken of the entry {HOST}" in str(caught.value)
    assert "t0k3n" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        f"https://demo:a?{SECRET}@{HOST}/",
        f"https://demo:a#{SECRET}@{HOST}",
        f"https://demo:a/{SECRET}@{HOST}/v1/",
        f"demo:{SECRET}@{HOST}",
        f"demo:a://{SECRET}@{HOST}",
        f"https://{HOST}/?token={SECRET}",
        f"https://{HOST}/?a@b={SECRET}",
    ],
)
def test_F35_a_key_is_named_without_a_password_in_it(key, path):
    write_auth_file(path, {key: "text"})
    with pytest.raises(AuthFileError, match="is a string") as caught:
        AuthFile.load(AuthPlace(str(path)))
    assert not [form for form in secret_forms(SECRET) if form in str(caught.value)]


def test_F35_the_diff_shows_a_user_of_a_file_in_printable_characters(path):
    write_auth_file(path, {HOST: login("a\x1b[31m\u202eb", SECRET)})
    diff = dry_run(plan_logout(HOST, str(path))).result()["diff"]
    assert diff["before"] == {HOST: "a [31m b"}
