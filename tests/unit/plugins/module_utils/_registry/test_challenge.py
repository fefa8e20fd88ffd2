# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Challenges, token requests and the answers of token servers."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
    ProtocolError,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.challenge import (
    CLIENT_ID,
    MIN_LIFETIME,
    Challenge,
    choose_challenge,
    insufficient,
    parse_challenges,
    parse_token,
    scope,
    token_requests,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    secret_forms,
    short,
    table,
)

# Header -> (the challenges we see, why not as upstream).
DEVIATIONS = {
    "foo bar": (
        [("foo", {}), ("bar", {})],
        "schemes keep their names, so that an error can say what was offered; none is answered",
    ),
    'Basic realm="Test Registry"': (
        [("basic", {"realm": "Test Registry"})],
        "parameters are read for every scheme, only those of Bearer are used",
    ),
}

# "issued_at" of a token is not used: the clock of the server may be wrong, a token lives from when
# it came.
HEADERS = [
    *table("challenge", "common"),
    *table("challenge", "escaped"),
    *table("challenge", "odd"),
]

NAME = "registry.example"
REALM = "https://auth.example/token"
BEARER = Challenge("bearer", {"realm": REALM, "service": "registry.example"})
PASSWORD = "hunter22"
YEAR = 365 * 24 * 3600.0
USER = Credentials("alice", PASSWORD)


def seen(*headers: str) -> list[tuple[str, dict]]:
    return [(found.scheme, dict(found.parameters)) for found in parse_challenges(headers)]


def query_of(url: str) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query, strict_parsing=True)


@pytest.mark.parametrize("case", params(HEADERS, "header"))
def test_a_challenge_is_a_scheme_with_parameters(case):
    header = case["header"]
    if header in DEVIATIONS:
        assert seen(header) == DEVIATIONS[header][0]
        return
    found = seen(header)[:1]
    assert found == ([(case["scheme"], case["parameters"])] if case["scheme"] else [])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Basic", "Bearer realm=a"], [("basic", {}), ("bearer", {"realm": "a"})]),
        (['Basic realm="x, y", Bearer realm=a'],
         [("basic", {"realm": "x, y"}), ("bearer", {"realm": "a"})]),
        (["Negotiate, BASIC Realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["bearer REALM=a,realm=b"], [("bearer", {"realm": "a"})]),
        (['Bearer realm="https://a.x/?x=1,2"'], [("bearer", {"realm": "https://a.x/?x=1,2"})]),
        (["=", 'Bearer realm="a"'], [("bearer", {"realm": "a"})]),
        ([""], []),
        ([], []),
    ],
)  # fmt: skip
def test_several_challenges_may_come_in_one_header_or_in_many(headers, expected):
    assert seen(*headers) == expected


@pytest.mark.parametrize(
    "header",
    [
        'Bearer realm="' + "a" * 60_000,
        "Bearer realm=" + "a" * 60_000 + '"',
        "Bearer " + "a" * 60_000 + '"',
        "Bearer" + " " * 60_000 + '"',
        "Bearer realm" + " " * 60_000 + '"',
        'Bearer realm="a"' + " " * 60_000 + '"',
        "Basic, " * 9_000,
        'Bearer realm="' + "\\" * 60_000,
    ],
    ids=short,
)
def test_a_long_header_is_read_in_time(header):
    started = time.process_time()
    parse_challenges([header])
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "headers", [["Basic", f"Bearer realm={REALM}"], [f"Bearer realm={REALM}", "Basic"]]
)
def test_bearer_is_answered_before_basic(headers):
    assert choose_challenge(parse_challenges(headers), NAME).scheme == "bearer"


def test_bearer_without_a_realm_cannot_be_answered():
    assert choose_challenge(parse_challenges(["Bearer", "Basic"]), NAME).scheme == "basic"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "no usable scheme is offered"),
        (["Negotiate, Digest realm=x"], "is offered, only digest, negotiate"),
        (["Bearer"], "is offered, only bearer"),
    ],
)
def test_when_nothing_can_be_answered_the_error_says_what_was_offered(headers, words):
    with pytest.raises(AuthenticationError) as caught:
        choose_challenge(parse_challenges(headers), NAME)
    assert_tells(caught.value, "authentication-failed", NAME, words)


def test_a_registry_that_offers_much_gets_a_short_message():
    with pytest.raises(AuthenticationError) as caught:
        choose_challenge([Challenge(f"scheme{n}", {}) for n in range(1000)], NAME)
    assert_tells(caught.value, "authentication-failed", NAME)


def test_without_credentials_a_token_is_asked_for_by_get():
    (request,) = token_requests(BEARER, ["repository:a/b:pull", "repository:c:pull"], None)
    assert (request.method, request.form, request.authorization) == ("GET", (), "")
    assert request.url.startswith(REALM + "?")
    assert query_of(request.url) == [
        ("service", "registry.example"),
        ("scope", "repository:a/b:pull"),
        ("scope", "repository:c:pull"),
    ]


def test_a_password_goes_by_get_and_then_by_post():
    get, post = token_requests(BEARER, ["repository:a:pull", "repository:b:pull"], USER)
    pair = base64.b64encode(f"alice:{PASSWORD}".encode()).decode("ascii")
    assert (get.method, get.authorization) == ("GET", f"Basic {pair}")
    assert ("account", "alice") in query_of(get.url)
    assert (post.method, post.url, post.authorization) == ("POST", REALM, "")
    assert dict(post.form) == {
        "grant_type": "password",
        "username": "alice",
        "password": PASSWORD,
        "service": "registry.example",
        "client_id": CLIENT_ID,
        "scope": "repository:a:pull repository:b:pull",
    }


def test_an_identity_token_is_posted_as_a_refresh_token():
    """A005."""
    who = Credentials("alice", identity_token="refresh-me")
    (request,) = token_requests(BEARER, ["repository:a:pull"], who)
    form = dict(request.form)
    assert (request.method, request.url, request.authorization) == ("POST", REALM, "")
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "refresh-me")
    assert "password" not in form


def test_registry_token_is_not_a_password():
    """A005: it is sent to the registry itself; a token server gets nothing."""
    (request,) = token_requests(BEARER, [], Credentials(registry_token="bearer-me"))
    assert (request.method, request.authorization, request.form) == ("GET", "", ())
    assert "bearer-me" not in request.url


@pytest.mark.parametrize(
    ("realm", "start"),
    [
        ("https://auth.example/token?x=1", "https://auth.example/token?x=1&service="),
        ("https://auth.example/token#part", "https://auth.example/token?service="),
    ],
)
def test_a_realm_keeps_its_query_and_loses_its_fragment(realm, start):
    challenge = Challenge("bearer", {"realm": realm, "service": "s"})
    assert token_requests(challenge, [], None)[0].url.startswith(start)


def test_nothing_is_added_to_a_realm_when_there_is_nothing_to_say():
    assert token_requests(Challenge("bearer", {"realm": REALM}), [], None)[0].url == REALM


def test_values_in_a_url_are_escaped():
    challenge = Challenge("bearer", {"realm": REALM, "service": "a&b=c #\r\n"})
    url = token_requests(challenge, ["repository:a:pull,push"], None)[0].url
    assert query_of(url) == [("service", "a&b=c #\r\n"), ("scope", "repository:a:pull,push")]
    assert url.isprintable() and " " not in url


@pytest.mark.parametrize("case", params(table("challenge", "tokens"), "body"))
def test_an_answer_has_a_token_that_lives_a_minute_at_least(case):
    raw = case["body"].encode()
    if "token" in case:
        token = parse_token(raw, NAME)
        assert (token.value, token.lifetime) == (case["token"], case["lifetime"])
    else:
        with pytest.raises(ProtocolError) as caught:
            parse_token(raw, NAME)
        assert_tells(caught.value, "registry-protocol", NAME, never=(case["body"],))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hunter22", id="not-JSON"),
        pytest.param(b'{"token": "hunter22"', id="broken-off"),
        pytest.param(b'"hunter22"', id="text"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"token": "", "access_token": null}', id="no-token"),
        pytest.param(b'{"token": ["hunter22"]}', id="token-in-a-list"),
        pytest.param(b'{"token": 7}', id="number"),
        pytest.param(b'{"token": "hunter22\\r\\nX: y"}', id="line-break"),
        pytest.param(b'{"token": "hunter22 x"}', id="blank"),
        pytest.param('{"token": "hunter22\u00e9"}'.encode(), id="not-ASCII"),
        pytest.param(b'{"token": "hunter22\xff"}', id="not-UTF-8"),
        pytest.param(b"[" * 100_000, id="nested"),
    ],
)
def test_any_other_answer_is_an_error_that_does_not_repeat_it(raw):
    with pytest.raises(ProtocolError) as caught:
        parse_token(raw, NAME)
    assert_tells(caught.value, "registry-protocol", NAME, never=("hunter22",))


def test_token_comes_before_access_token():
    raw = json.dumps({"access_token": "second", "token": "first"}).encode()
    assert parse_token(raw, NAME).value == "first"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("300", 300.0),
        ("300.5", 300.5),
        ("0", MIN_LIFETIME),
        ("-5", MIN_LIFETIME),
        ("null", MIN_LIFETIME),
        ("true", MIN_LIFETIME),
        ('"300"', MIN_LIFETIME),
        ("NaN", MIN_LIFETIME),
        ("-Infinity", MIN_LIFETIME),
        ("1" + "0" * 400, YEAR),
        ("1e999", YEAR),
    ],
    ids=short,
)
def test_a_lifetime_is_a_number_of_seconds_between_a_minute_and_a_year(written, seconds):
    raw = b'{"token": "t", "expires_in": %s}' % written.encode()
    assert parse_token(raw, NAME).lifetime == seconds


def test_a_scope_names_a_repository_and_what_is_done_with_it():
    assert scope("library/debian", "pull", "push") == "repository:library/debian:pull,push"


@pytest.mark.parametrize(
    ("parameters", "scopes"),
    [
        ({"scope": "repository:a:pull"}, []),
        ({"error": "insufficient_scope"}, []),
        ({"error": "invalid_token", "scope": "repository:a:pull"}, []),
        ({"error": "insufficient_scope", "scope": "repository:a:pull"}, ["repository:a:pull"]),
        ({"error": "insufficient_scope", "scope": "repository:b:pull registry:catalog:*"}, []),
        ({"error": "insufficient_scope", "scope": "repository:a/b:pull"}, []),
    ],
)
def test_a_registry_may_ask_for_more_of_the_same_repository_only(parameters, scopes):
    assert insufficient(Challenge("bearer", parameters), "a") == scopes


@pytest.mark.parametrize(
    "password", ["a\nb", "a'b\"c", "{{ x }}", "x" * 8192, "\u00e9:\u00e9", "a:b"], ids=short
)
def test_any_password_fits_into_a_header(password):
    """A020."""
    header = Credentials("alice", password).basic
    assert header.isprintable() and header.startswith("Basic ")
    assert base64.b64decode(header[6:]).decode() == f"alice:{password}"


def test_nobody_has_no_header():
    assert Credentials("alice").basic == "" == Credentials("alice", identity_token="x").basic


def test_no_secret_is_in_a_representation():
    """A020."""
    who = Credentials("alice", PASSWORD, "identity-secret", "registry-secret")
    shown = repr(
        [who, token_requests(BEARER, [], USER), parse_token(b'{"token": "tokensecret"}', NAME)]
    )
    for form in secret_forms(PASSWORD, "identity-secret", "registry-secret", "tokensecret"):
        assert form not in shown
