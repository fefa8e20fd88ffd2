# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A front that redirects every request to a registry: which host gets which login, and which one is blamed."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    AuthenticationError,
    RedirectError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    ping,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import api_path
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    CONFIG,
    IMAGE,
    LAYER,
    LOGIN,
    PLAIN,
    USERS,
    Puller,
    authorized,
    resolve,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.pushing import Sender
from ansible_collections.lockstep.images.tests.support.registry import Registry

THEIRS = Credentials("guest", "another-pass")


def redirecting(to, status=307, rename=lambda target: target, **fault):
    """Every request is led to the same place of another registry."""
    settings = {"method": ".*", "path": "^/v2/.", "times": None, "before_auth": True, **fault}
    return Fault(redirect=lambda target: to.url + rename(target), status=status, **settings)


@contextlib.contextmanager
def fronted(status=307, rename=lambda target: target, front=None, **options):
    """A front, and the registry behind it, which by default gives tokens without a login."""
    options = {"auth": "bearer", "anonymous_pull": True, **options}
    with Registry(**(front or {})) as face, serving(**options) as registry:
        face.faults.append(redirecting(registry, status, rename))
        yield face, registry


def name_of(front):
    return f"{front.address}/demo/app:1.0"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_F06_an_image_is_pulled_through_a_front_with_a_token_of_the_registry(tmp_path, status):
    with fronted(status) as (front, registry):
        puller = Puller(tmp_path, front, registry, login=LOGIN)
        puller.pull()
        assert list(puller.store.names()) == [name_of(front)]
        assert trail(registry) == ["HEAD tag", "GET token", *PLAIN]
        assert authorized(registry) == [False, False, True, True, True, True]
        (asked,) = registry.token_requests
        assert (asked.user, asked.scopes) == (None, ("repository:demo/app:pull",))


def test_F06_a_token_is_for_the_repository_that_the_redirect_names(tmp_path):
    with serving(auth="bearer", anonymous_pull=True) as registry, Registry() as front:
        registry.tag("demo/app", "1.0", IMAGE.digest)
        front.faults.append(
            redirecting(registry, rename=lambda target: target.replace("/short/", "/demo/app/"))
        )
        puller = Puller(tmp_path, front)
        puller.pull(f"{front.address}/short:1.0")
        assert list(puller.store.names()) == [f"{front.address}/short:1.0"]
        assert [one.scopes for one in registry.token_requests] == [("repository:demo/app:pull",)]


def test_F06_tags_and_referrers_come_through_a_front(tmp_path):
    """The next page is requested from the registry itself, with its own login."""
    with fronted(page_size=1, front={"auth": "basic", "users": USERS}) as (front, registry):
        front.faults[0] = dataclasses.replace(front.faults[0], before_auth=False)
        registry.tag("demo/app", "2.0", IMAGE.digest)
        puller = Puller(tmp_path, front, registry, login=LOGIN)
        repository = puller.sources.origin(Reference.parse(name_of(front)))
        assert repository.tags() == ["1.0", "2.0"]
        assert repository.referrers(Digest.parse(IMAGE.digest)) == []
        sent = {one.headers.get("authorization", "").partition(" ")[0] for one in registry.requests}
        assert sent == {"", "Bearer"}
        assert len(registry.token_requests) == 1


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("where", ["file", "entry"])
def test_F06_a_login_for_the_registry_itself_is_used_there(tmp_path, auth, where):
    with fronted(auth=auth, users={"guest": "another-pass"}, anonymous_pull=False) as (
        front,
        registry,
    ):
        logins = {front.address: LOGIN}
        settings = [{"registry": registry.address, "username": "guest", "password": "another-pass"}]
        if where == "file":
            logins, settings = {**logins, registry.address: THEIRS}, []
        Puller(tmp_path, front, registry, logins=logins, settings=settings).pull()
        assert not any(authorized(front))
        assert authorized(registry)[-4:] == [True] * 4
        assert {one.user for one in registry.token_requests} <= {"guest"}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_F06_the_login_of_the_front_is_never_shown_and_the_error_names_who_refused(tmp_path, auth):
    front = {"auth": "basic", "users": USERS}
    with fronted(auth=auth, users=USERS, anonymous_pull=False, front=front) as (face, registry):
        face.faults[0] = dataclasses.replace(face.faults[0], before_auth=False)
        error = Puller(tmp_path, face, registry, login=LOGIN).fails()
        assert authorized(face) == [False, True]
        assert not any(authorized(registry))
        assert error.kind == "authentication-failed"
        assert f"{registry.address}, to which {face.address} redirects" in str(error)
        assert f"Log in to {registry.address} " in error.hint


def test_F06_a_login_is_not_shown_over_plain_http(tmp_path, monkeypatch):
    """Neither that of the front nor that of the registry."""
    resolve(monkeypatch, "front.example", "registry.example")
    with fronted(users={"guest": "another-pass"}) as (front, registry):
        front.faults[:] = [
            Fault(
                method=".*",
                path="^/v2/.",
                times=None,
                before_auth=True,
                redirect=lambda target: f"http://registry.example:{registry.port}{target}",
            )
        ]
        registry.access.realm = f"http://registry.example:{registry.port}/token"
        logins = {
            f"front.example:{front.port}": LOGIN,
            f"registry.example:{registry.port}": THEIRS,
        }
        puller = Puller(tmp_path, front, registry, logins=logins, plain_http=True)
        puller.pull(f"front.example:{front.port}/demo/app:1.0")
        assert [one.user for one in registry.token_requests] == [None]


def test_F06_a_token_that_expired_is_renewed(tmp_path):
    with fronted() as (front, registry):
        puller = Puller(tmp_path, front)
        repository = puller.sources.origin(Reference.parse(name_of(front)))
        for _time in range(2):
            assert str(repository.resolve("1.0")) == IMAGE.digest
        registry.expire_tokens()
        assert str(repository.resolve("1.0")) == IMAGE.digest
        assert trail(registry).count("GET token") == 2
        assert len(registry.requests) == 7


@pytest.mark.parametrize("is_led_on", [True, False])
def test_F06_the_token_server_may_be_at_the_front(tmp_path, is_led_on):
    """Where a registry knows itself by the name of the front; which may redirect that request too."""
    with fronted() as (front, registry):
        registry.access.realm = f"{front.url}/token"
        if is_led_on:
            front.faults.append(redirecting(registry, path="^/token"))
        else:
            front.access = registry.access
        Puller(tmp_path, front).pull()
        assert trail(front)[1:3] == ["GET token", "HEAD tag"]
        assert trail(registry).count("GET token") == is_led_on


def test_F06_a_login_does_not_follow_a_redirect_of_a_token_server(tmp_path):
    with fronted(users={"guest": "another-pass"}) as (front, registry):
        registry.faults.append(
            Fault(path="^/token", redirect=f"{front.url}/token", times=None, before_auth=True)
        )
        error = Puller(tmp_path, front, registry, logins={registry.address: THEIRS}).fails()
        assert error.kind == "redirect-refused"
        assert "GET token" not in trail(front)


def test_F06_rate_limit_of_the_registry_counts(tmp_path):
    limits = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "7;w=21600"}
    with fronted() as (front, registry):
        registry.faults.append(Fault(method="HEAD|GET", set_headers=limits, times=None))
        plan = Puller(tmp_path, front, rate_limit_floor=7).fails()
        assert plan.kind == "rate-limited"


def test_F06_the_token_goes_no_further_than_the_registry(tmp_path):
    """Its layers are in an object store, as those of most are."""
    with fronted() as (front, registry), Registry() as bucket:
        bucket.files["/bucket/layer"] = BLOB
        where = f"{bucket.url}/bucket/layer?signature"
        registry.faults.append(Fault(path=f"/blobs/{LAYER}", redirect=where))
        Puller(tmp_path, front).pull()
        assert authorized(bucket) == [False]


def test_F06_a_front_before_a_front_is_one_more_redirect(tmp_path):
    with fronted() as (middle, registry), Registry() as front:
        front.faults.append(redirecting(middle))
        Puller(tmp_path, front).pull()
        assert trail(registry) == ["HEAD tag", "GET token", *PLAIN]


def test_F06_a_mirror_may_be_such_a_front(tmp_path):
    with fronted() as (front, registry), serving() as origin:
        settings = [{"registry": origin.address, "mirrors": [{"url": f"http://{front.address}"}]}]
        Puller(tmp_path, origin, settings=settings).pull()
        assert origin.requests == []
        assert len(registry.token_requests) == 1


def test_F06_a_registry_that_says_only_at_its_root_how_to_log_in_is_asked_there(tmp_path):
    silent = Fault(method="HEAD", drop_headers=["WWW-Authenticate"], before_auth=True)
    with fronted(faults=[silent]) as (front, registry):
        Puller(tmp_path, front).pull()
        assert trail(registry) == ["HEAD tag", "GET api", "GET token", *PLAIN]


def test_F06_a_front_that_leads_to_another_registry_each_time_is_given_up(tmp_path):
    with contextlib.ExitStack() as stack:
        others = [
            stack.enter_context(serving(auth="bearer", anonymous_pull=True)) for _number in range(5)
        ]
        places = [other.url for other in others] * 2
        front = stack.enter_context(Registry())
        front.faults.append(
            dataclasses.replace(
                redirecting(others[0]), redirect=lambda target: places.pop(0) + target
            )
        )
        puller = Puller(tmp_path, front)
        repository = puller.sources.origin(Reference.parse(name_of(front)))
        with pytest.raises(AuthenticationError) as caught:
            repository.read_manifest("1.0")
        assert f"at {others[3].url}/v2/demo/app/manifests/1.0, to which" in str(caught.value)
        assert [len(one.token_requests) for one in others] == [1, 1, 1, 0, 0]


def test_F06_a_front_that_leads_to_another_repository_each_time_is_given_up(tmp_path):
    """Each token is for the one before, and none is good enough."""
    with Registry() as front, Registry(auth="bearer", anonymous_pull=True) as registry:
        numbers = iter(range(1000))
        challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
        registry.faults.append(
            Fault(path="/v2/", status=401, headers=challenge, times=None, before_auth=True)
        )
        front.faults.append(
            redirecting(
                registry, rename=lambda target: target.replace("app", f"app-{next(numbers)}")
            )
        )
        repository = Puller(tmp_path, front).sources.origin(Reference.parse(name_of(front)))
        with pytest.raises(AuthenticationError):
            repository.read_manifest("1.0")
        assert len(registry.token_requests) == 2


@pytest.mark.parametrize("path", ["/bucket/x", "/v2/", "/v2/x", "/v2/demo/app/x/y"])
def test_F06_no_challenge_is_answered_but_that_of_a_registry(tmp_path, path):
    """An object store has no API of a registry, whatever it says, and a login for its host is not for it."""
    challenge = {"WWW-Authenticate": 'Basic realm="store"'}
    with serving() as registry, Registry() as bucket:
        bucket.faults.append(
            Fault(path=path, status=401, headers=challenge, times=None, before_auth=True)
        )
        registry.faults.append(
            Fault(path=f"/blobs/{LAYER}", redirect=f"{bucket.url}{path}", times=None)
        )
        error = Puller(tmp_path, registry, logins={bucket.address: THEIRS}).fails()
        assert error.kind == "authentication-failed"
        assert f"at {bucket.url}{path}, to which {registry.address} redirects" in str(error)
        assert not any(authorized(bucket))


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_F06_writes_are_not_redirected_to_another_host(tmp_path, method):
    with fronted() as (front, registry):
        if method == "POST":
            error = Sender(tmp_path, front).fails(b"small")
        else:
            puller = Puller(tmp_path, front)
            repository = puller.sources.origin(Reference.parse(name_of(front)))
            with pytest.raises(RedirectError) as caught:
                repository.registry.request(method, "demo/app/manifests/1.0", "demo/app")
            error = caught.value
        assert error.kind == "redirect-refused"
        assert f"redirects to {registry.url}/v2/demo/app/" in str(error)
        assert error.hint.startswith(f"Name {registry.address} itself")
        assert method not in {one.method for one in registry.requests}


def test_F06_a_login_to_a_front_is_not_proven_by_the_registry_behind_it(tmp_path):
    with fronted(users=USERS) as (front, registry):
        front.faults[0] = dataclasses.replace(front.faults[0], path="^/v2/")
        puller = Puller(tmp_path, front, registry, login=LOGIN)
        with pytest.raises(AuthenticationError) as caught:
            ping(puller.sources.registry(front.address))
        assert f"at {registry.url}/v2/, to which {front.address} redirects" in str(caught.value)
        assert caught.value.hint.startswith(f"Log in to {registry.address} ")
        assert not any(authorized(registry))


API = {
    "manifest": ("https://h:5/v2/a/b/manifests/1.0", "https://h:5/v2/", "a/b"),
    "blob": (f"https://h/v2/a/blobs/{LAYER}?x=1#y", "https://h/v2/", "a"),
    "tags": ("https://h/v2/a/tags/list?n=1", "https://h/v2/", "a"),
    "referrers": (f"https://h/v2/a/referrers/{CONFIG}", "https://h/v2/", "a"),
    "below-a-path": ("https://h/api/docker/v2/a/manifests/1", "https://h/api/docker/v2/", "a"),
    "manifests-in-the-name": ("https://h/v2/a/manifests/b/manifests/1", "https://h/v2/", "a/manifests/b"),
    "no-name": ("https://h/v2/manifests/1", "", ""),
    "a-store": ("https://h/docker/registry/v2/blobs/sha256/aa/aa/data", "", ""),
    "another-root": ("https://h/v1/a/manifests/1", "", ""),
    "a-blank-in-the-name": ("https://h/v2/a%20b/manifests/1", "", ""),
    "an-upload": ("https://h/v2/a/blobs/uploads/x", "", ""),
    "long": ("https://h/v2/" + "a-" * 50_000 + "/manifests/1", "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("url", "root", "name"), API.values(), ids=API)
def test_F06_the_api_of_a_registry_is_known_by_its_path(url, root, name):
    assert api_path(url) == (root, name)
