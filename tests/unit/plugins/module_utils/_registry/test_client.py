# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failed connections, answers that are not HTTP, and the waits between retries."""

from __future__ import annotations

import email.utils
import socket

import pytest
import requests
from ansible_collections.lockstep.images.plugins.module_utils._registry import client
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    LAYER,
    LOGIN,
    PLAIN,
    USERS,
    FakeClock,
    Puller,
    http_client,
    resolve,
    serving,
    trail,
)

NOW = FakeClock().time


def on_head(**fault):
    return Fault(method="HEAD", **fault)


def date(seconds):
    return email.utils.formatdate(NOW + seconds, usegmt=True)


def test_a_host_that_refuses_connections_is_tried_again_and_named(tmp_path):
    """R001."""
    with serving() as registry:
        pass
    puller = Puller(tmp_path, registry)
    error = puller.fails()
    assert error.kind == "registry-unreachable"
    assert registry.address in str(error)
    assert "Connection refused (3 attempts)" in str(error)
    assert puller.clock.slept == [0.5, 1.0]


def test_a_host_without_an_address_is_tried_again_and_named(tmp_path, monkeypatch):
    """R001."""
    resolve(monkeypatch)
    puller = Puller(tmp_path, retries=1)
    error = puller.fails("registry.test/demo/app:1.0")
    assert error.kind == "registry-unreachable"
    assert "registry.test" in str(error)
    assert puller.clock.slept == [0.5]


def test_pauses_grow_up_to_half_a_minute(tmp_path):
    """R001."""
    with serving() as registry:
        pass
    puller = Puller(tmp_path, registry, retries=9)
    puller.fails()
    assert puller.clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


ONCE = {
    "R040-seconds": (429, "2", 2.0),
    "R041-http-date": (429, date(7), 7.0),
    "R041-http-date-in-the-past": (429, date(-7), 0.0),
    "R041-asctime": (429, "Sun Jan  4 03:04:05 2026", 172800.0),
    "R041-rfc-850": (503, "Friday, 02-Jan-26 03:04:15 GMT", 10.0),
    "R041-unix-time": (429, f"{NOW + 9:.0f}", 9.0),
    "R042-a-century": (429, "999999999", 300.0),
    "R042-negative": (429, "-1", 0.5),
    "R042-fraction": (429, "1.5", 0.5),
    "R042-word": (429, "soon", 0.5),
    "R042-nothing": (429, "", 0.5),
    "R044-500": (500, None, 0.5),
    "R044-502": (502, None, 0.5),
    "R044-503": (503, None, 0.5),
    "R044-503-retry-after": (503, "3", 3.0),
    "R044-504": (504, None, 0.5),
    "R045-408": (408, None, 0.5),
    "R045-425": (425, None, 0.5),
}


@pytest.mark.parametrize(("status", "value", "wait"), ONCE.values(), ids=ONCE)
def test_a_busy_registry_is_asked_again_when_it_says(tmp_path, status, value, wait):
    headers = {} if value is None else {"Retry-After": value, "Date": date(0)}
    with serving(faults=[on_head(status=status, headers=headers)]) as registry:
        puller = Puller(tmp_path, registry)
        plan = puller.pull()
        assert puller.clock.slept == [min(wait, 300.0)]
        assert trail(registry) == ["HEAD tag", *PLAIN]
        assert plan.result()["stats"]["retries"] == 1
        assert plan.result()["stats"]["seconds_waited"] == min(wait, 300.0)


def test_a_registry_that_is_busy_thrice_is_asked_a_fourth_time(tmp_path):
    """R044."""
    with serving(faults=[Fault(path=LAYER, status=503, times=3)]) as registry:
        puller = Puller(tmp_path, registry, retries=3)
        puller.pull()
        assert puller.clock.slept == [0.5, 1.0, 2.0]


FOR_EVER = {
    "R043-rate-limit": (429, {"RateLimit-Remaining": "0;w=21600"}, "rate-limited", ", 0 left"),
    "R043-rate-limit-without-numbers": (429, {}, "rate-limited", "too many requests to"),
    "R044-500": (500, {}, "registry-error", "status 500"),
    "R044-503": (503, {}, "registry-error", "status 503"),
    "R045-408": (408, {}, "registry-error", "status 408"),
}


@pytest.mark.parametrize(("status", "headers", "kind", "says"), FOR_EVER.values(), ids=FOR_EVER)
def test_a_registry_that_stays_busy_is_an_error_after_the_retries(
    tmp_path, status, headers, kind, says
):
    fault = Fault(method="HEAD|GET", status=status, headers=headers, times=None)
    with serving(faults=[fault]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind == kind
        assert says in str(error)
        assert f"{registry.address}/demo/app:1.0" in str(error)
        assert trail(registry) == ["HEAD tag"] * 3


@pytest.mark.parametrize("status", [400, 405, 410, 418, 501, 505], ids="R046-{}".format)
def test_a_status_that_will_not_change_is_not_asked_for_again(tmp_path, status):
    with serving(faults=[Fault(path=LAYER, status=status, times=None)]) as registry:
        puller = Puller(tmp_path, registry)
        error = puller.fails()
        assert error.kind == "registry-error"
        assert f"status {status}" in str(error)
        assert trail(registry) == PLAIN
        assert puller.clock.slept == []


HARMLESS = {
    "R079-http-1.0": {"protocol": "HTTP/1.0"},
    "R079-connection-close": {"set_headers": {"Connection": "close"}, "close_after": True},
    "R079-closed-after-each-answer": {"close_after": True},
}


@pytest.mark.parametrize("fault", HARMLESS.values(), ids=HARMLESS)
def test_old_and_hasty_servers_work(tmp_path, fault):
    with serving(faults=[Fault(method="HEAD|GET", times=None, **fault)]) as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN


@pytest.mark.parametrize("number", [1, 2], ids="R096-after-{}".format)
def test_a_registry_that_closes_connections_unannounced_is_connected_to_again(tmp_path, number):
    with serving(requests_per_connection=number) as registry:
        Puller(tmp_path, registry).pull()
        assert registry.connections >= 4 // number


def test_a_connection_that_was_closed_while_it_was_idle_costs_one_retry_at_most(tmp_path):
    """R079."""
    with serving(faults=[Fault(close_before=True)]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert puller.clock.slept == [0.5]


NO_HTTP = {
    "R081-header-of-1-MiB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
    "R081-10000-headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "R082-status-line": b"HTTP/1.1 OK\r\n\r\n",
    "R082-status-line-of-escapes": b"\x1b[2J\x1b[31m 200\r\n\r\n",
    "R082-http-0.9": b"<html>hello</html>",
    "R082-tls-record": b"\x15\x03\x01\x00\x02\x02\x46",
    "R082-nothing": b"",
    "R082-http-2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP)
def test_answer_that_is_not_http_is_an_error_that_names_the_host(tmp_path, raw):
    with serving(faults=[on_head(raw=raw, times=None)]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert error.kind in ("registry-unreachable", "registry-protocol")
        assert registry.address in str(error)
        assert registry.requests_by_method()["HEAD"] <= 3


def test_unknown_status_is_not_a_success(tmp_path):
    """R082."""
    with serving(faults=[Fault(path=LAYER, raw=b"HTTP/1.1 299 Odd\r\n\r\n")]) as registry:
        assert "status 299" in str(Puller(tmp_path, registry).fails())


def ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not ipv6(), reason="there is no IPv6 on loopback")
def test_a_registry_on_ipv6_works(tmp_path):
    """R094."""
    with serving(host="::1") as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN
        assert {request.headers["host"] for request in registry.requests} == {registry.address}


@pytest.mark.skipif(not ipv6(), reason="there is no IPv6 on loopback")
def test_an_ipv4_mapped_address_works_and_is_loopback(tmp_path):
    """R094."""
    with serving() as registry:
        name = f"[::ffff:7f00:1]:{registry.port}/demo/app:1.0"
        Puller(tmp_path, registry).pull(name)
        assert trail(registry) == PLAIN


@pytest.mark.parametrize("skew", [-86400, 86400], ids=["R093-a-day-behind", "R093-a-day-ahead"])
def test_a_wrong_clock_changes_nothing(tmp_path, skew):
    with serving(auth="bearer", users=USERS) as registry:
        puller = Puller(tmp_path, registry, login=LOGIN, clock=FakeClock(NOW + skew))
        puller.pull()
        assert len(registry.token_requests) == 1


@pytest.mark.parametrize("skew", [-86400, 86400], ids=["R093-a-day-behind", "R093-a-day-ahead"])
@pytest.mark.parametrize(
    "until", [date(5), f"{NOW + 5:.0f}"], ids=["R041-http-date", "R041-unix-time"]
)
def test_retry_time_is_interpreted_by_the_clock_of_the_server(tmp_path, skew, until):
    busy = on_head(status=503, headers={"Retry-After": until, "Date": date(0)})
    with serving(faults=[busy]) as registry:
        puller = Puller(tmp_path, registry, clock=FakeClock(NOW + skew))
        puller.pull()
        assert puller.clock.slept == [5.0]


def test_retry_time_without_a_date_is_interpreted_by_our_clock(tmp_path):
    busy = on_head(status=503, headers={"Retry-After": date(5), "Date": "yesterday"})
    with serving(faults=[busy]) as registry:
        puller = Puller(tmp_path, registry)
        puller.pull()
        assert puller.clock.slept == [5.0]


def test_a_host_that_does_not_answer_in_time_is_not_spoken_to_in_clear():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert http_client(FakeClock(), timeout=0.2).speaks_tls(host)
    assert not http_client(FakeClock(), timeout=0.2).speaks_tls(host)


def test_cookies_are_never_sent_back(tmp_path):
    cookie = Fault(method="HEAD|GET", set_headers={"Set-Cookie": "session=abc; Path=/"}, times=None)
    with serving(faults=[cookie]) as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN
        assert not any("cookie" in request.headers for request in registry.requests)


@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
def test_netrc_is_never_used(tmp_path, monkeypatch, auth):
    """R095: neither for a registry that has a login of its own, nor for one that has none."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password stolen\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(auth=auth, users={**USERS, "mallory": "stolen"}) as registry:
        Puller(tmp_path, registry, login=LOGIN if auth else None).pull()
        sent = {request.headers.get("authorization", "") for request in registry.requests}
        assert not any("bWFsbG9yeTpzdG9sZW4=" in header for header in sent)
        assert {request.user for request in registry.token_requests} <= {"robot"}
        assert auth or sent == {""}


def test_requests_name_the_client_and_ask_for_bytes_as_they_are(tmp_path):
    with serving() as registry:
        Puller(tmp_path, registry).pull()
        assert {request.headers["user-agent"] for request in registry.requests} == {
            "lockstep.images"
        }
        assert {request.headers["accept-encoding"] for request in registry.requests} == {"identity"}


PLAIN_URLS = [
    "http://127.0.0.1:5000/v2/",
    f"https://registry.example.com/v2/a-b/c__d/manifests/sha256:{'a' * 64}",
    "http://[::1]:5000/v2/a/tags/list?n=1&last=b",
    "https://r.example.com/v2/a/blobs/uploads/1-2?_state=a_b-c%3D%3D&digest=sha256%3Aab",
]
OTHER_URLS = [
    "https://r.example.com/a/../b",
    "https://r.example.com/a b",
    "https://R.example.com/a",
]


@pytest.mark.parametrize("body", [None, b"abc", [("scope", "a b")]], ids=["none", "bytes", "form"])
@pytest.mark.parametrize("url", PLAIN_URLS + OTHER_URLS)
def test_a_request_is_prepared_as_requests_does_it(url, body):
    method, headers = "GET" if body is None else "PUT", {"Accept": "a/b"}
    ours = client._prepared(requests, method, url, headers, body)
    theirs = requests.Request(method, url, headers=headers, data=body).prepare()
    assert (ours.url, ours.method, ours.body) == (theirs.url, theirs.method, theirs.body)
    assert dict(ours.headers) == dict(theirs.headers)
    assert bool(client._PLAIN_URL.fullmatch(url)) == (url in PLAIN_URLS)
