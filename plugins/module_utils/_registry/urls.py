# SPDX-License-Identifier: GPL-3.0-or-later
"""What URLs and headers mean, and where one may lead to: rules, no I/O."""

from __future__ import annotations

import contextlib
import email.utils
import functools
import ipaddress
import re
import socket
import typing as t
import urllib.parse

from .._image import errors

# Below these anybody may register: example.co.uk is no sibling of registry.co.uk.
_PUBLIC_SUFFIX = re.compile(r"(?:ac|co|com|edu|go|gov|ne|net|or|org)\.[a-z]{2}")
_WARNING = re.compile(r'299 - "((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_LINK = re.compile(r'<([^<>]*)>\s*((?:;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^\s;,"]+))?\s*)*)')

_IN_REPOSITORY = re.compile(
    r"([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)/(?:(?:manifests|blobs|referrers)/[^/]+|tags/list)"
)

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def retry_after(value: str, now: float, date: str = "") -> float | None:
    """Seconds to wait, or a time (HTTP's, unix's) by the clock of who says it, which ``date`` tells: ours may differ."""
    text = value.strip()
    number = float(text) if re.fullmatch("[0-9]{1,18}", text) else None
    if number is not None and number <= 1e9:
        return number
    until = _moment(text) if number is None else number
    if until is None:
        return None
    theirs = _moment(date)
    return max(until - (now if theirs is None else theirs), 0.0)


def _moment(text: str) -> float | None:
    """The unix time of an HTTP date."""
    parsed = email.utils.parsedate_tz(text) if re.search("[A-Za-z]", text) else None
    try:
        return float(email.utils.mktime_tz(parsed)) if parsed else None
    except (OverflowError, ValueError):
        return None


def content_range(value: str) -> tuple[int, int, int | None] | None:
    """First byte, last byte and size, if it is told, of a part (RFC 9110 14.4)."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", value.strip())
    if not match:
        return None
    size = match.group(3)
    return int(match.group(1)), int(match.group(2)), None if size == "*" else int(size)


def rate_limit(limit: str, remaining: str) -> dict[str, int]:
    """What ``RateLimit-*`` headers say (``100;w=21600``): ``limit``, ``remaining``, ``window`` in seconds."""
    found = {}
    for name, value in (("limit", limit), ("remaining", remaining)):
        match = re.match(r"\s*([0-9]{1,9})\s*(?:;\s*w=([0-9]{1,9}))?", value)
        if match:
            found[name] = int(match.group(1))
            if match.group(2):
                found["window"] = int(match.group(2))
    return found


def next_page(links: t.Iterable[str], url: str, base: str = "") -> str | None:
    """The URL of the next page (RFC 8288) of a list that ``url`` gave; or ProtocolError for another host."""
    for header in links:
        matches = list(_LINK.finditer(header))
        if not matches:
            raise errors.ProtocolError(
                f"{shown_url(url)}: the Link header of the page is malformed"
            )
        for match in matches:
            if re.search(r'\brel\s*=\s*"?[^";]*\bnext\b', match.group(2), re.IGNORECASE):
                target = own_url(match.group(1), url, base)
                if not target:
                    raise errors.ProtocolError(
                        f"{shown_url(url)}: the next page is on another host, {shown_url(match.group(1))}"
                    )
                return target
    return None


def own_url(location: str, url: str, base: str = "") -> str:
    """A URL that a registry gives of itself in an answer from ``url``, "" if it is on another host.

    The name of the host counts, of ``url`` or of the registry's own ``base``. Scheme and port are those by which we reach
    it: a proxy may not tell its registry that it speaks TLS, or on which port.
    """
    with contextlib.suppress(ValueError):
        target = urllib.parse.urlsplit(urllib.parse.urljoin(url, location.strip()))
        # To read a port that is not a number raises ValueError.
        is_url = target.scheme in ("http", "https") and target.hostname and target.port != 0
        for own in map(urllib.parse.urlsplit, (url, base)):
            if is_url and target.path and target.hostname == own.hostname:
                return own._replace(path=target.path, query=target.query, fragment="").geturl()
    return ""


def api_path(url: str) -> tuple[str, str]:
    """The root of a registry's API in a URL, and the repository of the request; "" and "" for any other URL."""
    parts = urllib.parse.urlsplit(url)
    before, root, rest = parts.path.partition("/v2/")
    match = _IN_REPOSITORY.fullmatch(rest)
    if not match:
        return "", ""
    return parts._replace(path=before + root, query="", fragment="").geturl(), match.group(1)


def warning_text(value: str) -> str:
    """The text of a ``Warning: 299`` header (distribution-spec v1.1)."""
    match = _WARNING.fullmatch(value.strip())
    return re.sub(r"\\(.)", r"\1", match.group(1))[:1000] if match else ""


@functools.lru_cache(maxsize=128)  # one request asks several times
def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: equal, or no credential travels along."""
    try:
        parts = urllib.parse.urlsplit(url)
        if re.search(r"[\s\\]", parts.netloc):
            raise ValueError("to requests, the host ends there")
        return (
            parts.scheme,
            (parts.hostname or "").lower(),
            parts.port or (443 if parts.scheme == "https" else 80),
        )
    except ValueError as exc:
        raise errors.ProtocolError(f"{shown_url(url)}: the host or the port is not valid") from exc


def host_name(url: str) -> str:
    """``host[:port]`` of a URL, as a registry is named: without a port that goes without saying."""
    scheme, host, port = origin(url)
    name = f"[{host}]" if ":" in host else host
    return name if port == {"http": 80, "https": 443}.get(scheme) else f"{name}:{port}"


def is_same_host(url: str, base: str) -> bool:
    """Whether a URL is at the origin of ``base``, or there over TLS, on the same port or that of https in place of http."""
    is_upgrade = url.startswith("https:") and host_name(url) == host_name(base)
    return is_upgrade or origin(url) == origin(base)


def shown_url(url: str) -> str:
    """A URL without user and query, which may hold secrets."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    return errors.printable(urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", "")), 600)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its spelling, as Docker decides it."""
    bare = re.sub(":[0-9]+$", "", host) if host.count(":") == 1 or host.startswith("[") else host
    address = literal(bare)
    return bare.lower() == "localhost" or bool(address and address.is_loopback)


def redirect_target(locations: t.Sequence[str], url: str, first: str) -> str:
    """Where a redirect leads; or RedirectError."""
    subject = f"{shown_url(url)}: redirects"
    if len(locations) != 1 or not locations[0].strip():
        raise errors.RedirectError(f"{subject} without saying where to")
    try:
        target = urllib.parse.urldefrag(urllib.parse.urljoin(url, locations[0].strip()))[0]
        scheme, host, _port = origin(target)
    except (ValueError, errors.ProtocolError) as exc:
        raise errors.RedirectError(f"{subject} to something that is no URL") from exc
    if scheme not in ("http", "https") or not host:
        what = f"to a {scheme or 'relative'} URL"
    elif scheme == "http" and origin(url)[0] == "https":
        what = f"from https to http, {shown_url(target)}"
    elif "@" in urllib.parse.urlsplit(target).netloc:
        what = "to a URL with credentials in it"
    elif not may_reach(target, first):
        what = f"into a private network, {shown_url(target)}"
    else:
        return target
    raise errors.RedirectError(f"{subject} {what}, which is not followed")


def may_reach(target: str, source: str) -> bool:
    """Whether ``source`` may send us to ``target``: never from the public into a private network."""
    host = origin(target)[1]
    address = _address(host)
    if origin(target) == origin(source):
        return True
    if address and (address.is_link_local or address.is_unspecified or address.is_multicast):
        return False
    near = (
        host == "localhost" or host.endswith(".localhost") or bool(address and address.is_private)
    )
    from_host = origin(source)[1]
    from_address = _address(from_host)
    return not near or is_loopback(from_host) or bool(from_address and from_address.is_private)


def token_server_fault(realm: str, registry: str) -> str:
    """Why ``realm`` may not be asked for a token, "" if it may: a near one on the same host and port only, http never for https."""
    try:
        (scheme, host, port), (secure, *own) = origin(realm), origin(registry)
    except errors.ProtocolError:
        scheme = ""
    if scheme not in ("http", "https") or not host:
        return "it is not a URL with https:// or http://"
    if "@" in urllib.parse.urlsplit(realm).netloc:
        return "its URL names a user"
    if scheme == "http" and secure == "https":
        return "it is on plain http, the registry is not"
    address = _address(host)
    is_near = is_loopback(host) or (address and not address.is_global)
    return "it is in a private network" if is_near and [host, port] != own else ""


def may_get_credentials(realm: str, registry: str) -> bool:
    """Whether ``realm`` may see the login of ``registry``: the same host, or over TLS one of its domain."""
    (scheme, host, port), (_secure, own, own_port) = origin(realm), origin(registry)
    if host == own:
        return port == own_port or scheme == "https"
    if scheme != "https" or _address(host) or _address(own):
        return False
    parent = own.partition(".")[2]
    domain = own if "." not in parent or _PUBLIC_SUFFIX.fullmatch(parent) else parent
    return f".{host}".endswith(f".{domain}")


def _address(host: str) -> Address | None:
    """Also 127.1 and 2130706433."""
    try:
        return literal(host) or ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def literal(host: str) -> Address | None:
    """The address that a host is, in brackets or not; None for a name."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
