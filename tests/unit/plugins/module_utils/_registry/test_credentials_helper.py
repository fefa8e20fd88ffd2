# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credential helpers: real programs, well-behaved and not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CredentialHelperError,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    CredentialHelper,
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginwriter import (
    store_in_helper,
)
from ansible_collections.lockstep.images.tests.support.logins import KEEPER, NOT_FOUND, Helpers
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    short,
    table,
)

SERVER = "registry.example"
SECRET = "hunter22"
USER = Credentials("alice", SECRET)

# Every verdict of this table is ours too; "list" and unknown verbs are never used.
DEVIATIONS: dict[str, str] = {}


@pytest.fixture(name="helpers")
def fixture_helpers(tmp_path, monkeypatch) -> Helpers:
    return Helpers(tmp_path / "bin", monkeypatch)


def refused(name: str = "test", verb: str = "get", timeout: float = 30.0) -> str:
    helper = CredentialHelper(name, timeout)
    with pytest.raises(CredentialHelperError) as caught:
        if verb == "get":
            helper.get(SERVER)
        else:
            store_in_helper(helper, SERVER, USER if verb == "store" else None)
    assert_tells(caught.value, "credential-helper", helper.program, never=(SECRET,))
    return str(caught.value)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("case", params(table("credentials", "helper"), "server"))
def test_a_helper_answers_as_the_protocol_says(case, helpers):
    """A006, A010."""
    helpers.answer("test", case["stdout"], case["exit"])
    expected = Credentials(**case["login"]) if case["login"] else None
    assert CredentialHelper("test").get(case["server"]) == expected


def test_a_helper_is_asked_with_the_bare_server(helpers):
    path = helpers.write("test", 'echo "$@" >"$0.asked"\ncat >>"$0.asked"\necho "{}"\n')
    assert CredentialHelper("test").get("https://index.docker.io/v1/") is None
    assert Path(f"{path}.asked").read_text() == "get\nhttps://index.docker.io/v1/"


def test_a_helper_keeps_a_login_and_forgets_it(helpers):
    path = helpers.write("test", KEEPER)
    helper = CredentialHelper("test")
    assert helper.get(SERVER) is None
    store_in_helper(helper, SERVER, USER)
    assert json.loads(Path(f"{path}.kept").read_text()) == {
        "ServerURL": SERVER,
        "Username": "alice",
        "Secret": SECRET,
    }
    assert helper.get(SERVER) == USER
    store_in_helper(helper, SERVER, None)
    store_in_helper(helper, SERVER, None)
    assert helper.get(SERVER) is None


def test_an_identity_token_is_kept_under_the_user_token(helpers):
    """A005, A010."""
    path = helpers.write("test", KEEPER)
    token = Credentials(identity_token="refresh-me")
    store_in_helper(CredentialHelper("test"), SERVER, token)
    assert json.loads(Path(f"{path}.kept").read_text())["Username"] == "<token>"
    assert CredentialHelper("test").get(SERVER) == token


@pytest.mark.parametrize(
    "password", ["a\nb", "a'b\"c\\", "{{ x }}", "x" * 8192, "\u00e9", "$(id)"], ids=short
)
def test_a_helper_gets_any_password_as_it_is(password, helpers):
    """A020."""
    helpers.write("test", KEEPER)
    store_in_helper(CredentialHelper("test"), SERVER, Credentials("alice", password))
    assert CredentialHelper("test").get(SERVER) == Credentials("alice", password)


def test_a_helper_that_is_missing_is_an_error():
    """A006."""
    assert "No such file" in refused("there-is-no-such-helper")


def test_helper_without_execute_permission_is_an_error(helpers):
    """A006."""
    helpers.write("test", KEEPER, mode=0o644)
    assert "Permission denied" in refused()


def test_only_that_one_text_means_no_credentials(helpers):
    """A006: and only with an exit status that is not 0."""
    helpers.answer("test", NOT_FOUND, 1)
    assert CredentialHelper("test").get(SERVER) is None
    helpers.answer("test", "The keychain is locked, hunter22", 1)
    assert "status 1" in refused()
    helpers.answer("test", NOT_FOUND, 0)
    assert "is malformed" in refused()


def test_a_signal_is_a_failure(helpers):
    """A006."""
    helpers.write("test", "kill -9 $$\n")
    assert "status -9" in refused()


def test_a_helper_that_hangs_is_ended_with_its_children(helpers):
    """A007."""
    path = helpers.write("test", 'sleep 600 &\necho $! >"$0.child"\nwait\n')
    started = time.monotonic()
    assert "did not answer" in refused(timeout=1.0)
    assert time.monotonic() - started < 10
    child = int(Path(f"{path}.child").read_text())
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def test_a_helper_has_30_seconds():
    """A007."""
    assert CredentialHelper("test")._timeout == 30.0


def test_a_helper_that_leaves_something_running_is_not_waited_for(helpers):
    """A007: an agent in the background holds the output open."""
    helpers.write("test", 'cat >/dev/null\nsleep 20 &\necho "{}"\n')
    started = time.monotonic()
    assert CredentialHelper("test").get(SERVER) is None
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("", id="nothing"),
        pytest.param("hunter22", id="garbage"),
        pytest.param("null", id="null"),
        pytest.param('["hunter22"]', id="list"),
        pytest.param('{"Username": "alice", "Secret": "hunter22"', id="broken-off"),
        pytest.param('{"Secret": "hunter22"}{"Secret": "hunter22"}', id="two-objects"),
        pytest.param('\x1b[31m{"Secret": "hunter22"}\x1b[0m', id="ANSI"),
        pytest.param('{"Username": "alice", "Secret": ["hunter22"]}', id="secret-in-a-list"),
        pytest.param('{"Username": 7, "Secret": "hunter22"}', id="user-is-a-number"),
        pytest.param('{"Secret": null}', id="null-secret"),
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_invalid_answer_is_an_error_and_not_repeated(answer, helpers):
    """A008."""
    helpers.answer("test", answer)
    assert "answer" in refused()


def test_an_answer_of_many_bytes_is_refused(helpers):
    """A008."""
    helpers.write("test", "cat >/dev/null\nhead -c 3000000 /dev/zero\n")
    assert "larger than 1.05 MB" in refused()


def test_an_answer_without_an_end_is_cut_off_long_before_the_time_is_up(helpers):
    """A008."""
    helpers.write("test", "yes hunter22\n")
    started = time.monotonic()
    assert "larger than 1.05 MB" in refused()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("verb", ["get", "store", "erase"])
def test_output_of_a_failed_helper_is_not_shown(verb, helpers, capfd):
    """A008: neither what it prints nor what it complains about."""
    helpers.write("test", 'cat\necho "hunter22"\necho "hunter22" >&2\nexit 3\n')
    assert SERVER in refused(verb=verb) and "status 3" in refused(verb=verb)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "../x", "..", ".x", "a b", "a;id", "$(id)", "a\nb", "`id`", "-x", "\u00e9",
     "x" * 9999 + "/"],
    ids=short,
)  # fmt: skip
def test_a_name_that_is_more_than_a_word_is_refused(name):
    """A009: and no shell ever sees one."""
    with pytest.raises(CredentialHelperError) as caught:
        CredentialHelper(name)
    assert_tells(caught.value, "credential-helper", "not a valid name")


@pytest.mark.parametrize("name", ["pass", "ecr-login", "osxkeychain", "gcr_2.0"])
def test_a_word_is_the_name_of_a_helper(name):
    """A009."""
    assert CredentialHelper(name).program == f"docker-credential-{name}"


def test_an_answer_for_another_server_is_accepted(helpers):
    """A010: the URL in an answer has many spellings, as Docker we do not look at it."""
    helpers.answer("test", '{"ServerURL": "https://x/", "Username": "alice", "Secret": "hunter22"}')
    assert CredentialHelper("test").get(SERVER) == USER


def test_helper_that_does_not_read_its_input_is_not_an_error(helpers):
    helpers.write("test", "echo '{}'\n")
    store_in_helper(CredentialHelper("test"), SERVER, Credentials("alice", "x" * 8192))
