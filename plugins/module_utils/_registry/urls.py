# SPDX-License-Identifier: GPL-3.0-or-later
"""The meaning of URLs and headers, and which hosts a registry may refer to. Rules, no I/O."""

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
from .._image.names import DOCKER_HUB, Reference, parse_registry

_HUB_API = "registry-1.docker.io"
_URL = re.compile(r"(?:(https?)://)?([^/@?#\s]+)((?:/[^/@?#\s]+)*)/*")
# Anybody can register below these suffixes: example.co.uk and registry.co.uk are unrelated.
_PUBLIC_SUFFIX = re.compile(r"(?:ac|co|com|edu|go|gov|ne|net|or|org)\.[a-z]{2}")
_WARNING = re.compile(r'299 - "((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_LINK = re.compile(r'<([^<>]*)>\s*((?:;\s*[\w*-]+\s*(?:=\s*(?:"[^"]*"|[^\s;,"]+))?\s*)*)')

_IN_REPOSITORY = re.compile(
    r"([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)/(?:(?:manifests|blobs|referrers)/[^/]+|tags/list)"
)

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def api_host(registry: str) -> str:
    """Return the ``host[:port]`` of the API of a registry."""
    return _HUB_API if registry == DOCKER_HUB else registry


def registry_at(url: str) -> str:
    """Return the name of the registry whose API is at a URL."""
    name = host_name(url)
    return DOCKER_HUB if name == _HUB_API else name


def parse_url(text: str, where: str) -> tuple[str, str, str]:
    """Split a URL into scheme, registry and path, "" for no scheme or path; raise InputError, which never repeats a URL."""
    match = _URL.fullmatch(text)
    with contextlib.suppress(errors.ReferenceError):
        if match:
            return match.group(1) or "", parse_registry(match.group(2)), match.group(3)
    raise errors.InputError(
        f"{where}: must be host[:port][/path], without user, query and fragment"
    )


def repository_name(path: str, where: str) -> str:
    """Return a path as the name of a repository; raise InputError if it is not a valid one."""
    name = path.lstrip("/")
    with contextlib.suppress(errors.ReferenceError):
        if Reference.parse(f"localhost/{name}").repository == name:
            return name
    raise errors.InputError(f"{where}: {name!r} is not a valid repository name")


def retry_after(value: str, now: float, date: str = "") -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 10.2.3), None if it is malformed.

    A time, as an HTTP date or unix time, is one of the server's clock, which ``date`` states; without it ``now`` counts.
    """
    text = value.strip()
    number = float(text) if re.fullmatch("[0-9]{1,18}", text) else None
    if number is not None and number <= 1e9:
        return number
    until = _moment(text) if number is None else number
    if until is None:
        return None
    server_time = _moment(date)
    return max(until - (now if server_time is None else server_time), 0.0)


def _moment(text: str) -> float | None:
    """Return the unix time of an HTTP date, None if it is malformed."""
    parsed = email.utils.parsedate_tz(text) if re.search("[A-Za-z]", text) else None
    try:
        return float(email.utils.mktime_tz(parsed)) if parsed else None
    except (OverflowError, ValueError):
        return None


def content_range(value: str) -> tuple[int, int, int | None] | None:
    """Return first byte, last byte and size (None if unknown) of a Content-Range (RFC 9110 14.4); None if malformed."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", value.strip())
    if not match:
        return None
    size = match.group(3)
    return int(match.group(1)), int(match.group(2)), None if size == "*" else int(size)


def rate_limit(limit: str, remaining: str) -> dict[str, int]:
    """Parse the ``RateLimit-*`` headers (``100;w=21600``) into ``limit``, ``remaining``, and ``window`` in seconds."""
    found = {}
    for name, value in (("limit", limit), ("remaining", remaining)):
        match = re.match(r"\s*([0-9]{1,9})\s*(?:;\s*w=([0-9]{1,9}))?", value)
        if match:
            found[name] = int(match.group(1))
            if match.group(2):
                found["window"] = int(match.group(2))
    return found


def next_page(links: t.Iterable[str], url: str, base: str = "") -> str | None:
    """Return the URL of the next page by the Link headers of an answer from ``url`` (RFC 8288), None for the last page.

    Raise ProtocolError for a malformed header, or a page on another host than ``url`` and ``base``.
    """
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
    """Return the URL of a Location in an answer from ``url``, "" unless it is on the host of ``url`` or ``base``.

    Scheme and port are those of ``url`` or ``base``: a registry behind a proxy need not know them.
    """
    with contextlib.suppress(ValueError):
        target = urllib.parse.urlsplit(urllib.parse.urljoin(url, location.strip()))
        # Reading a port that is not a number raises ValueError.
        is_url = target.scheme in ("http", "https") and target.hostname and target.port != 0
        for known in map(urllib.parse.urlsplit, (url, base)):
            if is_url and target.path and target.hostname == known.hostname:
                return known._replace(path=target.path, query=target.query, fragment="").geturl()
    return ""


def api_path(url: str) -> tuple[str, str]:
    """Return the URL of the API's root, and the repository, of a request to a registry; "" and "" for any other URL."""
    parts = urllib.parse.urlsplit(url)
    before, root, rest = parts.path.partition("/v2/")
    match = _IN_REPOSITORY.fullmatch(rest)
    if not match:
        return "", ""
    return parts._replace(path=before + root, query="", fragment="").geturl(), match.group(1)


def warning_text(value: str) -> str:
    """Return the text of a ``Warning: 299`` header (distribution-spec v1.1, "Warnings"), "" for any other one."""
    match = _WARNING.fullmatch(value.strip())
    return re.sub(r"\\(.)", r"\1", match.group(1))[:1000] if match else ""


@functools.lru_cache(maxsize=128)  # one request calls it several times
def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL; credentials are sent only if all three are equal.

    Raise ProtocolError if one of them is malformed.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        if re.search(r"[\s\\]", parts.netloc):
            raise ValueError("for requests, the host ends there")
        return (
            parts.scheme,
            (parts.hostname or "").lower(),
            parts.port or (443 if parts.scheme == "https" else 80),
        )
    except ValueError as exc:
        raise errors.ProtocolError(f"{shown_url(url)}: the host or the port is not valid") from exc


def host_name(url: str) -> str:
    """Return ``host[:port]`` of a URL as a registry is named, without the default port."""
    scheme, host, port = origin(url)
    name = f"[{host}]" if ":" in host else host
    return name if port == {"http": 80, "https": 443}.get(scheme) else f"{name}:{port}"


def is_same_host(url: str, base: str) -> bool:
    """Return whether a URL has the origin of ``base``, or its host over TLS, on the same or the default port."""
    is_upgrade = url.startswith("https:") and host_name(url) == host_name(base)
    return is_upgrade or origin(url) == origin(base)


def shown_url(url: str) -> str:
    """Return a URL for a message, without user and query, which may be secret."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    return errors.printable(urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", "")), 600)


def is_loopback(host: str) -> bool:
    """Return whether the spelling of ``host[:port]`` is that of this machine, by Docker's rule."""
    bare = re.sub(":[0-9]+$", "", host) if host.count(":") == 1 or host.startswith("[") else host
    address = literal(bare)
    return bare.lower() == "localhost" or bool(address and address.is_loopback)


def redirect_target(locations: t.Sequence[str], url: str, first: str) -> str:
    """Return the target of a redirect of ``url``; ``first`` is the URL that the task requested.

    Raise RedirectError if it is missing or malformed, has credentials, or leads from https to http or into a private
    network.
    """
    subject = f"{shown_url(url)}: redirects"
    if len(locations) != 1 or not locations[0].strip():
        raise errors.RedirectError(f"{subject} without a target")
    try:
        target = urllib.parse.urldefrag(urllib.parse.urljoin(url, locations[0].strip()))[0]
        scheme, host, _port = origin(target)
    except (ValueError, errors.ProtocolError) as exc:
        raise errors.RedirectError(f"{subject} to a malformed URL") from exc
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
    """Return whether ``source`` may refer to ``target``: never from the public into a private network."""
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
    """Return why ``realm`` must not be asked for a token, "" if it may.

    One in a private network must be on the host and port of the registry. Http is never used for a registry with https.
    """
    try:
        (scheme, host, port), (registry_scheme, *place) = origin(realm), origin(registry)
    except errors.ProtocolError:
        scheme = ""
    if scheme not in ("http", "https") or not host:
        return "it is not a URL with https:// or http://"
    if "@" in urllib.parse.urlsplit(realm).netloc:
        return "its URL contains a user"
    if scheme == "http" and registry_scheme == "https":
        return "it uses plain http, the registry does not"
    address = _address(host)
    is_near = is_loopback(host) or (address and not address.is_global)
    return "it is in a private network" if is_near and [host, port] != place else ""


def may_get_credentials(realm: str, registry: str) -> bool:
    """Return whether ``realm`` may receive the login of ``registry``: the same host, or over TLS one of its domain."""
    (scheme, host, port), (_scheme, name, registry_port) = origin(realm), origin(registry)
    if host == name:
        return port == registry_port or scheme == "https"
    if scheme != "https" or _address(host) or _address(name):
        return False
    parent = name.partition(".")[2]
    domain = name if "." not in parent or _PUBLIC_SUFFIX.fullmatch(parent) else parent
    return f".{host}".endswith(f".{domain}")


def _address(host: str) -> Address | None:
    """Return the address that a host is, None for a name; 127.1 and 2130706433 are addresses, too."""
    try:
        return literal(host) or ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def literal(host: str) -> Address | None:
    """Return the address that a host is, in brackets or not; None for a name. IPv4 in IPv6 becomes IPv4."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
