# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Challenges of a registry, and what is shown to whom because of them."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.pulling import (
    IMAGE,
    LOGIN,
    PASSWORD,
    PLAIN,
    USER,
    USERS,
    Puller,
    authorized,
    resolve,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

WITH_TOKEN = ["HEAD tag", "GET token", *PLAIN]


def every(status=401, challenge=None, **fault):
    """Every request below /v2/ is answered with that status, logged in or not."""
    headers = {} if challenge is None else {"WWW-Authenticate": challenge}
    settings = {"method": "HEAD|GET", "path": "^/v2/", "times": None, **fault}
    return Fault(status=status, headers=headers, before_auth=True, **settings)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_costs_one_challenge(tmp_path, auth):
    with serving(auth=auth, users=USERS) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert trail(registry) == (WITH_TOKEN if auth == "bearer" else ["HEAD tag", *PLAIN])
        assert authorized(registry) == [False] + [True] * (len(registry.requests) - 1)


def test_a_token_for_nobody_is_asked_for_without_a_login(tmp_path):
    with serving(auth="bearer", anonymous_pull=True) as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == WITH_TOKEN
        assert authorized(registry)[:2] == [False, False]
        assert registry.token_requests[0].scopes == ("repository:demo/app:pull",)


WHO = {
    "basic-nobody": ("basic", None, "authentication is required", 1),
    "bearer-nobody": ("bearer", None, "authentication is required", 2),
    "basic-wrong-password": ("basic", Credentials(USER, "wrong-pass"), f"user {USER}", 2),
    "bearer-wrong-password": ("bearer", Credentials(USER, "wrong-pass"), f"user {USER}", 2),
    "bearer-wrong-identity": ("bearer", Credentials(USER, identity_token="stale"), USER, 2),
    "bearer-wrong-token": ("bearer", Credentials(registry_token="stale"), "refused", 3),
}


@pytest.mark.parametrize(("auth", "who", "says", "requests"), WHO.values(), ids=WHO)
def test_a_login_that_is_missing_or_wrong_is_an_error(tmp_path, auth, who, says, requests):
    with serving(auth=auth, users=USERS) as registry:
        error = Puller(tmp_path, registry, login=who).fails()
        assert error.kind == "authentication-failed"
        assert registry.address in str(error)
        assert says in str(error)
        assert len(registry.requests) <= requests


MALFORMED = {
    "R021-no-header": None,
    "R022-empty": "",
    "R022-no-scheme": 'realm="x"',
    "R022-unbalanced-quote": 'Bearer realm="http://127.0.0.1/token',
    "R022-no-realm": 'Bearer service="x"',
    "R022-only-commas": ",,,",
    "R022-unknown-scheme": 'Negotiate abc=, Digest realm="x", nonce="y"',
    "R022-a-million-commas": "," * 60_000,
    "R022-control-characters": "\x7f\x1b[31m",
}


@pytest.mark.parametrize("challenge", MALFORMED.values(), ids=MALFORMED)
def test_a_challenge_that_cannot_be_answered_is_an_error_at_once(tmp_path, challenge):
    with serving(faults=[every(challenge=challenge)]) as registry:
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "authentication-failed"
        assert "authentication is required" in str(error)
        assert trail(registry) in (["HEAD tag"], ["HEAD tag", "GET api"])
        assert not any(authorized(registry))


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_registry_that_says_only_at_its_root_how_to_log_in_is_asked_there(tmp_path, auth):
    """R021."""
    silent = Fault(method="HEAD", drop_headers=["WWW-Authenticate"], before_auth=True)
    with serving(auth=auth, users=USERS, faults=[silent]) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert trail(registry)[:2] == ["HEAD tag", "GET api"]


SEVERAL = {
    "R023-unknown-first": ["Negotiate", 'Digest realm="x", qop="auth", nonce="a,b"'],
    "R023-basic-first": ['Basic realm="x"'],
    "R023-unknown-then-basic-in-one-line": ['Foo abc123==, Basic realm="a \\"b\\", c"'],
    "R023-bearer-without-a-realm-first": ['Bearer service="x"'],
}


@pytest.mark.parametrize("lines", SEVERAL.values(), ids=SEVERAL)
def test_bearer_is_chosen_before_basic_whatever_stands_first(tmp_path, lines):
    with serving(auth="bearer", users=USERS, extra_challenges=lines) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert trail(registry) == WITH_TOKEN


def test_basic_is_chosen_where_only_that_is_understood(tmp_path):
    """R023."""
    with serving(auth="basic", users=USERS, extra_challenges=["Negotiate"]) as registry:
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert trail(registry) == ["HEAD tag", *PLAIN]


def test_two_challenges_in_one_line_are_two_challenges(tmp_path):
    """R023."""
    with serving(auth="bearer", users=USERS) as registry:
        line = f'Basic realm="x", BEARER Realm="{registry.url}/token" , service=app'
        registry.faults.append(Fault(method="HEAD", before_auth=True, status=401))
        registry.faults[0].headers["WWW-Authenticate"] = line
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert registry.token_requests[0].service == "app"


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
@pytest.mark.parametrize("login", [LOGIN, None], ids=["user", "nobody"])
def test_a_registry_that_refuses_its_own_token_is_asked_three_times_at_most(
    tmp_path, scheme, login
):
    """R024."""
    with serving(auth="bearer", users=USERS, anonymous_pull=True) as registry:
        registry.faults.append(every(challenge=f'{scheme} realm="{registry.url}/token"'))
        error = Puller(tmp_path, registry, login=login).fails()
        assert error.kind == "authentication-failed"
        assert len(registry.requests) <= 3


def test_a_token_that_ceases_to_be_valid_in_mid_pull_is_replaced(tmp_path):
    """R025."""
    with serving(auth="bearer", users=USERS) as registry:
        registry.log.on_request = lambda request: (
            registry.expire_tokens() if "/manifests/sha" in request.path else None
        )
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert len(registry.token_requests) == 2
        assert [one.status for one in registry.requests].count(401) == 2


def test_a_token_that_serves_one_request_only_is_replaced_once_an_object(tmp_path):
    """R025."""
    with serving(auth="bearer", users=USERS) as registry:
        registry.log.on_request = lambda request: (
            registry.expire_tokens() if request.path.startswith("/v2/") else None
        )
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert len(registry.token_requests) == len(PLAIN)


def test_a_token_that_has_expired_is_replaced_before_it_is_refused(tmp_path):
    """R025."""
    with serving(auth="bearer", users=USERS, token_lifetime=300) as registry:
        puller = Puller(tmp_path, registry, login=LOGIN)
        puller.pull()
        registry.clear()
        puller.clock.sleep(269)
        puller.pull()
        assert trail(registry) == ["HEAD tag"]
        puller.clock.sleep(2)
        puller.pull()
        assert trail(registry) == ["HEAD tag", "GET token", "HEAD tag"]


WANTED_SCOPES = {
    "R036-ours-and-more": (
        "repository:demo/app:pull,push",
        ("repository:demo/app:pull,push",),
    ),
    "R035-two-of-ours": (
        "repository:demo/app:pull repository:demo/app:delete",
        ("repository:demo/app:delete", "repository:demo/app:pull"),
    ),
    "R035-star": ("repository:demo/app:*", ("repository:demo/app:*",)),
}


@pytest.mark.parametrize(("asked", "sent"), WANTED_SCOPES.values(), ids=WANTED_SCOPES)
def test_a_scope_that_is_missing_is_asked_for_once_if_it_is_ours(tmp_path, asked, sent):
    with serving(auth="bearer", users=USERS) as registry:
        parts = f'realm="{registry.url}/token",scope="{asked}",error="insufficient_scope"'
        headers = {"WWW-Authenticate": f"Bearer {parts}"}
        registry.faults.append(Fault(method="HEAD", status=401, headers=headers))
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert [one.scopes for one in registry.token_requests] == [
            ("repository:demo/app:pull",),
            sent,
        ]


@pytest.mark.parametrize("asked", ["repository:demo/other:pull", "registry:catalog:*", ""])
def test_a_scope_that_is_not_ours_is_not_asked_for(tmp_path, asked):
    """R036."""
    with serving(auth="bearer", users=USERS) as registry:
        parts = f'realm="{registry.url}/token",scope="{asked}",error="insufficient_scope"'
        registry.faults.append(every(challenge=f"Bearer {parts}"))
        assert Puller(tmp_path, registry, login=LOGIN).fails().kind == "authentication-failed"
        scopes = {one.scopes for one in registry.token_requests}
        assert scopes == {("repository:demo/app:pull",)}
        assert len(registry.requests) <= 3


def test_a_registry_that_wants_ever_more_is_asked_three_times_at_most(tmp_path):
    """R036."""
    with serving(auth="bearer", users=USERS) as registry:
        for number in range(9):
            scope = f"repository:demo/app:pull,more-{number}"
            parts = f'realm="{registry.url}/token",scope="{scope}",error="insufficient_scope"'
            registry.faults.append(every(challenge=f"Bearer {parts}", times=1))
        assert Puller(tmp_path, registry, login=LOGIN).fails().kind == "authentication-failed"
        assert trail(registry).count("HEAD tag") == 3


def test_a_scope_that_is_never_granted_is_an_error(tmp_path):
    """R036."""
    with serving(auth="bearer", users=USERS, permissions={USER: {"*": "push"}}) as registry:
        error = Puller(tmp_path, registry, login=LOGIN).fails()
        assert error.kind == "authentication-failed"
        assert len(registry.requests) <= 4


def test_a_registry_may_want_basic_here_and_bearer_there(tmp_path):
    """R037: also while many requests are on their way at the same time."""

    def auth(_method, path):
        return "basic" if "/blobs/" in path else "bearer"

    with serving(auth=auth, users=USERS) as registry:
        names = [f"{registry.address}/demo/app-{number}:1.0" for number in range(12)]
        for number in range(len(names)):
            push(registry, f"demo/app-{number}", demo_image(f"app-{number}", "1.0"), "1.0")
        Puller(tmp_path, registry, login=LOGIN).pull(*names, workers=6)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_access_that_is_denied_is_an_error_without_a_retry(tmp_path, method):
    """R038."""
    body = {"errors": [{"code": "DENIED", "message": "not for you"}]}
    with serving(faults=[Fault(method="HEAD|GET", status=403, body=body, times=None)]) as registry:
        if method == "GET":
            registry.faults.insert(0, Fault(method="HEAD", times=None))
        puller = Puller(tmp_path, registry)
        error = puller.fails()
        assert error.kind == "denied"
        assert "DENIED: not for you" in str(error)
        assert trail(registry)[1:] in (["GET tag"], ["GET manifest"])
        assert puller.clock.slept == []


def test_two_registries_with_one_repository_never_share_a_login_or_a_token(tmp_path):
    """R095."""
    with serving(auth="bearer", users=USERS) as one, serving(auth="bearer", users=USERS) as two:
        two.access.users = {"other": "another password"}
        logins = {one.address: LOGIN, two.address: Credentials("other", "another password")}
        puller = Puller(tmp_path, one, two, logins=logins)
        puller.pull(*(f"{registry.address}/demo/app:1.0" for registry in (one, two)))
        assert [request.user for request in one.token_requests] == [USER]
        assert [request.user for request in two.token_requests] == ["other"]
        seen = [
            {request.headers.get("authorization") for request in registry.requests} - {None}
            for registry in (one, two)
        ]
        assert not seen[0] & seen[1]


def test_a_login_for_one_port_of_a_host_is_not_shown_at_another(tmp_path):
    """R095."""
    with serving(auth="basic", users=USERS) as one, serving(auth="basic", users=USERS) as two:
        puller = Puller(tmp_path, one, two, login=LOGIN)
        assert puller.fails(f"{two.address}/demo/app:1.0").kind == "authentication-failed"
        assert not any(authorized(two))


def test_one_token_serves_all_requests_to_a_repository(tmp_path):
    family = demo_image("app", "1.0", layers=8)
    with serving(family, auth="bearer", users=USERS) as registry:
        registry.faults.append(Fault(path="/blobs/", delay=0.05, times=None))
        tags = [f"v{number}" for number in range(20)]
        for tag in tags:
            registry.tag("demo/app", tag, family.digest)
        names = [f"{registry.address}/demo/app:{tag}" for tag in tags]
        Puller(tmp_path, registry, login=LOGIN).pull(*names, workers=6)
        assert len(registry.token_requests) == 1
        assert [one.status for one in registry.requests].count(401) == 1


@pytest.mark.parametrize(("auth", "extra"), [(None, 0), ("basic", 1), ("bearer", 2)])
def test_a_hundred_tags_that_are_there_cost_a_hundred_heads(tmp_path, auth, extra):
    with serving(auth=auth, users=USERS) as registry:
        tags = [f"v{number}" for number in range(100)]
        for tag in tags:
            registry.tag("demo/app", tag, IMAGE.digest)
        names = [f"{registry.address}/demo/app:{tag}" for tag in tags]
        login = LOGIN if auth else None
        Puller(tmp_path, registry, login=login).pull(*names)
        registry.clear()
        outcome = Puller(tmp_path, registry, login=login).pull(*names, workers=6)
        assert not outcome.plan.changed
        assert trail(registry).count("HEAD tag") == 100 + (extra > 0)
        assert len(registry.requests) == 100 + extra


def test_public_registry_must_not_name_a_token_server_in_a_private_network(tmp_path, monkeypatch):
    """R033."""
    resolve(monkeypatch, "registry.test")
    with serving(auth="bearer", users=USERS) as registry, Registry() as inside:
        registry.access.realm = f"{inside.url}/token"
        name = f"registry.test:{registry.port}"
        puller = Puller(tmp_path, registry, plain_http=True, logins={name: LOGIN})
        error = puller.fails(f"{name}/demo/app:1.0")
        assert error.kind == "authentication-failed"
        assert f"{inside.url}/token is not used: " in str(error)
        assert inside.connections == 0


def test_a_token_server_of_another_domain_is_asked_without_the_login(tmp_path, monkeypatch):
    """R033: and the task warns."""
    resolve(monkeypatch, "registry.test", "tokens.example")
    with serving(auth="bearer", anonymous_pull=True) as registry, Registry() as elsewhere:
        elsewhere.access = registry.access
        registry.access.realm = f"http://tokens.example:{elsewhere.port}/token"
        name = f"registry.test:{registry.port}"
        puller = Puller(tmp_path, registry, plain_http=True, logins={name: LOGIN})
        plan = puller.pull(f"{name}/demo/app:1.0")
        assert trail(elsewhere) == ["GET token"]
        assert not any(authorized(elsewhere))
        assert USER not in elsewhere.requests[0].query
        assert "so it was not sent the login" in " ".join(plan.warnings())
        assert PASSWORD not in " ".join(plan.warnings())


class Counted(dict):
    """Logins that count how often they are looked up."""

    lookups = 0

    def get(self, key, default=None):
        self.lookups += 1
        return super().get(key, default)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_is_looked_up_once_until_it_is_refused(tmp_path, auth):
    """A helper is a program; what it says may be renewed while a task runs."""
    with serving(auth=auth, users=USERS) as registry:
        puller = Puller(tmp_path, registry, login=LOGIN)
        puller.logins = Counted(puller.logins)
        repository = puller.sources.origin(Reference.parse(f"{registry.address}/demo/app:1.0"))
        for _time in range(3):
            assert str(repository.resolve("1.0")) == IMAGE.digest
        assert puller.logins.lookups == 1
        registry.expire_tokens()
        if auth == "basic":
            registry.faults.append(every(challenge='Bearer realm="/token"', times=1))
            with pytest.raises(AuthenticationError):
                repository.resolve("1.0")
        else:
            repository.resolve("1.0")
        assert puller.logins.lookups == 2
