# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies: used where the environment says so, never for loopback, and not shown in messages."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.pulling import (
    PLAIN,
    Puller,
    resolve,
    serving,
    trail,
)

HOST = "registry.test"
SECRET = "pr0xy-pass"


@pytest.fixture
def near(monkeypatch):
    """Names that stand for this machine, whatever a proxy thinks of them."""
    resolve(monkeypatch, HOST, "sub.registry.test", "proxy.test")


def pull_by_name(tmp_path, port, host=HOST, **options):
    puller = Puller(tmp_path, plain_http=True, **options)
    puller.pull(f"{host}:{port}/demo/app:1.0")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(tmp_path, monkeypatch, near, name):
    """R090."""
    with serving() as proxy, serving() as registry:
        monkeypatch.setenv(name, proxy.url)
        pull_by_name(tmp_path, registry.port)
        assert trail(proxy) == PLAIN
        assert {request.headers["host"] for request in proxy.requests} == {
            f"{HOST}:{registry.port}"
        }
        assert registry.connections == 0


def test_no_proxy_is_used_where_none_is_wanted(tmp_path, monkeypatch, near):
    """R090."""
    with serving() as proxy, serving() as registry:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        pull_by_name(tmp_path, registry.port, use_proxy=False)
        assert trail(registry) == PLAIN
        assert proxy.connections == 0


EXCEPTIONS = {
    "R090-name": (HOST, HOST, True),
    "R090-domain": ("test", HOST, True),
    "R090-dotted-domain": (".registry.test", "sub.registry.test", True),
    "R090-with-port": (f"{HOST}:{{port}}", HOST, True),
    "R090-with-another-port": (f"{HOST}:1", HOST, False),
    "R090-list": (f"other.test, {HOST}", HOST, True),
    "R090-star": ("*", HOST, True),
    "R090-another-name": ("other.test", HOST, False),
}


@pytest.mark.parametrize(("value", "host", "direct"), EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_no_proxy_names_the_exceptions(tmp_path, monkeypatch, near, value, host, direct):
    with serving() as proxy, serving() as registry:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", value.format(port=registry.port))
        pull_by_name(tmp_path, registry.port, host)
        assert trail(registry if direct else proxy) == PLAIN
        assert (proxy if direct else registry).connections == 0


RANGES = {
    "R090-in-the-range": ("10.9.0.0/16", True),
    "R090-address": ("10.9.8.7", True),
    "R090-not-in-the-range": ("10.8.0.0/16", False),
}


@pytest.mark.parametrize(("value", "direct"), RANGES.values(), ids=RANGES)
def test_no_proxy_knows_ranges_of_addresses(tmp_path, monkeypatch, value, direct):
    with serving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", value)
        puller = Puller(tmp_path, plain_http=True)
        used = puller.http._proxy("http://10.9.8.7:5000/v2/")
        assert bool(used) is not direct


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_loopback_is_never_asked_through_a_proxy(tmp_path, monkeypatch, name):
    """R090."""
    with serving() as proxy, serving() as registry:
        monkeypatch.setenv(name, proxy.url)
        Puller(tmp_path, registry).pull()
        assert trail(registry) == PLAIN
        assert proxy.connections == 0


BROKEN = {
    "R090-407": ({"status": 407, "headers": {"Proxy-Authenticate": "Basic"}}, "407"),
    "R090-502": ({"status": 502}, "502"),
    "R090-reset": ({"reset_at": 0}, ""),
    "R090-closed": ({"close_before": True}, ""),
}


@pytest.mark.parametrize(("fault", "says"), BROKEN.values(), ids=BROKEN)
def test_a_proxy_that_does_not_work_is_an_error_without_its_password(
    tmp_path, monkeypatch, near, fault, says
):
    fault = Fault(method="HEAD|GET|CONNECT", times=None, **fault)
    with serving(faults=[fault]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@{proxy.address}")
        puller = Puller(tmp_path, plain_http=True)
        error = puller.fails(f"{HOST}/demo/app:1.0")
        assert error.kind in ("registry-error", "registry-unreachable", "truncated")
        assert HOST in str(error)
        assert says in str(error)
        assert SECRET not in str(error)


@pytest.mark.parametrize("fault", [{"status": 407}, {"close_before": True}], ids=["407", "closed"])
def test_a_proxy_that_opens_no_tunnel_is_an_error(tmp_path, monkeypatch, near, fault):
    """R090."""
    with serving(faults=[Fault(method="CONNECT", times=None, **fault)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@{proxy.address}")
        error = Puller(tmp_path).fails(f"{HOST}/demo/app:1.0")
        assert error.kind == "registry-unreachable"
        assert HOST in str(error)
        assert SECRET not in f"{error} {error.hint}"


def test_a_proxy_that_is_not_there_is_an_error(tmp_path, monkeypatch, near):
    """R090."""
    with serving() as proxy:
        pass
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@{proxy.address}")
    error = Puller(tmp_path, plain_http=True).fails(f"{HOST}/demo/app:1.0")
    assert error.kind == "registry-unreachable"
    assert "proxy" in str(error)
    assert SECRET not in str(error)


def test_the_login_for_a_proxy_is_shown_to_the_proxy_alone(tmp_path, monkeypatch, near):
    """R090."""
    pair = base64.b64encode(f"user:{SECRET}".encode()).decode("ascii")
    with serving() as proxy, serving() as registry:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@{proxy.address}")
        monkeypatch.setenv("NO_PROXY", "sub.registry.test")
        pull_by_name(tmp_path / "a", registry.port)
        pull_by_name(tmp_path / "b", registry.port, "sub.registry.test")
        headers = [request.headers.get("proxy-authorization") for request in proxy.requests]
        assert headers == [f"Basic {pair}"] * len(PLAIN)
        assert all(pair not in str(request.headers) for request in registry.requests)
        assert all("authorization" not in request.headers for request in proxy.requests)
