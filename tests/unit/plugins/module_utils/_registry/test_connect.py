# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy for a host, and the errors of failed connections."""

from __future__ import annotations

import base64
import errno
import os
import socket
import sys
import urllib.parse

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._registry.connect import (
    Proxy,
    proxy_for,
    require_library,
)
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    PLAIN,
    Puller,
    resolve,
    serving,
    trail,
)
from ansible_collections.lockstep.images.tests.support.tables import assert_tells, params, table

HOST = "registry.test"
SECRET = "pr0xy:p@ss/w#rd?%zz"
QUOTED = urllib.parse.quote(SECRET, "")
PROXY = "http://proxy.test:3128"


@pytest.fixture
def near(monkeypatch):
    """Names that stand for this machine."""
    resolve(monkeypatch, HOST, "proxy.test")


@pytest.mark.parametrize("case", params(table("proxies", "exceptions"), "no_proxy"))
def test_F08_exceptions_from_the_proxy_are_those_of_go(case):
    """R090."""
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": case["no_proxy"]}
    found = proxy_for(f"https://{case['host']}/v2/", environment)
    assert (found is None) is case["direct"]


CHOICES = {
    "none": ({}, None),
    "for-https": ({"HTTPS_PROXY": "a"}, "http://a"),
    "of-another-scheme": ({"HTTP_PROXY": "a"}, None),
    "lower-case": ({"https_proxy": "a"}, "http://a"),
    "capitals-first": ({"https_proxy": "a", "HTTPS_PROXY": "b"}, "http://b"),
    "empty-is-none": ({"https_proxy": "a", "HTTPS_PROXY": ""}, "http://a"),
    "for-all": ({"ALL_PROXY": "a"}, "http://a"),
    "for-all-comes-last": ({"ALL_PROXY": "a", "https_proxy": "b"}, "http://b"),
    "no_proxy": ({"HTTPS_PROXY": "a", "no_proxy": HOST}, None),
    "NO_PROXY-first": ({"HTTPS_PROXY": "a", "no_proxy": HOST, "NO_PROXY": "x"}, "http://a"),
}


@pytest.mark.parametrize(("environment", "url"), CHOICES.values(), ids=CHOICES)
def test_F08_the_environment_names_the_proxy(environment, url):
    """R090."""
    found = proxy_for(f"https://{HOST}/v2/", environment)
    assert (found.url if found else None) == url


def test_F08_proxy_variable_set_by_a_cgi_client_is_ignored():
    """R090."""
    environment = {"HTTP_PROXY": "a", "REQUEST_METHOD": "GET"}
    assert proxy_for(f"http://{HOST}/v2/", environment) is None
    assert proxy_for(f"http://{HOST}/v2/", {**environment, "http_proxy": "b"}).url == "http://b"


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"])
def test_F08_loopback_is_asked_without_a_proxy(host):
    """R090."""
    assert proxy_for(f"https://{host}/v2/", {"HTTPS_PROXY": PROXY}) is None


SPELLINGS = {
    "proxy.test:3128": PROXY,
    "http://proxy.test:3128": PROXY,
    " http://proxy.test:3128/ ": PROXY,
    "HTTP://proxy.test:3128/path?query#fragment": PROXY,
    "proxy.test": "http://proxy.test",
    "https://proxy.test": "https://proxy.test",
    "[fd00::1]:3128": "http://[fd00::1]:3128",
    "http://[fd00::1]:3128": "http://[fd00::1]:3128",
    "socks5h://proxy.test:1080": "socks5h://proxy.test:1080",
    "user:word@proxy.test:3128": "http://user:word@proxy.test:3128",
    f"http://user:{SECRET}@proxy.test:3128": f"http://user:{QUOTED}@proxy.test:3128",
    f"http://user:{QUOTED}@proxy.test:3128": f"http://user:{QUOTED}@proxy.test:3128",
    f"user:{SECRET}@[fd00::1]:3128": f"http://user:{QUOTED}@[fd00::1]:3128",
    "http://dom%5Cuser:p@proxy.test": "http://dom%5Cuser:p@proxy.test",
    "http://dom\\user:p@proxy.test": "http://dom%5Cuser:p@proxy.test",
    "http://user@proxy.test": "http://user:@proxy.test",
}


@pytest.mark.parametrize(("value", "url"), SPELLINGS.items())
def test_F08_a_proxy_is_read_in_every_spelling(value, url):
    """R090: with any password, in quotes of URLs or not."""
    assert Proxy.parse("HTTPS_PROXY", value).url == url


@pytest.mark.parametrize(
    "value",
    [
        f"ftp://user:{SECRET}@proxy.test",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@proxy.test:port",
        f"user:{SECRET}@proxy.test:99999",
        f"user:{SECRET}@[fd00::1",
        f"user:{SECRET}@a b",
        "http://",
        "://proxy.test",
        "/proxy.test",
    ],
)
def test_F08_invalid_proxy_is_an_error_that_repeats_nothing(value):
    """R090."""
    with pytest.raises(errors.InputError) as caught:
        Proxy.parse("HTTPS_PROXY", value)
    assert_tells(caught.value, "invalid-input", "HTTPS_PROXY", never=[SECRET, "proxy.test"])


@pytest.mark.parametrize("password", [SECRET, "w\u00f6rd\u20ac", "b\udcff\udcfe"], ids=ascii)
def test_F08_the_login_goes_to_the_proxy_in_utf_8(tmp_path, monkeypatch, near, password):
    """R090: bytes that are not UTF-8 are sent unchanged."""
    raw = f"us er:{password}".encode("utf-8", "surrogateescape")
    with serving() as proxy, serving() as registry:
        monkeypatch.setenv("HTTP_PROXY", f"us%20er:{password}@{proxy.address}")
        Puller(tmp_path, plain_http=True).pull(f"{HOST}:{registry.port}/demo/app:1.0")
        sent = {request.headers["proxy-authorization"] for request in proxy.requests}
        assert sent == {f"Basic {base64.b64encode(raw).decode('ascii')}"}


REFUSALS = {
    "407": (407, 1, "special characters percent-encoded"),
    "403": (403, 1, "Allow connections to the host in the proxy"),
    "405": (405, 1, "Allow connections to the host in the proxy"),
    "302": (302, 1, "Allow connections to the host in the proxy"),
    "429": (429, 3, "Allow connections to the host in the proxy"),
    "500": (500, 3, "Look in the log of the proxy"),
    "503": (503, 3, "Look in the log of the proxy"),
}


@pytest.mark.parametrize(("status", "tries", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_F08_answer_of_a_proxy_to_connect_is_reported(
    tmp_path, monkeypatch, near, status, tries, hint
):
    """R090: what will not change is not asked twice."""
    with serving(faults=[Fault(method="CONNECT", times=None, status=status)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        puller = Puller(tmp_path)
        error = puller.fails(f"{HOST}/demo/app:1.0")
        assert_tells(error, "registry-unreachable", f"https://{HOST}/v2/")
        assert f"the proxy {proxy.url} of HTTPS_PROXY answered {status}" in str(error)
        assert hint in error.hint and "NO_PROXY" in error.hint and "use_proxy" in error.hint
        assert [request.method for request in proxy.requests] == ["CONNECT"] * tries


@pytest.mark.parametrize("status", [407, 401])
def test_F08_a_login_that_a_proxy_refuses_is_shown_to_it_once(tmp_path, monkeypatch, near, status):
    """R090: a fleet must not lock an account."""
    with serving(faults=[Fault(method="CONNECT", times=None, status=status)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@{proxy.address}")
        puller = Puller(tmp_path)
        plan = puller.carry_out(f"{HOST}/demo/app:1.0", f"{HOST}/demo/app:2.0", workers=1)
        assert len(proxy.requests) == 1
        assert len(plan.failures) == 2
        for error in plan.failures.values():
            said = f"answered {status}"
            assert_tells(error, "registry-unreachable", said, never=[SECRET, QUOTED])
            assert "Correct the login" in error.hint


def test_F08_a_407_to_a_request_in_clear_is_the_proxys(tmp_path, monkeypatch, near):
    """R090."""
    with serving(faults=[Fault(method="HEAD|GET", times=None, status=407)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        error = Puller(tmp_path, plain_http=True).fails(f"{HOST}/demo/app:1.0")
        assert_tells(error, "registry-unreachable", f"the proxy {proxy.url} of HTTP_PROXY")
        assert "answered 407" in str(error) and "Add the login to the URL" in error.hint
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("status", [403, 404, 502])
def test_F08_answer_that_may_be_from_a_proxy_names_the_proxy(tmp_path, monkeypatch, near, status):
    """R090: without TLS nobody can say whose answer it is."""
    with serving(faults=[Fault(method="HEAD|GET", times=None, status=status)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"user:{SECRET}@{proxy.address}")
        error = Puller(tmp_path, plain_http=True).fails(f"{HOST}/demo/app:1.0")
        assert str(error).startswith(f"{HOST}/demo/app:1.0: ")
        assert f"(through the proxy {proxy.url} of HTTP_PROXY)" in str(error)
        assert SECRET not in str(error)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_F08_proxy_without_tls_is_distinguished_from_a_registry(
    tmp_path, monkeypatch, near, scheme
):
    """R090."""
    with serving() as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"https://proxy.test:{proxy.port}")
        error = Puller(tmp_path, plain_http=scheme == "http").fails(f"{HOST}/demo/app:1.0")
        assert f"the proxy https://proxy.test:{proxy.port}" in str(error)
        assert "start its URL with http://" in error.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_F08_a_registry_at_an_ipv6_address_is_asked_for_in_brackets(tmp_path, monkeypatch, scheme):
    """R090."""
    with serving() as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.address)
        Puller(tmp_path, plain_http=scheme == "http").attempt("[2001:db8::9]:5000/demo/app:1.0")
        asked = proxy.requests[0]
        named = asked.path if scheme == "https" else asked.headers["host"]
        assert named == "[2001:db8::9]:5000"


def test_F08_a_407_of_a_registry_is_the_registrys(tmp_path, monkeypatch, near):
    """R090."""
    fault = Fault(method="HEAD|GET", times=None, status=407)
    with serving(faults=[fault]) as registry:
        error = Puller(tmp_path, registry).fails()
        assert "proxy" not in str(error) and "407" in str(error)


def test_F08_socks_without_its_library_is_a_missing_dependency(tmp_path, monkeypatch, near):
    """R090: None in sys.modules is a library that is not there."""
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("ALL_PROXY", f"socks5h://user:{SECRET}@proxy.test:1080")
    error = Puller(tmp_path).fails(f"{HOST}/demo/app:1.0")
    assert_tells(error, "missing-dependency", "socks5h://proxy.test:1080", never=[SECRET, QUOTED])
    assert error.details["library"] == "PySocks"


def test_F08_socks_with_its_library_is_spoken(monkeypatch):
    """R090."""
    monkeypatch.setitem(sys.modules, "socks", sys)
    require_library(Proxy.parse("ALL_PROXY", "socks5://proxy.test"))


def test_F08_a_proxy_that_is_not_there_is_named(tmp_path, monkeypatch, near):
    """R090: it may be restarting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"proxy.test:{port}")
    puller = Puller(tmp_path)
    error = puller.fails(f"{HOST}/demo/app:1.0")
    assert_tells(error, "registry-unreachable", f"the proxy http://proxy.test:{port}", "refused")
    assert len(puller.clock.slept) == 2


def test_F08_a_proxy_at_an_ipv6_address_is_used(tmp_path, monkeypatch, near):
    """R090: at loopback, where nothing listens."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"[::1]:{port}")
    error = Puller(tmp_path).fails(f"{HOST}/demo/app:1.0")
    assert_tells(error, "registry-unreachable", f"the proxy http://[::1]:{port}", "refused")


def unknown(monkeypatch, code, text):
    """Let every name fail with this."""

    def fail(*_args, **_options):
        raise socket.gaierror(code, text)

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.mark.parametrize("code", ["EAI_NONAME", "EAI_NODATA", "EAI_FAIL"])
def test_F25_a_name_that_does_not_resolve_is_tried_once_more(tmp_path, monkeypatch, code):
    """Not for 15 seconds."""
    unknown(monkeypatch, getattr(socket, code), "Name or service not known")
    puller = Puller(tmp_path, retries=5)
    error = puller.fails(f"{HOST}/demo/app:1.0")
    assert_tells(error, "registry-unreachable", f"https://{HOST}/v2/")
    assert f"the name {HOST} does not resolve (Name or service not known)" in str(error)
    assert HOST in error.hint and "name servers" in error.hint
    assert puller.clock.slept == [0.5]


def test_F25_only_one_of_many_images_resolves_the_host_name(tmp_path, monkeypatch):
    unknown(monkeypatch, socket.EAI_NONAME, "Name or service not known")
    puller = Puller(tmp_path, retries=5)
    plan = puller.carry_out(*(f"{HOST}/demo/app:{n}" for n in range(20)), workers=1)
    assert len(plan.failures) == 20
    assert puller.clock.slept == [0.5]


def test_F25_a_name_server_that_does_not_answer_may_do_so_soon(tmp_path, monkeypatch):
    unknown(monkeypatch, socket.EAI_AGAIN, "Temporary failure in name resolution")
    puller = Puller(tmp_path, retries=5)
    error = puller.fails(f"{HOST}/demo/app:1.0")
    assert f"the name {HOST} cannot be resolved now (Temporary failure" in str(error)
    assert len(puller.clock.slept) == 5


def test_F25_a_proxy_whose_name_does_not_resolve_is_named(tmp_path, monkeypatch):
    unknown(monkeypatch, socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    puller = Puller(tmp_path, retries=5)
    error = puller.fails(f"{HOST}/demo/app:1.0")
    assert f"the proxy {PROXY} of HTTPS_PROXY cannot be found, its name does not" in str(error)
    assert "proxy.test" in error.hint and HOST not in error.hint
    assert puller.clock.slept == [0.5]


NO_NAMES = {
    "label": (f"{'a' * 64}.test", "a part of the host name is empty or longer than 63 characters"),
    "name": (f"{'a.' * 150}test", "does not resolve"),
}


@pytest.mark.parametrize(("host", "says"), NO_NAMES.values(), ids=NO_NAMES)
def test_F25_impossible_host_name_is_not_retried(tmp_path, monkeypatch, host, says):
    resolve(monkeypatch)
    puller = Puller(tmp_path, retries=5)
    assert says in str(puller.fails(f"{host}/demo/app:1.0"))
    assert len(puller.clock.slept) <= 1


def test_F25_a_service_that_refuses_may_be_restarting(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    puller = Puller(tmp_path, retries=5, plain_http=True)
    error = puller.fails(f"127.0.0.1:{port}/demo/app:1.0")
    assert_tells(error, "registry-unreachable", "refused")
    assert len(puller.clock.slept) == 5


@pytest.mark.parametrize("code", ["ENETUNREACH", "EHOSTUNREACH"])
def test_F25_a_network_that_is_not_there_may_come(tmp_path, monkeypatch, near, code):
    """As with a host that boots, and a name that has an address of IPv6 alone."""

    def fail(*_args, **_options):
        number = getattr(errno, code)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "connect", fail)
    puller = Puller(tmp_path, retries=5)
    error = puller.fails(f"{HOST}/demo/app:1.0")
    assert_tells(error, "registry-unreachable", "unreachable" if "NET" in code else "No route")
    assert len(puller.clock.slept) == 5


def test_a_registry_that_works_is_pulled_from(tmp_path):
    """What the tests above have in common."""
    with serving() as registry:
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN


def test_F08_exception_with_an_invalid_port_matches_nothing():
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": f"{HOST}:{'9' * 5000}"}
    assert proxy_for(f"https://{HOST}/v2/", environment)
