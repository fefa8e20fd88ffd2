# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are near, and who may send us to them."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ProtocolError,
    RedirectError,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import (
    api_host,
    is_loopback,
    is_same_host,
    may_get_credentials,
    may_reach,
    origin,
    redirect_target,
    token_server_fault,
)
from ansible_collections.lockstep.images.tests.support.tables import (
    assert_tells,
    params,
    table,
)

PUBLIC = "https://registry.example.com"
BLOB = f"{PUBLIC}/v2/app/blobs/x"

_STRICTER = (
    "Authorization stays on its origin, whatever the ports: a redirect to https is another origin"
)

# (URL, target) -> why Authorization does not travel along here, though requests would send it.
DEVIATIONS = {
    ("http://example.com/foo", "https://example.com/bar"): _STRICTER,
    ("http://example.com:80/foo", "https://example.com/bar"): _STRICTER,
    ("http://example.com/foo", "https://example.com:443/bar"): _STRICTER,
}


def refused(*locations: str, url: str = BLOB, first: str = "") -> str:
    with pytest.raises(RedirectError) as caught:
        redirect_target(locations, url, first or url)
    assert_tells(caught.value, "redirect-refused", "registry.example.com", never=("hunter22",))
    return str(caught.value)


SAME = {
    "itself": ("https://h/x", "https://h", True),
    "port-that-goes-without-saying": ("https://h:443/x", "https://h", True),
    "upgrade": ("https://h/x", "http://h", True),
    "upgrade-of-port-80": ("https://h:443/x", "http://h:80", True),
    "upgrade-of-another-port": ("https://h:5000/x", "http://h:5000", True),
    "capitals": ("https://H/x", "http://h", True),
    "downgrade": ("http://h/x", "https://h", False),
    "another-port": ("https://h:5001/x", "https://h:5000", False),
    "from-80-to-another-port": ("https://h:5000/x", "http://h", False),
    "from-another-port-to-443": ("https://h/x", "http://h:5000", False),
    "another-host": ("https://h.example/x", "https://h", False),
}


@pytest.mark.parametrize(("url", "base", "is_same"), SAME.values(), ids=SAME)
def test_F06_a_host_is_the_same_over_tls_on_its_own_port(url, base, is_same):
    """What was sent in clear is not sent to anybody else there."""
    assert is_same_host(url, base) is is_same


def test_docker_hub_has_its_api_elsewhere():
    assert api_host("docker.io") == "registry-1.docker.io"
    assert api_host("registry.example.com:5000") == "registry.example.com:5000"


@pytest.mark.parametrize("case", params(table("hosts", "loopback"), "host"))
def test_loopback_is_known_by_its_spelling(case):
    assert is_loopback(case["host"]) == case["loopback"]


@pytest.mark.parametrize("host", ["LOCALHOST", "[::ffff:127.0.0.1]:5000", "127.0.0.1"])
def test_loopback_has_more_spellings(host):
    assert is_loopback(host)


@pytest.mark.parametrize("case", params(table("hosts", "realm"), "realm"))
def test_a_public_registry_names_a_public_token_server(case):
    assert (not token_server_fault(case["realm"], PUBLIC)) == case["allowed"]


@pytest.mark.parametrize("case", params(table("hosts", "near_realm"), "case"))
def test_a_near_token_server_is_the_registry_itself(case):
    assert (not token_server_fault(case["realm"], case["registry"])) == case["allowed"]


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example.com/token",
        "ftp://auth.example.com/token",
        "file:///etc/passwd",
        "/token",
        "",
        "https:///token",
        "https://user:hunter22@auth.example.com/token",
        "https://localhost/token",
        "https://100.64.0.1/token",
        "https://[fe80::1]/token",
        "https://[fc00::1]/token",
        "https://[::ffff:10.0.0.1]/token",
        "https://[::1/token",
        "https://auth.example.com:port/token",
        "https://auth.example.com:99999/token",
        "https://127.1/token",
        "https://2130706433/token",
    ],
)
def test_url_that_cannot_be_a_token_server_is_rejected(realm):
    assert token_server_fault(realm, PUBLIC)


@pytest.mark.parametrize("case", params(table("hosts", "authorization"), "target"))
def test_authorization_stays_on_its_origin(case):
    kept = case["kept"] and (case["url"], case["target"]) not in DEVIATIONS
    assert (origin(case["url"]) == origin(case["target"])) == kept


def test_every_deviation_is_about_a_case_of_the_table():
    kept = {(c["url"], c["target"]) for c in table("hosts", "authorization") if c["kept"]}
    assert set(DEVIATIONS) <= kept


@pytest.mark.parametrize("case", params(table("hosts", "location"), "case"))
def test_a_location_is_resolved_against_where_it_came_from(case):
    assert redirect_target([case["location"]], case["url"], case["url"]) == case["target"]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("//cdn.example.net/x?sig=1", "https://cdn.example.net/x?sig=1"),
        ("y", f"{PUBLIC}/v2/app/blobs/y"),
        (" https://cdn.example.net/x#part ", "https://cdn.example.net/x"),
        ("https://CDN.example.net/x", "https://CDN.example.net/x"),
    ],
)
def test_a_redirect_is_followed(location, target):
    """RFC 9110 10.2.2."""
    assert redirect_target([location], BLOB, BLOB) == target


@pytest.mark.parametrize("locations", [[], [""], ["  "], ["/a", "/b"]], ids=repr)
def test_a_redirect_says_where_to_once(locations):
    assert "without a target" in refused(*locations)


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example.net/x?hunter22",
        "ftp://cdn.example.net/x",
        "file:///etc/passwd",
        "data:text/plain,hunter22",
        "https://user:hunter22@cdn.example.net/x",
        "https://hunter22@cdn.example.net/x",
        "https://[::1/x?hunter22",
        "https://cdn.example.net:port/?hunter22",
        "https://cdn.example.net:99999/",
    ],
)
def test_other_redirects_are_refused_and_no_secret_is_shown(location):
    refused(location)


@pytest.mark.parametrize(
    "host",
    ["localhost", "x.localhost", "127.0.0.1", "[::1]", "10.0.0.1", "192.168.1.1", "172.16.0.1",
     "[fc00::1]", "169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "224.0.0.1",
     "[::ffff:169.254.169.254]",
     "127.1", "2130706433", "0x7f.0.0.1"],
)  # fmt: skip
def test_the_public_does_not_send_us_into_a_private_network(host):
    assert "private network" in refused(f"https://{host}/x?hunter22")


@pytest.mark.parametrize(
    ("target", "source", "allowed"),
    [
        ("http://10.0.0.2/x", "http://10.0.0.1:5000/", True),
        ("http://127.0.0.1:9000/x", "http://localhost:5000/", True),
        ("http://localhost:9000/x", "http://192.168.1.1/", True),
        ("https://cdn.example.net/x", "http://10.0.0.1/", True),
        ("http://169.254.169.254/x", "http://10.0.0.1/", False),
        ("http://0.0.0.0/x", "http://127.0.0.1/", False),
        ("http://169.254.1.1:5000/x", "http://169.254.1.1:5000/", True),
    ],
)
def test_a_private_network_sends_us_within_itself(target, source, allowed):
    assert may_reach(target, source) == allowed


def test_first_request_decides_whether_a_network_is_private():
    assert "private network" in refused(
        "http://10.0.0.2/x",
        url="http://registry.example.com/x",
        first="http://registry.example.com",
    )


@pytest.mark.parametrize(
    ("realm", "registry", "allowed"),
    [
        ("https://auth.docker.io/token", "https://registry-1.docker.io", True),
        ("https://gitlab.example.com/jwt/auth", "https://registry.example.com", True),
        ("https://example.com/auth", "https://registry.example.com", True),
        ("https://ghcr.io/token", "https://ghcr.io", True),
        ("https://auth.ghcr.io/token", "https://ghcr.io", True),
        ("https://registry.example.com:8443/token", "https://registry.example.com", True),
        ("https://REGISTRY.example.com/token", "https://registry.example.com", True),
        ("https://evil.example.net/token", "https://registry.example.com", False),
        ("https://evilexample.com/token", "https://registry.example.com", False),
        ("https://evil.co.uk/token", "https://registry.co.uk", False),
        ("https://auth.registry.co.uk/token", "https://registry.co.uk", True),
        ("https://evil.io/token", "https://ghcr.io", False),
        ("http://auth.example.com/token", "http://registry.example.com", False),
        ("http://registry.example.com:5000/token", "http://registry.example.com:5000", True),
        ("http://registry.example.com:5001/token", "http://registry.example.com:5000", False),
        ("https://10.0.0.2/token", "https://10.0.0.1", False),
        ("https://10.0.0.1:8443/token", "https://10.0.0.1", True),
        ("http://localhost:5001/token", "http://localhost:5000", False),
    ],
)
def test_credentials_are_shown_to_the_host_and_its_siblings_only(realm, registry, allowed):
    assert may_get_credentials(realm, registry) == allowed


@pytest.mark.parametrize("host", ["evil.test\\.registry.example", "evil.test \\.registry.example"])
def test_F06_host_that_requests_reads_differently_is_rejected(host):
    """To urllib3 a backslash ends the host, so the login would go to evil.test."""
    assert token_server_fault(f"https://{host}/token", "https://registry.example")
    with pytest.raises(ProtocolError, match="is not valid"):
        may_get_credentials(f"https://{host}/token", "https://registry.example")
    with pytest.raises(RedirectError, match="malformed URL"):
        redirect_target(
            [f"https://{host}/"], "https://registry.example", "https://registry.example"
        )
