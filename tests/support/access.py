# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access control: Basic and Bearer challenges, and the token endpoint.

Rules: distribution docs/spec/auth (token.md, oauth.md, scope.md), RFC 9110 section 11.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Callable, Union
from urllib.parse import parse_qs

from .distribution import route
from .exchange import Answer, Call, Refusal, json_answer

Mode = Union[str, None, Callable[[str, str], "str | None"]]
ACTIONS = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}


@dataclass(frozen=True)
class TokenRequest:
    """One request to the token endpoint. ``granted``: the scopes of the token it received."""

    method: str
    user: str | None
    service: str | None
    scopes: tuple[str, ...]
    account: str | None
    client_id: str | None
    grant_type: str | None
    offline: bool
    status: int
    granted: tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """The user and the scopes of an opaque token. ``expires``: seconds of a monotonic clock."""

    user: str | None
    scopes: tuple[str, ...]
    expires: float


@dataclass
class Access:
    """The access rules of one registry.

    - ``auth``: None, ``basic``, ``bearer``, or a function of method and path that returns one of these.
    - ``users``: passwords by name. ``identity_tokens``: names by refresh token.
    - ``anonymous_pull``: reading needs no login (a bearer registry still requires a token).
    - ``permissions``: by user (``""``: without a login), then by pattern of the repository, the
      allowed actions, separated by commas. A user without an entry may do everything.
    - ``token_lifetime``: seconds. ``token_post``: True, or False or a status to refuse POST (405
      or that status). ``token_response``: a function that changes the JSON of the answer.
    - ``realm``, ``service``: override those of this registry; the realm may be a function of the
      ``Host`` header. ``extra_challenges``: challenges to send before the true one.
    """

    auth: Mode = None
    users: Mapping[str, str] = field(default_factory=dict)
    anonymous_pull: bool = False
    identity_tokens: dict[str, str] = field(default_factory=dict)
    permissions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    token_lifetime: float = 300.0
    token_post: bool | int = True
    token_response: Callable[[dict[str, Any]], Any] | None = None
    realm: str | Callable[[str], str] | None = None
    service: str | None = None
    extra_challenges: Sequence[str] = ()

    url: str = ""
    token_requests: list[TokenRequest] = field(default_factory=list)
    _tokens: dict[str, Token] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expire_tokens(self) -> None:
        """Invalidate all tokens except identity tokens."""
        with self._lock:
            self._tokens.clear()

    def refuse(self, call: Call) -> Answer | None:
        """Return the 401 that answers ``call``, or None if the call is allowed."""
        mode = self.auth(call.method, call.path) if callable(self.auth) else self.auth
        if mode is None or not call.path.startswith("/v2"):
            return None
        if mode == "basic":
            user = self._basic_user(call)
            ping = call.route in ("/v2", "/v2/")
            anonymous = self.anonymous_pull and call.method in ("GET", "HEAD") and not ping
            if user or (anonymous and "authorization" not in call.headers):
                return None
            return self._challenge('Basic realm="lockstep"', "authentication required")
        needed = needed_scope(call)
        token = self._token(call)
        if token is not None and (needed is None or _covers(token.scopes, needed)):
            return None
        error = None
        if token is not None:
            error = "insufficient_scope"
        elif "authorization" in call.headers:
            error = "invalid_token"
        parts = [f'realm="{self._realm(call)}"', f'service="{self._service}"']
        parts += [f'scope="{needed}"'] if needed else []
        parts += [f'error="{error}"'] if error else []
        return self._challenge(f"Bearer {','.join(parts)}", error or "authentication required")

    def may_read(self, call: Call, repository: str) -> bool:
        """Return whether the caller may mount from ``repository``."""
        if self.auth != "bearer":
            return True
        token = self._token(call)
        return token is not None and _covers(token.scopes, f"repository:{repository}:pull")

    def token_answer(self, call: Call) -> Answer:
        """Return the answer of the token endpoint. Raise ``Refusal`` if it grants no token."""
        if call.method == "POST":
            return self._post(call)
        if call.method != "GET":
            raise Refusal(405, "UNSUPPORTED", "no such method here")
        asked = {
            "service": call.value("service"),
            "account": call.value("account"),
            "client_id": call.value("client_id"),
            "grant_type": None,
            "offline": call.value("offline_token") == "true",
            "scopes": tuple(call.values("scope")),
        }
        user = self._basic_user(call)
        allowed = user or ("authorization" not in call.headers and self.anonymous_pull)
        return self._grant("GET", user, bool(allowed), asked)

    def _post(self, call: Call) -> Answer:
        form = {key: value[0] for key, value in parse_qs(call.read().decode("utf-8")).items()}
        asked = {
            "service": form.get("service"),
            "account": form.get("username"),
            "client_id": form.get("client_id"),
            "grant_type": form.get("grant_type"),
            "offline": form.get("access_type") == "offline",
            "scopes": tuple(form.get("scope", "").split()),
        }
        if self.token_post is not True:
            status = self.token_post or 405
            self._record("POST", None, asked, status, ())
            raise Refusal(status, "UNSUPPORTED", "no POST here")
        user = None
        if form.get("grant_type") == "password":
            name = form.get("username", "")
            user = name if self._is_password(name, form.get("password", "")) else None
        elif form.get("grant_type") == "refresh_token":
            user = self.identity_tokens.get(form.get("refresh_token", ""))
        return self._grant("POST", user, user is not None, asked)

    def _grant(self, method: str, user: str | None, allowed: bool, asked: dict[str, Any]) -> Answer:
        """Issue a token for those of the requested scopes that ``user`` may have."""
        if not allowed:
            self._record(method, user, asked, 401, ())
            raise Refusal(401, "UNAUTHORIZED", "incorrect username or password")
        granted = tuple(filter(None, (self._permitted(user, one) for one in asked["scopes"])))
        name = secrets.token_urlsafe(24)
        answer: dict[str, Any] = {
            "token": name,
            "access_token": name,
            "expires_in": int(self.token_lifetime),
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with self._lock:
            self._tokens[name] = Token(user, granted, time.monotonic() + self.token_lifetime)
            if asked["offline"] and user:
                answer["refresh_token"] = secrets.token_urlsafe(24)
                self.identity_tokens[answer["refresh_token"]] = user
        self._record(method, user, asked, 200, granted)
        return json_answer(200, self.token_response(answer) if self.token_response else answer)

    def _record(
        self,
        method: str,
        user: str | None,
        asked: dict[str, Any],
        status: int,
        granted: tuple[str, ...],
    ) -> None:
        with self._lock:
            self.token_requests.append(
                TokenRequest(method, user, status=status, granted=granted, **asked)
            )

    def _permitted(self, user: str | None, scope: str) -> str | None:
        """Return ``scope`` with only the actions that ``user`` may have; None without any."""
        kind, _dummy, rest = scope.partition(":")
        name, _dummy, actions = rest.rpartition(":")
        wanted = [action for action in actions.split(",") if action]
        if user is None:
            wanted = [action for action in wanted if action == "pull"]
        rules = self.permissions.get(user or "")
        if rules is not None:
            given = [value for pattern, value in rules.items() if fnmatchcase(name, pattern)]
            allowed = {action for value in given for action in value.split(",")}
            wanted = [action for action in wanted if action in allowed]
        return f"{kind}:{name}:{','.join(wanted)}" if wanted else None

    def _basic_user(self, call: Call) -> str | None:
        scheme, _dummy, value = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            text = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return None
        name, _dummy, password = text.partition(":")
        return name if self._is_password(name, password) else None

    def _is_password(self, name: str, password: str) -> bool:
        return name in self.users and self.users[name] == password

    def _token(self, call: Call) -> Token | None:
        scheme, _dummy, value = call.headers.get("authorization", "").partition(" ")
        with self._lock:
            token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        return token if token is not None and token.expires > time.monotonic() else None

    def _realm(self, call: Call) -> str:
        if callable(self.realm):
            return self.realm(call.headers.get("host", ""))
        return self.realm or f"{self.url}/token"

    @property
    def _service(self) -> str:
        return self.service or self.url.partition("://")[2]

    def _challenge(self, line: str, message: str) -> Answer:
        answer = Refusal(401, "UNAUTHORIZED", message).answer()
        answer.set("WWW-Authenticate", *self.extra_challenges, line)
        # Docker 20.10 logs in only to registries that send this header.
        answer.headers.append(("Docker-Distribution-Api-Version", "registry/2.0"))
        return answer


def needed_scope(call: Call) -> str | None:
    """Return the scope that a request needs; None if any token is enough."""
    found = route(call.route)
    if found is None or found[0] == "ping":
        return None
    if found[0] == "catalog":
        return "registry:catalog:*"
    uploading = found[0] in ("uploads", "session")
    actions = ("pull", "push") if uploading else ACTIONS.get(call.method, ("pull", "push"))
    return f"repository:{found[1]}:{','.join(actions)}"


def _covers(scopes: Sequence[str], needed: str) -> bool:
    subject, _dummy, actions = needed.rpartition(":")
    held: set[str] = set()
    for scope in scopes:
        name, _dummy, given = scope.rpartition(":")
        if name == subject:
            held.update(given.split(","))
    return "*" in held or set(actions.split(",")) <= held
