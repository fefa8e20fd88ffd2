# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication of the embedded registry: challenges, tokens, scopes."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from ansible_collections.lockstep.images.tests.support.client import Reply, basic, call
from ansible_collections.lockstep.images.tests.support.images import demo_image, push, upload
from ansible_collections.lockstep.images.tests.support.registry import Registry

USERS = {"user": "pass:word"}
GOOD = basic("user", "pass:word")
BAD = basic("user", "wrong")
PULL = "repository:demo/app:pull"
TAGS = "/v2/demo/app/tags/list"


def token_registry(**options) -> Registry:
    """Return a registry with token authentication and one repository."""
    registry = Registry(auth="bearer", users=USERS, **options)
    registry.tag("demo/app", "1", "sha256:" + 64 * "0")
    return registry


def token(registry: Registry, query: str = "", headers=None) -> Reply:
    """Request a token with GET. Return the answer."""
    return call(registry.url, "GET", f"/token?{query}", None, GOOD if headers is None else headers)


def form(registry: Registry, **fields: str) -> Reply:
    """Request a token with POST. Return the answer."""
    return call(registry.url, "POST", "/token", urlencode(fields).encode())


def read(registry: Registry, reply: Reply, target: str = TAGS, method: str = "GET") -> Reply:
    """Send a request with the token in ``reply``. Return the answer."""
    head = {"Authorization": f"Bearer {reply.document['token']}"}
    return call(registry.url, method, target, None, head)


def test_basic_authentication_admits_only_the_right_password():
    with Registry(auth="basic", users=USERS) as registry:
        registry.tag("demo/app", "1", "sha256:0")
        refused = call(registry.url, "GET", TAGS)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert refused.headers["www-authenticate"].startswith("Basic realm=")
        assert call(registry.url, "GET", TAGS, None, GOOD).status == 200
        assert call(registry.url, "GET", TAGS, None, BAD).status == 401
        assert call(registry.url, "GET", TAGS, None, {"Authorization": "Basic !"}).status == 401


def test_basic_with_anonymous_pull_still_challenges_the_version_check():
    with Registry(auth="basic", users=USERS, anonymous_pull=True) as registry:
        assert call(registry.url, "GET", "/v2/demo/app/tags/list").status == 404
        assert call(registry.url, "GET", TAGS, None, BAD).status == 401
        assert call(registry.url, "GET", "/v2/").status == 401
        assert call(registry.url, "POST", "/v2/demo/app/blobs/uploads/", b"").status == 401


def test_a_bearer_challenge_names_realm_service_and_scope():
    with token_registry() as registry:
        line = call(registry.url, "GET", TAGS).headers["www-authenticate"]
        assert line == (
            f'Bearer realm="{registry.url}/token",service="{registry.address}",scope="{PULL}"'
        )
        assert "scope" not in call(registry.url, "GET", "/v2/").headers["www-authenticate"]
        line = call(registry.url, "PUT", "/v2/demo/app/manifests/1", b"").headers[
            "www-authenticate"
        ]
        assert 'scope="repository:demo/app:pull,push"' in line


def test_token_admits_only_requests_within_its_scope():
    with token_registry() as registry:
        got = token(registry, f"service=s&scope={PULL}&client_id=c&account=user")
        assert read(registry, got).status == 200
        refused = read(registry, got, "/v2/other/tags/list")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        recorded = registry.token_requests[0]
        assert (recorded.user, recorded.scopes, recorded.service) == ("user", (PULL,), "s")
        assert (recorded.client_id, recorded.account, recorded.status) == ("c", "user", 200)


def test_one_token_can_have_several_scopes():
    with token_registry() as registry:
        push_scope = "repository:other:pull,push"
        got = token(registry, urlencode({"scope": [PULL, push_scope]}, doseq=True))
        assert registry.token_requests[0].granted == (PULL, push_scope)
        assert read(registry, got, "/v2/other/blobs/uploads/", "POST").status == 202


@pytest.mark.parametrize("headers", [BAD, {}, {"Authorization": "Bearer x"}])
def test_token_request_without_the_right_password_is_refused(headers):
    with token_registry() as registry:
        refused = token(registry, f"scope={PULL}", headers)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert [one.status for one in registry.token_requests] == [401]


def test_anonymous_token_admits_only_pulls():
    with token_registry(anonymous_pull=True) as registry:
        got = token(registry, f"scope={PULL},push", {})
        assert registry.token_requests[0].granted == (PULL,)
        assert read(registry, got).status == 200
        assert read(registry, got, "/v2/demo/app/blobs/uploads/", "POST").status == 401
        assert token(registry, "", BAD).status == 401


def test_permissions_limit_the_granted_scope():
    with token_registry(permissions={"user": {"demo/*": "pull"}}) as registry:
        token(registry, "scope=repository:demo/app:pull,push&scope=repository:x:pull")
        assert registry.token_requests[0].granted == (PULL,)


def test_expired_token_is_refused():
    with token_registry() as registry, token_registry(token_lifetime=-1) as other:
        got = token(registry, f"scope={PULL}")
        registry.expire_tokens()
        refused = read(registry, got)
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert read(registry, token(registry, f"scope={PULL}")).status == 200
        assert read(other, token(other, f"scope={PULL}")).status == 401


def test_post_grants_a_token_for_a_password_or_a_refresh_token():
    with token_registry(identity_tokens={"secret": "user"}) as registry:
        fields = {"service": "s", "client_id": "c", "scope": f"{PULL} repository:x:pull"}
        got = form(registry, grant_type="password", username="user", password="pass:word", **fields)
        assert read(registry, got).status == 200
        assert len(registry.token_requests[0].granted) == 2
        got = form(registry, grant_type="refresh_token", refresh_token="secret", **fields)
        assert read(registry, got).status == 200
        assert registry.token_requests[1].grant_type == "refresh_token"
        assert form(registry, grant_type="refresh_token", refresh_token="no").status == 401
        assert form(registry, grant_type="password", username="user", password="no").status == 401


def test_offline_token_can_be_exchanged_for_a_token():
    with token_registry() as registry:
        got = token(registry, f"offline_token=true&scope={PULL}")
        again = form(
            registry,
            grant_type="refresh_token",
            refresh_token=got.document["refresh_token"],
            scope=PULL,
        )
        assert read(registry, again).status == 200
        assert registry.token_requests[0].offline


@pytest.mark.parametrize(("setting", "status"), [(False, 405), (404, 404), (401, 401)])
def test_post_can_be_refused(setting, status):
    with token_registry(token_post=setting) as registry:
        assert form(registry, grant_type="password").status == status
        assert registry.token_requests[0].method == "POST"


def test_token_answer_and_challenge_can_be_changed():
    with token_registry(
        token_response=lambda answer: {"access_token": answer["token"], "expires_in": "soon"},
        realm="https://elsewhere.example/token?x=1",
        service="other",
        extra_challenges=["Negotiate", 'Basic realm="x"'],
    ) as registry:
        assert set(token(registry).document) == {"access_token", "expires_in"}
        lines = call(registry.url, "GET", TAGS).headers["www-authenticate"]
        assert re.match(r'Negotiate, Basic realm="x", Bearer realm="https://elsewhere', lines)
        assert 'service="other"' in lines


def test_scheme_can_depend_on_the_path():
    with Registry(
        auth=lambda method, path: "basic" if "/blobs/" in path else "bearer", users=USERS
    ) as registry:
        blob = f"/v2/demo/app/blobs/sha256:{64 * '0'}"
        assert call(registry.url, "GET", blob).headers["www-authenticate"].startswith("Basic")
        assert call(registry.url, "GET", TAGS).headers["www-authenticate"].startswith("Bearer")
        assert call(registry.url, "GET", blob, None, GOOD).status == 404


def test_a_mount_needs_a_scope_for_its_origin():
    with token_registry() as registry:
        digest = registry.add_blob("base", b"x")
        path = f"/v2/demo/app/blobs/uploads/?mount={digest}&from=base"
        scope = "scope=repository:demo/app:pull,push"
        assert read(registry, token(registry, scope), path, "POST").status == 202
        scope += "&scope=repository:base:pull"
        assert read(registry, token(registry, scope), path, "POST").status == 201


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_upload_logs_in(auth):
    family = demo_image("app", "1.0")
    with Registry(auth=auth, users=USERS) as registry:
        upload(registry.url, "demo/app", family, "1", username="user", password="pass:word")
        assert registry.manifest("demo/app", "1") == family.raw
        assert push(registry, "demo/app", family) == family.digest
