# SPDX-License-Identifier: GPL-3.0-or-later
"""The challenges of registries, and the requests for the tokens that answer them."""

from __future__ import annotations

import json
import re
import threading
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from .._image import errors
from .credentials import Credentials
from .http import BUSY, HttpClient, Identity
from .trust import DEFAULT_TRUST, Trust
from .urls import host_name, is_same_host, may_get_credentials, shown_url, token_server_fault

CLIENT_ID = "lockstep-images"
MAX_TOKEN_BODY = 1024 * 1024
# Seconds a token is taken to live at least (token.md): servers that say 0 or 1 mean "now", not "never".
MIN_LIFETIME = 60.0
_MAX_LIFETIME = 365 * 24 * 3600.0
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=\s|,|$)")
_PARAM = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


class Challenge(t.NamedTuple):
    """One way in that a registry offers; names are lower case."""

    scheme: str
    parameters: t.Mapping[str, str]


@dataclass(frozen=True)
class Token:
    """A bearer token and the seconds it lives."""

    value: str = field(repr=False)
    lifetime: float


@dataclass(frozen=True)
class TokenRequest:
    """How a token is asked for."""

    method: str
    url: str
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    authorization: str = field(default="", repr=False)


def parse_challenges(headers: t.Iterable[str]) -> list[Challenge]:
    """All challenges of WWW-Authenticate headers; what is malformed ends its header."""
    challenges = []
    for header in headers:
        match = _SCHEME.match(header)
        while match:
            scheme, position = match.group(1).lower(), match.end()
            parameters: dict[str, str] = {}
            param = _PARAM.match(header, position)
            while param:
                name, quoted, plain = param.groups()
                parameters.setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted))
                position = param.end()
                param = _PARAM.match(header, position)
            challenges.append(Challenge(scheme, parameters))
            match = _SCHEME.match(header, position)
    return challenges


def choose_challenge(challenges: t.Sequence[Challenge], subject: str) -> Challenge:
    """The challenge to answer, Bearer before Basic; or AuthenticationError."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme and (
                scheme == "basic" or challenge.parameters.get("realm")
            ):
                return challenge
    offered = errors.printable(", ".join(sorted({challenge.scheme for challenge in challenges})))
    how = (
        f"only {offered} is offered, without what is needed"
        if offered
        else "no way to do it is offered"
    )
    raise errors.AuthenticationError(f"{subject}: authentication is required, but {how}")


def token_requests(
    challenge: Challenge, scopes: t.Sequence[str], who: Credentials | None
) -> list[TokenRequest]:
    """The requests to try, in order: not every server knows each."""
    realm = challenge.parameters["realm"].partition("#")[0]
    service = challenge.parameters.get("service", "")
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    if who and who.username:
        query.append(("account", who.username))
    joiner = "&" if "?" in realm else "?"
    url = realm + (joiner + urllib.parse.urlencode(query, errors="replace") if query else "")
    get = TokenRequest("GET", url, authorization=who.basic if who else "")
    if who is None or who.registry_token:
        return [get]
    grant = [("grant_type", "password"), ("username", who.username), ("password", who.password)]
    if who.identity_token:
        grant = [("grant_type", "refresh_token"), ("refresh_token", who.identity_token)]
    form = (
        *grant,
        ("service", service),
        ("client_id", CLIENT_ID),
        ("scope", " ".join(scopes)),
    )
    post = TokenRequest("POST", realm, form)
    return [post] if who.identity_token else [get, post]


def parse_token(raw: bytes, subject: str) -> Token:
    """Read a token server's answer; or ProtocolError."""
    try:
        answer = json.loads(raw.decode("utf-8"), parse_int=float)  # of a million digits, too
    except (ValueError, RecursionError) as exc:
        raise errors.ProtocolError(f"{subject}: the answer is not JSON") from exc
    answer = answer if isinstance(answer, dict) else {}
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str):
        raise errors.ProtocolError(f"{subject}: the answer has no token")
    if not re.fullmatch("[!-~]+", value):
        raise errors.ProtocolError(
            f"{subject}: the token has characters that must not be in a header"
        )
    lifetime = answer.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)):
        lifetime = MIN_LIFETIME
    # In this order NaN gives the lower bound; a number can be too large for a float.
    return Token(value, float(min(max(MIN_LIFETIME, lifetime), _MAX_LIFETIME)))


def scope(repository: str, *actions: str) -> str:
    """The scope that some actions on a repository need (token-scope.md), such as ``pull`` and ``push``."""
    return f"repository:{repository}:{','.join(actions)}"


def insufficient(challenge: Challenge, repository: str) -> list[str]:
    """The scopes missing in a token, of those for ``repository``."""
    asked = challenge.parameters.get("scope", "").split()
    missed = challenge.parameters.get("error") == "insufficient_scope"
    return sorted(
        scope for scope in asked if missed and scope.startswith(f"repository:{repository}:")
    )


class Authorizer:
    """Answers the challenges of one registry, for all threads of a task."""

    def __init__(
        self,
        http: HttpClient,
        registry: str,
        base_url: str,
        find: t.Callable[[str], Credentials | None],
        trust: Trust = DEFAULT_TRUST,
        hint: str = "",
        front: str = "",
    ) -> None:
        """``front`` is the URL of a registry that redirects to this one: its token server may be there."""
        self.base_url = base_url
        self._front = front
        self._trust = trust
        self._hint = hint
        self.warnings: list[str] = []
        self._http = http
        self._registry = registry
        self._find = find
        self._found: dict[str, Credentials | None] = {}
        self._unanswered: dict[str, errors.CredentialHelperError] = {}  # helpers that failed
        self._challenge: Challenge | None = None
        self._lock = threading.Lock()
        self._scopes: dict[str, list[str]] = {}
        self._scope_locks: dict[str, threading.Lock] = {}
        self._held: dict[str, tuple[str, float]] = {}
        self._secrets: set[str] = set()

    @property
    def scheme(self) -> str:
        """``basic``, ``bearer``, or "" if nothing was asked for."""
        return self._challenge.scheme if self._challenge else ""

    def want(self, repository: str, scopes: t.Sequence[str]) -> None:
        """Ask for these scopes in the token for a repository, in this order; before its first request."""
        with self._lock_for(repository):
            self._scopes[repository] = list(scopes)
            self._held.pop(repository, None)

    def header(self, repository: str) -> str:
        """What to send for a repository, "" for the registry itself."""
        if self._challenge:
            return self._header(self._challenge, repository)
        who = self._credentials(repository)
        return f"Bearer {who.registry_token}" if who and who.registry_token else ""

    def answer(
        self, challenges: t.Sequence[Challenge], repository: str, refused: str, attempt: int
    ) -> str:
        """The header for another try after a 401; or AuthenticationError when there is nothing new to try."""
        chosen = choose_challenge(challenges, self._registry)
        if refused:  # a helper may have a newer login by now
            self._found.pop(repository, None)
        who = self._credentials(repository)
        extra = insufficient(chosen, repository)
        last = 2 if extra and extra != self._wanted_scopes(repository) else 1
        if refused and (
            (chosen.scheme == "basic" and refused.startswith("Basic ")) or attempt > last
        ):
            raise self._refused(who, repository)
        if chosen.scheme == "basic" and not (who and who.basic):
            raise self._required(repository, "authentication is required")
        realm = chosen.parameters.get("realm", "")
        fault = chosen.scheme == "bearer" and self._fault_of(realm)
        if fault:
            shown = shown_url(realm) if "://" in realm else f'"{errors.printable(realm)}"'
            raise errors.AuthenticationError(
                f"{self._registry}: its token server {shown} is not one that may be asked: {fault}",
                "Ask whoever runs the registry to correct the realm in its WWW-Authenticate header.",
            )
        with self._lock_for(repository):
            if self._held.get(repository, ("",))[0] == refused:
                self._held.pop(repository, None)
            if extra:
                wanted = self._scopes.get(repository, [])
                self._scopes[repository] = extra + [one for one in wanted if one not in extra]
        self._challenge = chosen
        # Not what other threads have learned meanwhile: a registry may want Basic here and Bearer there.
        return self._header(chosen, repository)

    def login_sent(self) -> str:
        """In words, the login that the registry knows us by, "" if there is none, or more than one."""
        realm = self._challenge.parameters.get("realm", "") if self._challenge else ""
        sees_no_login = self.scheme == "bearer" and not may_get_credentials(realm, self.base_url)
        if not self.scheme or sees_no_login:
            return ""
        found = {_named(who) for who in self._found.values() if who}
        return f"the login{found.pop()}" if len(found) == 1 else ""

    def hide(self, values: t.Iterable[str]) -> None:
        """More that ``redact`` takes out: headers, unless so short that they say nothing."""
        parts = {part for value in values for part in (value, value.rpartition(" ")[2])}
        self._secrets |= {part for part in parts if len(part) > 5}

    def redact(self, text: str) -> str:
        """Text of a stranger without our secrets."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _header(self, challenge: Challenge, repository: str) -> str:
        if challenge.scheme == "basic":
            who = self._credentials(repository)
            return who.basic if who else ""
        with self._lock_for(repository):
            header, expires = self._held.get(repository, ("", 0.0))
            if expires <= self._http.clock.now():
                token = self._request_token(challenge, repository)
                self._secrets.add(token.value)
                header = f"Bearer {token.value}"
                # Renewed a little early: it has to live as long as the request that carries it.
                self._held[repository] = (header, self._http.clock.now() + token.lifetime * 0.9)
            return header

    def _credentials(self, repository: str) -> Credentials | None:
        if repository in self._found:
            return self._found[repository]
        who = None
        try:
            who = self._find(repository)
        except errors.CredentialHelperError as exc:
            # Public images need no login: it is an error once the registry asks for one.
            self._unanswered[repository] = exc
            self._warn(f"{exc}; {self._registry} is asked without a login")
        if who:
            pair = who.basic.partition(" ")[2]
            self._secrets |= {who.password, who.identity_token, who.registry_token, pair} - {""}
        self._found[repository] = who
        return who

    def _lock_for(self, repository: str) -> threading.Lock:
        with self._lock:
            return self._scope_locks.setdefault(repository, threading.Lock())

    def _wanted_scopes(self, repository: str) -> list[str]:
        return self._scopes.get(repository) or ([scope(repository, "pull")] if repository else [])

    def _request_token(self, challenge: Challenge, repository: str) -> Token:
        realm, who = challenge.parameters["realm"], self._credentials(repository)
        may_see = may_get_credentials(realm, self.base_url)
        subject = f"{self._registry}: its token server {shown_url(realm)}"
        if who and not may_see:
            who, text = (
                None,
                f"{subject} belongs to another domain, so it was asked without the credentials of the registry",
            )
            self._warn(text)
        status, ours, others = 0, Identity(trust=self._trust_of(realm)), Identity()
        for request in token_requests(challenge, self._wanted_scopes(repository), who):
            response = self._http.request(
                request.method,
                request.url,
                {"Authorization": request.authorization} if request.authorization else {},
                identity=lambda at: ours if is_same_host(at, realm) else others,
                body=request.form or None,
                follow=who is None,  # or a login would go where nobody has looked
            )
            status = response.status
            if status == 200:
                return parse_token(response.read(MAX_TOKEN_BODY, "token"), subject)
            response.close()
            if status not in (404, 405):
                break
        if status in (400, 401, 403):
            raise self._refused(who, repository, f" by its token server {shown_url(realm)}")
        if status == 429:
            raise errors.RateLimitError(f"{subject} answered {status}: too many requests")
        hint = errors.RegistryError.advice if status in BUSY else ""
        raise errors.ProtocolError(f"{subject} answered {status}", hint)

    def _fault_of(self, realm: str) -> str:
        """Why a token server may not be asked, "" for nothing."""
        fault = token_server_fault(realm, self.base_url)
        is_downgrade = realm.startswith("http:") and self.base_url.startswith("https:")
        if (
            fault
            and self._front
            and not is_downgrade
            and not token_server_fault(realm, self._front)
        ):
            return ""
        return fault

    def _trust_of(self, realm: str) -> Trust | None:
        """Ours, for the registry's own host, and for one of its domain for which none is configured."""
        if host_name(realm) == host_name(self.base_url):
            return self._trust
        is_known = self._http.trust_of(realm) is not None
        return self._trust if not is_known and may_get_credentials(realm, self.base_url) else None

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _required(self, repository: str, what: str) -> errors.LockstepError:
        """The error where a login is missing: that of the helper which may have one, if it failed."""
        failed, text = self._unanswered.get(repository), f"{self._registry}: {what}"
        if failed:
            return errors.CredentialHelperError(f"{text}, and {failed}", failed.hint)
        return errors.AuthenticationError(text, self._hint)

    def _refused(
        self, who: Credentials | None, repository: str, where: str = ""
    ) -> errors.LockstepError:
        if who is None:
            what = f"authentication is required or access is denied{where}"
            return self._required(repository, what)
        log_out = f", or log out with lockstep.images.registry_login, {who.way_out}"
        return errors.AuthenticationError(
            f"{self._registry}: the credentials{_named(who)} were refused{where}",
            "A registry refuses public images too while it is sent a wrong login."
            f" Correct the login{log_out if who.way_out else ''}.",
        )


def _named(who: Credentials) -> str:
    user = f" for user {who.username}" if who.username else ""
    return user + (f" from {who.origin}" if who.origin else "")
