# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token servers: how they are asked, what of their answers is believed, and where they may be."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._registry.challenge import parse_token
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault, Filler
from ansible_collections.lockstep.images.tests.support.pulling import (
    LOGIN,
    PASSWORD,
    PLAIN,
    SIGNATURE,
    USER,
    USERS,
    Puller,
    authorized,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

IDENTITY = Credentials("", identity_token="1dent1ty-t0ken")


def token_fault(**fault):
    return Fault(method="GET|POST", path="^/token", before_auth=True, **fault)


def changed(**fields):
    """Return a change of the token server's answer: set these fields, and remove the fields whose value is None."""
    return lambda answer: {
        key: value for key, value in {**answer, **fields}.items() if value is not None
    }


ACCEPTED = {
    "R026-token-only": changed(access_token=None),
    "R026-access-token-only": changed(token=None),
    "R026-both-differ-and-token-counts": changed(access_token="another"),
    "R026-token-is-empty": changed(token=""),
    "R026-more-fields": changed(scope="x", refresh_token=7, nested={"a": [1]}),
    "R028-0": changed(expires_in=0),
    "R028-1": changed(expires_in=1),
    "R028-negative": changed(expires_in=-5),
    "R028-fraction": changed(expires_in=0.001),
    "R028-number-in-a-string": changed(expires_in="300"),
    "R028-word": changed(expires_in="soon"),
    "R028-missing": changed(expires_in=None),
    "R028-list": changed(expires_in=[300]),
    "R028-true": changed(expires_in=True),
    "R028-more-than-a-float-holds": changed(expires_in=10**400),
    "R028-infinite": changed(expires_in=float("inf")),
    "R028-not-a-number": changed(expires_in=float("nan")),
    "R029-issued-long-ago": changed(issued_at="1999-01-01T00:00:00Z"),
    "R029-issued-in-the-future": changed(issued_at="2999-01-01T00:00:00Z"),
    "R029-garbage": changed(issued_at="yesterday"),
    "R029-number": changed(issued_at=7),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_a_token_is_used_for_the_whole_pull(tmp_path, change):
    with serving(auth="bearer", users=USERS, token_response=change) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert trail(registry) == ["HEAD tag", "GET token", *PLAIN]


@pytest.mark.parametrize("lifetime", [0, 1, None, "300", -1], ids="R028-{}".format)
def test_a_token_lives_for_a_minute_at_least(tmp_path, lifetime):
    change = changed(expires_in=lifetime)
    with serving(auth="bearer", users=USERS, token_response=change) as registry:
        puller = Puller(tmp_path, registry, login=LOGIN)
        puller.pull()
        puller.clock.sleep(50)
        puller.pull()
        assert len(registry.token_requests) == 1


NO_TOKEN = {
    "R027-empty-object": {},
    "R027-list": [],
    "R027-text": "token",
    "R027-null": None,
    "R027-token-is-null": {"token": None},
    "R027-token-is-a-number": {"token": 5},
    "R027-token-is-a-list": {"token": ["a"]},
    "R027-empty-tokens": {"token": "", "access_token": ""},
    "R030-cr-lf": {"token": "a\r\nX-Injected: 1"},
    "R030-lf-at-the-end": {"token": "abc\n"},
    "R030-nul": {"access_token": "a\x00b"},
    "R030-blank": {"token": "a b"},
    "R030-non-ascii": {"token": "t\u00f6ken"},
    "R030-surrogate": {"token": "\ud800"},
}


@pytest.mark.parametrize("answer", NO_TOKEN.values(), ids=NO_TOKEN)
def test_an_answer_without_a_usable_token_is_an_error(tmp_path, answer):
    with serving(auth="bearer", users=USERS, token_response=lambda _answer: answer) as registry:
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "registry-protocol"
        assert f"{registry.url}/token" in str(error)
        assert "Injected" not in str(error)
        assert trail(registry) == ["HEAD tag", "GET token"]


BROKEN = {
    "R027-html": ({"body": "<html>log in</html>"}, "not JSON"),
    "R027-empty": ({"body": b""}, "not JSON"),
    "R027-not-utf-8": ({"body": b"\xff\xfe{}"}, "not JSON"),
    "R027-nested": ({"body": b'{"token":' + b"[" * 200_000}, "not JSON"),
    "R027-a-GiB": ({"body": Filler(1 << 30, prefix=b'{"token":"')}, "larger than"),
    "R027-a-GiB-without-a-length": (
        {"body": Filler(1 << 30, prefix=b'{"token":"'), "content_length": None},
        "larger than",
    ),
    "R027-201": ({"status": 201, "body": {"token": "abc"}}, "answered 201"),
    "R044-500-for-ever": ({"status": 500}, "answered 500"),
    "R031-404-for-get-and-post": ({"status": 404}, "answered 404"),
    "R031-405-for-get-and-post": ({"status": 405}, "answered 405"),
}


@pytest.mark.parametrize(("fault", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_token_server_is_named(tmp_path, fault, says):
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(token_fault(times=None, **fault))
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "registry-protocol"
        assert says in str(error)
        assert f"{registry.url}/token" in str(error)
        assert sum(request.bytes_sent for request in registry.requests) < 64 << 20


def test_F08_a_rate_limit_of_a_token_server_is_called_one(tmp_path):
    """As auth.docker.io does it."""
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(token_fault(times=None, status=429))
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "rate-limited"
        assert f"{registry.url}/token" in str(error)


def test_F08_the_hint_about_a_token_server_fits_what_it_answers(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(token_fault(times=None, status=503))
        assert "Run again later" in Puller(tmp_path, registry, login=LOGIN).fails().hint


def test_F35_a_token_whose_lifetime_has_a_million_digits_is_taken(tmp_path):
    body = b'{"token": "abc", "expires_in": ' + b"9" * 1_000_000 + b"}"
    assert parse_token(body, "registry.example").lifetime == 365 * 24 * 3600


def test_a_token_server_that_is_busy_is_asked_again(tmp_path):
    """R044."""
    with serving(auth="bearer", users=USERS, faults=[token_fault(status=503)]) as registry:
        puller = Puller(tmp_path, registry, login=LOGIN)
        puller.pull()
        assert puller.clock.slept == [0.5]


def test_a_token_that_is_cut_off_is_an_error(tmp_path):
    """R005."""
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(token_fault(truncate_at=20, times=None))
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "truncated"
        assert f"{registry.url}/token" in str(error)


def test_a_login_goes_by_get_with_basic(tmp_path):
    """R031: servers that know no POST never see one."""
    with serving(auth="bearer", users=USERS, token_post=False) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        (asked,) = registry.token_requests
        assert (asked.method, asked.user, asked.account) == ("GET", USER, USER)
        assert asked.service == registry.address


@pytest.mark.parametrize("status", [404, 405], ids="R031-{}".format)
def test_a_login_goes_by_post_where_get_is_not_known(tmp_path, status):
    with serving(auth="bearer", users=USERS) as registry:
        registry.faults.append(Fault(path="^/token", before_auth=True, status=status))
        Puller(tmp_path, registry, login=LOGIN).pull()
        (asked,) = registry.token_requests
        assert (asked.method, asked.grant_type, asked.user) == ("POST", "password", USER)
        assert asked.scopes == ("repository:demo/app:pull",)
        assert asked.client_id == "lockstep-images"
        assert PASSWORD not in "".join(request.query for request in registry.requests)


def test_an_identity_token_goes_by_post_as_a_refresh_token(tmp_path):
    tokens = {IDENTITY.identity_token: USER}
    with serving(auth="bearer", identity_tokens=tokens) as registry:
        Puller(tmp_path, registry, login=IDENTITY).pull()
        (asked,) = registry.token_requests
        assert (asked.method, asked.grant_type, asked.user) == ("POST", "refresh_token", USER)
        assert authorized(registry)[:3] == [False, False, True]


def test_a_registry_token_is_sent_as_it_is(tmp_path):
    with serving(auth="bearer", users=USERS) as registry:
        held = Puller(tmp_path, registry, login=LOGIN)
        held.pull()
        token = registry.requests[-1].headers["authorization"].partition(" ")[2]
        registry.clear()
        again = Puller(tmp_path / "again", registry, login=Credentials(registry_token=token))
        again.pull()
        assert trail(registry) == PLAIN
        assert all(authorized(registry))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308], ids="R032-{}".format)
@pytest.mark.parametrize("who", [LOGIN, IDENTITY], ids=["password", "identity"])
def test_a_token_server_that_redirects_is_not_followed(tmp_path, status, who):
    with serving(auth="bearer", users=USERS) as registry, Registry() as other:
        where = f"{other.url}/token?{SIGNATURE}"
        registry.faults.append(token_fault(redirect=where, status=status, times=None))
        error = Puller(tmp_path, registry, login=who).fails()
        assert error.kind == "redirect-refused"
        assert f"{registry.url}/token" in str(error)
        assert other.connections == 0


REALMS = {
    "R033-file": "file:///etc/passwd",
    "R033-ftp": "ftp://127.0.0.1/token",
    "R033-relative": "/token",
    "R033-no-host": "http:///token",
    "R033-user": "http://user:secret@127.0.0.1:{port}/token",
    "R033-another-port": "http://127.0.0.1:{other}/token",
    "R033-localhost": "http://localhost:{other}/token",
    "R033-metadata": "http://169.254.169.254/token",
    "R033-link-local": "http://[fe80::1]/token",
    "R033-unspecified": "http://0.0.0.0:{other}/token",
    "R033-mapped": "http://[::ffff:127.0.0.1]:{other}/token",
    "R033-private": "https://10.0.0.1/token",
    "R033-bad-port": "http://127.0.0.1:port/token",
    "R033-bad-ipv6": "http://[::1/token",
    "R033-javascript": "javascript:alert(1)",
    "R033-metadata-as-a-number": "http://2852039166/token",
    "R033-loopback-in-short": "http://127.1:{other}/token",
}


@pytest.mark.parametrize("realm", REALMS.values(), ids=REALMS)
def test_a_token_server_in_a_forbidden_place_is_never_asked(tmp_path, realm):
    with serving(auth="bearer", users=USERS) as registry, Registry() as other:
        registry.access.realm = realm.format(port=registry.port, other=other.port)
        error = Puller(tmp_path, registry, login=LOGIN, retries=0).fails()
        assert error.kind == "authentication-failed"
        assert f"{registry.address}: its token server" in str(error)
        assert "secret" not in str(error)
        assert trail(registry) == ["HEAD tag"]
        assert other.connections == 0


@pytest.mark.parametrize(
    ("tail", "query"),
    [
        ("?x=1", "x=1&service="),
        ("?a=b%20c&d", "a=b%20c&d&service="),
        ("?", "&service="),
        ("#part", "service="),
    ],
    ids="R034-{}".format,
)
def test_a_realm_with_a_query_keeps_it(tmp_path, tail, query):
    with serving(auth="bearer", users=USERS) as registry:
        registry.access.realm = f"{registry.url}/token{tail}"
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert registry.requests[1].path == "/token"
        assert registry.requests[1].query.startswith(query)
        assert len(registry.token_requests) == 1


def test_a_service_is_sent_as_it_was_given(tmp_path):
    """R035: whatever characters are in it."""
    service = "a b&c=d+e/\u00fc?"
    with serving(auth="bearer", users=USERS, service=service) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert registry.token_requests[0].service.startswith("a b&c=d+e/")
