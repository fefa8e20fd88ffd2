# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication challenges and token requests: rules, no I/O.

RFC 9110 11.6.1 for the header; distribution docs/spec/auth (token.md, oauth.md, scope.md) for tokens.
"""

from __future__ import annotations

import base64
import json
import re
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    AuthenticationError,
    ProtocolError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import printable

MAX_TOKEN_BODY = 1024 * 1024
MIN_LIFETIME = 60.0
"""Seconds a token is taken to live at least (token.md); servers that say 0 or 1 mean "now", not "never"."""

_MAX_LIFETIME = 365 * 24 * 3600.0

CLIENT_ID = "lockstep-images"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*({_TOKEN})(?=\s|,|$)")
_PARAM = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')
_UNSAFE = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True)
class Credentials:
    """What a registry knows a user by. One of password, identity token and registry token is set."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header, or "" when there is no password."""
        if not self.password:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode(
            "ascii"
        )


@dataclass(frozen=True)
class Challenge:
    """One way in that a registry offers; ``scheme`` is lower case, as are the names of ``parameters``."""

    scheme: str
    parameters: t.Mapping[str, str]


@dataclass(frozen=True)
class Token:
    """A bearer token and the seconds it lives."""

    value: str = field(repr=False)
    lifetime: float


@dataclass(frozen=True)
class TokenRequest:
    """How a token is asked for: a GET with a query, or a POST with ``form``; ``authorization`` may be ""."""

    method: str
    url: str
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    authorization: str = field(default="", repr=False)


def parse_challenges(headers: t.Iterable[str]) -> list[Challenge]:
    """All challenges of all WWW-Authenticate headers; what is malformed ends the header it stands in."""
    challenges = []
    for header in headers:
        position = 0
        while position < len(header):
            match = _SCHEME.match(header, position)
            if not match:
                break
            position = match.end()
            parameters: dict[str, str] = {}
            param = _PARAM.match(header, position)
            while param:
                quoted, plain = param.group(2), param.group(3)
                text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                parameters.setdefault(param.group(1).lower(), text)
                position = param.end()
                param = _PARAM.match(header, position)
            challenges.append(Challenge(match.group(1).lower(), parameters))
            separator = re.compile(r"[\s,]*").match(header, position)
            position = separator.end() if separator else position
    return challenges


def choose(challenges: t.Sequence[Challenge], subject: str) -> Challenge:
    """The challenge to answer: Bearer before Basic, whatever the order; others are not understood.

    Raises AuthenticationError when there is none.
    """
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme and (
                scheme == "basic" or challenge.parameters.get("realm")
            ):
                return challenge
    offered = printable(", ".join(sorted({challenge.scheme for challenge in challenges})))
    raise AuthenticationError(
        f"{subject}: authentication is required, but "
        + (
            f"only {offered} is offered, without what is needed"
            if offered
            else "no way to do it is offered"
        )
    )


def token_requests(
    challenge: Challenge, scopes: t.Sequence[str], who: Credentials | None
) -> list[TokenRequest]:
    """The requests to try, in order, for a token of these scopes; the first is not always understood.

    An identity token needs POST. A password goes by GET with Basic, which every server knows, then by POST.
    """
    realm = challenge.parameters["realm"]
    service = challenge.parameters.get("service", "")
    get = _get_request(realm, service, scopes, who)
    if who is None or who.registry_token:
        return [get]
    form = [("service", service), ("client_id", CLIENT_ID), ("scope", " ".join(scopes))]
    if who.identity_token:
        post = [("grant_type", "refresh_token"), ("refresh_token", who.identity_token), *form]
        return [TokenRequest("POST", realm, tuple(post))]
    post = [
        ("grant_type", "password"),
        ("username", who.username),
        ("password", who.password),
        *form,
    ]
    return [get, TokenRequest("POST", realm, tuple(post))]


def _get_request(
    realm: str, service: str, scopes: t.Sequence[str], who: Credentials | None
) -> TokenRequest:
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    if who and who.username:
        query.append(("account", who.username))
    base = realm.partition("#")[0]
    joiner = "&" if "?" in base else "?"
    url = base + (joiner + urllib.parse.urlencode(query) if query else "")
    return TokenRequest("GET", url, authorization=who.basic if who else "")


def parse_token(raw: bytes, subject: str) -> Token:
    """Read a token server's answer: ``token``, else ``access_token``; raises ProtocolError."""
    try:
        answer = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"{subject}: the token server's answer is not JSON") from exc
    value = (
        (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
    )
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"{subject}: the token server's answer has no token")
    if _UNSAFE.search(value):
        raise ProtocolError(f"{subject}: the token has characters that must not be in a header")
    lifetime = answer.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)):
        lifetime = MIN_LIFETIME
    # In this order NaN gives the lower bound; a number can be too large for a float.
    return Token(value, float(min(max(MIN_LIFETIME, lifetime), _MAX_LIFETIME)))


def pull_scope(repository: str) -> str:
    """The scope that reading a repository needs."""
    return f"repository:{repository}:pull"


def insufficient(challenge: Challenge, repository: str) -> list[str]:
    """Scopes a registry asks for beyond ours, as far as they concern ``repository`` and reading it."""
    if challenge.parameters.get("error") != "insufficient_scope":
        return []
    asked = challenge.parameters.get("scope", "").split()
    return [scope for scope in asked if scope.startswith(f"repository:{repository}:")]
