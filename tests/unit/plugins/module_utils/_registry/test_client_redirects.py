# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redirects: which are followed, and what never travels along with one."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    BLOB,
    IMAGE,
    LAYER,
    LOGIN,
    PLAIN,
    SIGNATURE,
    USERS,
    Puller,
    resolve,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry


def layer_fault(**fault):
    return Fault(path=f"/blobs/{LAYER}", **fault)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308], ids="R048-{}".format)
@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
def test_a_redirect_on_the_same_host_is_followed_with_the_login(tmp_path, status, auth):
    fault = Fault(path=f"{LAYER}$", redirect=f"/v2/demo/app/blobs/{LAYER}?moved", status=status)
    with serving(auth=auth, users=USERS, faults=[fault]) as registry:
        Puller(tmp_path, registry, login=LOGIN if auth else None).pull()
        last = registry.requests[-1]
        assert (last.method, last.query) == ("GET", "moved")
        assert last.headers.get("authorization", "").partition(" ")[0].lower() == (auth or "")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_nothing_of_ours_reaches_the_object_storage(tmp_path, auth):
    """R053: neither credential nor cookie, at another port of the very same host."""
    cookie = {"Set-Cookie": "session=abc; Path=/"}
    with serving(auth=auth, users=USERS) as registry, Registry() as bucket:
        bucket.files["/bucket/layer"] = BLOB
        where = f"{bucket.url}/bucket/layer?{SIGNATURE}"
        registry.faults.append(layer_fault(redirect=where, headers=cookie))
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert [f"{one.path}?{one.query}" for one in bucket.requests] == [where[len(bucket.url) :]]
        sent = set(bucket.requests[0].headers)
        assert sent <= {"host", "user-agent", "accept-encoding", "connection"}


def test_a_redirect_there_and_back_ends_where_it_began_with_the_login(tmp_path):
    """R053: the login that is withheld from the foreign host is still sent to the registry."""
    with serving(auth="basic", users=USERS) as registry, Registry() as stranger:
        back = f"{registry.url}/v2/demo/app/blobs/{LAYER}?again"
        stranger.faults.append(Fault(redirect=back, times=None))
        registry.faults.append(layer_fault(redirect=f"{stranger.url}/x"))
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert "authorization" not in stranger.requests[0].headers
        assert "authorization" in registry.requests[-1].headers


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_manifest_may_be_redirected_too_and_is_verified(tmp_path, method):
    """R056."""
    kind = IMAGE.media_type
    with serving(auth="basic", users=USERS) as registry, serving() as other:
        where = other.url + f"/v2/demo/app/manifests/{IMAGE.digest}"
        registry.faults.append(Fault(method=method, path="/manifests/", redirect=where))
        puller = Puller(tmp_path, registry, login=LOGIN)
        puller.pull()
        assert trail(other) == [f"{method} manifest"]
        assert "authorization" not in other.requests[0].headers
        assert puller.store.names()[f"{registry.address}/demo/app:1.0"].target.media_type == kind


def test_a_manifest_from_elsewhere_has_to_be_the_one_that_was_asked_for(tmp_path):
    """R056."""
    with serving() as registry, Registry() as other:
        other.files["/m"] = IMAGE.raw + b"\n"
        registry.faults.append(Fault(path="/manifests/", redirect=f"{other.url}/m", times=None))
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "digest-mismatch"
        assert IMAGE.digest in str(error)


CHAINS = {
    "R049-loop-of-one": ["/v2/a"],
    "R049-loop-of-two": ["/v2/b", "/v2/a"],
    "R049-chain": [f"/v2/{number}" for number in range(100)],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_no_more_than_five_redirects_are_followed(tmp_path, chain):
    places = chain * 100
    with serving() as registry:
        start = layer_fault(redirect=lambda _target: places.pop(0), times=None)
        later = Fault(path=r"^/v2/\w+$", redirect=start.redirect, times=None)
        registry.faults.extend([start, later])
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "redirect-refused"
        assert "more than 5 redirects" in str(error)
        assert LAYER in str(error)
        assert len(registry.requests) == len(PLAIN) + 5


REFUSED = {
    "R051-file": ("file:///etc/passwd", "file URL"),
    "R051-ftp": ("ftp://127.0.0.1/x", "ftp URL"),
    "R051-data": ("data:text/plain,hello", "data URL"),
    "R051-javascript": ("javascript:alert(1)", "javascript URL"),
    "R051-no-host": ("https:///x", "URL"),
    "R051-credentials": (f"http://{LOGIN.username}:secret@127.0.0.1/x", "credentials"),
    "R052-metadata": (f"http://169.254.169.254/latest?{SIGNATURE}", "private"),
    "R052-metadata-ipv6": ("http://[fe80::1]/latest", "private"),
    "R052-unspecified": ("http://0.0.0.0/", "private"),
    "R055-bad-port": ("http://127.0.0.1:99999/", "malformed URL"),
    "R055-bad-ipv6": ("http://[::1/", "malformed URL"),
    "R054-empty": ("", "without a target"),
    "R054-blank": ("  ", "without a target"),
}


@pytest.mark.parametrize(("where", "says"), REFUSED.values(), ids=REFUSED)
def test_a_redirect_to_nowhere_good_is_refused(tmp_path, where, says):
    with serving(faults=[layer_fault(redirect=where, times=None)]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "redirect-refused"
        assert says in str(error)
        assert f"{registry.url}/v2/demo/app/blobs/{LAYER}" in str(error)
        assert "secret" not in str(error)
        assert trail(registry) == PLAIN


HEADERS = {
    "R054-without": ({}, "without a target"),
    "R054-two": ({"Location": ["/a", "/b"]}, "without a target"),
}


@pytest.mark.parametrize(("headers", "says"), HEADERS.values(), ids=HEADERS)
def test_a_redirect_has_exactly_one_location(tmp_path, headers, says):
    with serving(faults=[layer_fault(status=302, headers=headers)]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind == "redirect-refused"
        assert says in str(error)


PRIVATE = {
    "R052-loopback": "http://127.0.0.1:{port}/x",
    "R052-localhost": "http://localhost:{port}/x",
    "R052-mapped": "http://[::ffff:127.0.0.1]:{port}/x",
    "R052-loopback-in-short": "http://127.1:{port}/x",
    "R052-loopback-as-a-number": "http://2130706433:{port}/x",
    "R052-loopback-in-hexadecimal": "http://0x7f.0.0.1:{port}/x",
    "R052-ten": "http://10.0.0.1/x",
    "R052-home": "http://192.168.1.1/x",
    "R052-unique-local": "http://[fd00::1]/x",
}


@pytest.mark.parametrize("where", PRIVATE.values(), ids=PRIVATE)
def test_public_registry_must_not_redirect_into_a_private_network(tmp_path, monkeypatch, where):
    resolve(monkeypatch, "registry.test")
    with serving() as registry, Registry() as inside:
        inside.files["/x"] = BLOB
        registry.faults.append(layer_fault(redirect=where.format(port=inside.port)))
        name = f"registry.test:{registry.port}/demo/app:1.0"
        error = Puller(tmp_path, registry, plain_http=True).fails(name)
        assert error.kind == "redirect-refused"
        assert "private network" in str(error)
        assert inside.connections == 0


LOCATIONS = {
    "R055-absolute-path": ("/bucket/layer", "/bucket/layer", ""),
    "R055-relative": ("../../bucket", "/v2/demo/bucket", ""),
    "R055-without-a-scheme": ("//{host}/bucket/layer", "/bucket/layer", ""),
    "R055-query-only": ("?copy=1", f"/v2/demo/app/blobs/{LAYER}", "copy=1"),
    "R055-fragment": ("/bucket/layer#part", "/bucket/layer", ""),
    "R055-dots": ("/bucket/x/../layer", "/bucket/layer", ""),
    "R055-escaped-once": ("/bucket/a%20b%2Fc", "/bucket/a%20b%2Fc", ""),
    "R055-space": ("/bucket/a b", "/bucket/a%20b", ""),
    "R055-non-ascii": ("/bucket/\u00fc\u20ac", "/bucket/%C3%BC%E2%82%AC", ""),
    "R055-upper-case-scheme": ("HTTP://{host}/bucket/layer", "/bucket/layer", ""),
}


@pytest.mark.parametrize(("where", "path", "query"), LOCATIONS.values(), ids=LOCATIONS)
def test_a_location_is_resolved_as_browsers_do(tmp_path, where, path, query):
    with serving() as registry:
        registry.files[path] = BLOB
        registry.faults.append(layer_fault(redirect=where.format(host=registry.address)))
        Puller(tmp_path, registry).pull()
        last = registry.requests[-1]
        assert (last.path, last.query) == (path, query)


def test_a_location_without_a_scheme_on_another_host_is_another_host(tmp_path):
    """R055."""
    with serving(auth="basic", users=USERS) as registry, Registry() as bucket:
        bucket.files["/layer"] = BLOB
        registry.faults.append(layer_fault(redirect=f"//{bucket.address}/layer"))
        Puller(tmp_path, registry, login=LOGIN).pull()
        assert "authorization" not in bucket.requests[0].headers


def test_foreign_host_that_requests_a_login_gets_none(tmp_path):
    """R053: a challenge of the object storage is not answered."""
    with serving(auth="basic", users=USERS) as registry:
        with Registry(auth="basic", users=USERS) as bucket:
            where = f"{bucket.url}/v2/demo/app/blobs/{LAYER}"
            registry.faults.append(layer_fault(redirect=where, times=None))
            error = Puller(tmp_path, registry, login=LOGIN).fails()
            assert error.kind == "authentication-failed"
            assert trail(bucket) == ["GET layer"]
            assert "authorization" not in bucket.requests[0].headers
