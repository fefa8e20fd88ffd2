# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are near, and which of them a stranger may send us to: rules, no I/O, no look-ups."""

from __future__ import annotations

import ipaddress
import re
import typing as t
import urllib.parse

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    ProtocolError,
    RedirectError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import origin, shown_url
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import DOCKER_HUB

HUB_API = "registry-1.docker.io"

# Below these anybody may register: example.co.uk is no sibling of registry.co.uk.
_PUBLIC_SUFFIX = re.compile(r"(?:ac|co|com|edu|go|gov|ne|net|or|org)\.[a-z]{2}")


def api_host(registry: str) -> str:
    """``host[:port]`` that serves the API of a registry: Docker Hub's is not the one in its names."""
    return HUB_API if registry == DOCKER_HUB else registry


def is_loopback(host: str) -> bool:
    """Whether ``host[:port]`` is this machine by its spelling alone, as Docker decides it."""
    bare = re.sub(r":[0-9]+$", "", host) if host.count(":") == 1 or host.startswith("[") else host
    if bare.lower() == "localhost":
        return True
    address = _literal(bare)
    return bool(address and address.is_loopback)


def may_reach(target: str, source: str) -> bool:
    """Whether ``source`` (a URL) may send us on to ``target`` (a URL): never from the public into a private network.

    Only literal addresses and ``localhost`` are judged. Link-local and unspecified addresses (cloud metadata)
    are refused even from a private network, unless source and target are one origin.
    """
    if origin(target) == origin(source):
        return True
    host = _host_of(target)
    address = _literal(host)
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return _is_near(source)
    if address is None:
        return True
    if address.is_link_local or address.is_unspecified or address.is_multicast:
        return False
    return not (address.is_loopback or address.is_private) or _is_near(source)


def redirect_target(locations: t.Sequence[str], url: str, first: str) -> str:
    """Where the Location headers of an answer of ``url`` lead; ``first`` is what was asked for in the beginning.

    Raises RedirectError for what is not followed (RFC 9110 15.4 and 10.2.2 for the rest).
    """
    subject = shown_url(url)
    if len(locations) != 1 or not locations[0].strip():
        raise RedirectError(f"{subject}: redirects without saying where to")
    try:
        target = urllib.parse.urldefrag(urllib.parse.urljoin(url, locations[0].strip()))[0]
        parts = urllib.parse.urlsplit(target)
        shown = shown_url(target)
        origin(target)
    except (ValueError, ProtocolError) as exc:
        raise RedirectError(f"{subject}: redirects to something that is no URL") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RedirectError(
            f"{subject}: redirects to a {parts.scheme or 'relative'} URL, which is not followed"
        )
    if parts.scheme == "http" and urllib.parse.urlsplit(url).scheme == "https":
        raise RedirectError(
            f"{subject}: redirects from https to http, {shown}, which is not followed"
        )
    if "@" in parts.netloc:
        raise RedirectError(
            f"{subject}: redirects to a URL with credentials in it, which is not followed"
        )
    if not may_reach(target, first):
        raise RedirectError(
            f"{subject}: redirects into a private network, {shown}, which is not followed"
        )
    return target


def may_serve_tokens(realm: str, registry: str) -> bool:
    """Whether a token may be asked for at ``realm`` on behalf of the registry with the URL ``registry``.

    A near address is allowed on the very same host and port only, and https never steps down to http.
    """
    parts = urllib.parse.urlsplit(realm)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return False
    if parts.scheme == "http" and urllib.parse.urlsplit(registry).scheme == "https":
        return False
    if origin(realm)[1:] == origin(registry)[1:]:
        return True
    address = _literal(parts.hostname)
    near = bool(address and not address.is_global) or is_loopback(parts.hostname)
    return not near


def may_get_credentials(realm: str, registry: str) -> bool:
    """Whether a token server may be shown the credentials of a registry: it is the same host or a sibling.

    ``auth.docker.io`` is one of ``registry-1.docker.io``, and ``gitlab.example.com`` or ``example.com`` of
    ``registry.example.com``. Over plain http only the same host and port may see them.
    """
    if origin(realm)[1:] == origin(registry)[1:]:
        return True
    if urllib.parse.urlsplit(realm).scheme != "https":
        return False
    token_host, registry_host = _host_of(realm).lower(), _host_of(registry).lower()
    if token_host == registry_host:
        return True
    if _literal(token_host) or _literal(registry_host):
        return False
    parent = registry_host.partition(".")[2]
    domain = registry_host if "." not in parent or _PUBLIC_SUFFIX.fullmatch(parent) else parent
    return token_host == domain or token_host.endswith("." + domain)


def _is_near(url: str) -> bool:
    host = _host_of(url)
    address = _literal(host)
    return is_loopback(host) or bool(address and address.is_private)


def _host_of(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
