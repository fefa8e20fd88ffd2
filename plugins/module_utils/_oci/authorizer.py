# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Authorization header for one registry: learns from challenges, keeps tokens, hands out nothing elsewhere."""

from __future__ import annotations

import base64
import threading
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci import challenge as rules
from ansible_collections.lockstep.images.plugins.module_utils._oci import hosts
from ansible_collections.lockstep.images.plugins.module_utils._oci.challenge import (
    Challenge,
    Credentials,
    Token,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    AuthenticationError,
    ProtocolError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.headers import shown_url
from ansible_collections.lockstep.images.plugins.module_utils._oci.transport import (
    HttpClient,
    Response,
)

_LOGIN_HINT = "Log in with lockstep.images.registry_login, or give username and password."


@dataclass(frozen=True)
class _Held:
    header: str
    expires: float


class Authorizer:
    """Answers the challenges of one registry. Tokens are kept per scope, and serve all threads of a task."""

    def __init__(
        self,
        http: HttpClient,
        registry: str,
        base_url: str,
        find: t.Callable[[str], Credentials | None],
    ) -> None:
        self._http = http
        self._registry = registry
        self.base_url = base_url
        self._find = find
        self._challenge: Challenge | None = None
        self._lock = threading.Lock()
        self._scopes: dict[str, list[str]] = {}
        self._scope_locks: dict[str, threading.Lock] = {}
        self._held: dict[str, _Held] = {}
        self._secrets: set[str] = set()
        self.warnings: list[str] = []

    @property
    def scheme(self) -> str:
        """``basic`` or ``bearer``, "" while the registry has not asked for anything."""
        return self._challenge.scheme if self._challenge else ""

    def header(self, repository: str) -> str:
        """What to send with a request for a repository ("" for the registry itself), "" while nothing is known."""
        challenge = self._challenge
        if challenge is None:
            who = self._credentials(repository)
            return f"Bearer {who.registry_token}" if who and who.registry_token else ""
        if challenge.scheme == "basic":
            who = self._credentials(repository)
            return who.basic if who else ""
        with self._lock_for(repository):
            held = self._held.get(repository)
            if held and held.expires > self._http.clock.now():
                return held.header
            return self._new_token(challenge, repository)

    def answer(
        self, challenges: t.Sequence[Challenge], repository: str, refused: str, attempt: int
    ) -> None:
        """Prepare for another try after a 401; ``refused`` is the header that was not accepted.

        Raises AuthenticationError when there is nothing new to try: wrong credentials, or ``attempt`` 2 or later
        in a registry that goes on refusing its own tokens.
        """
        chosen = rules.choose(challenges, self._registry)
        who = self._credentials(repository)
        if refused and ((chosen.scheme == "basic" and refused.startswith("Basic ")) or attempt > 1):
            raise self._refused(who)
        if chosen.scheme == "basic" and not (who and who.basic):
            raise AuthenticationError(f"{self._registry}: authentication is required", _LOGIN_HINT)
        if chosen.scheme == "bearer":
            self._check_realm(chosen.parameters["realm"])
        with self._lock_for(repository):
            held = self._held.get(repository)
            if held and held.header == refused:
                del self._held[repository]
            extra = rules.insufficient(chosen, repository)
            if extra:
                self._scopes[repository] = sorted(extra)
        self._challenge = chosen

    def redact(self, text: str) -> str:
        """Text of a stranger without any secret this object has handled."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _credentials(self, repository: str) -> Credentials | None:
        who = self._find(repository)
        if who:
            pair = base64.b64encode(f"{who.username}:{who.password}".encode()).decode("ascii")
            secrets = {
                who.password,
                who.identity_token,
                who.registry_token,
                pair if who.password else "",
            }
            self._secrets |= secrets - {""}
        return who

    def _lock_for(self, repository: str) -> threading.Lock:
        with self._lock:
            return self._scope_locks.setdefault(repository, threading.Lock())

    def _new_token(self, challenge: Challenge, repository: str) -> str:
        scopes = self._scopes.get(repository) or (
            [rules.pull_scope(repository)] if repository else []
        )
        token = self._request_token(challenge, scopes, repository)
        self._secrets.add(token.value)
        header = f"Bearer {token.value}"
        # A token is renewed a little early: it has to live as long as the request that carries it needs.
        self._held[repository] = _Held(header, self._http.clock.now() + token.lifetime * 0.9)
        return header

    def _request_token(
        self, challenge: Challenge, scopes: t.Sequence[str], repository: str
    ) -> Token:
        realm = challenge.parameters["realm"]
        who = self._credentials(repository)
        may_see = hosts.may_get_credentials(realm, self.base_url)
        if who and not may_see:
            self._warn_withheld(realm)
            who = None
        response: Response | None = None
        for request in rules.token_requests(challenge, scopes, who):
            if response:
                response.close()
            response = self._http.request(
                request.method,
                request.url,
                form=request.form,
                authorization=request.authorization,
                follow=False,
                trusted=may_see,
            )
            if response.status == 200:
                subject = f"{self._registry}: token from {shown_url(realm)}"
                return rules.parse_token(response.read(rules.MAX_TOKEN_BODY, "token"), subject)
            if response.status not in (404, 405):
                break
        status = response.status if response else 0
        if response:
            response.close()
        if status in (400, 401, 403):
            raise self._refused(who)
        raise ProtocolError(
            f"{self._registry}: the token server {shown_url(realm)} answered {status}"
        )

    def _refused(self, who: Credentials | None) -> AuthenticationError:
        if who is None:
            return AuthenticationError(
                f"{self._registry}: authentication is required or access is denied", _LOGIN_HINT
            )
        user = f" for user {who.username}" if who.username else ""
        return AuthenticationError(f"{self._registry}: the credentials{user} were refused")

    def _check_realm(self, realm: str) -> None:
        if not hosts.may_serve_tokens(realm, self.base_url):
            raise AuthenticationError(
                f"{self._registry}: its token server {shown_url(realm)} is not one that may be asked",
                "A registry must not send clients to plain http or into a private network.",
            )

    def _warn_withheld(self, realm: str) -> None:
        text = (
            f"{self._registry}: its token server {shown_url(realm)} belongs to another domain,"
            " so it was asked without the credentials of the registry"
        )
        if text not in self.warnings:
            self.warnings.append(text)
