# SPDX-License-Identifier: GPL-3.0-or-later
"""How a registry asks for a login, and the tokens that answer it (distribution's token.md, RFC 7235)."""

from __future__ import annotations

import json
import re
import threading
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from .._image import errors
from .client import HttpClient, Identity
from .connect import DEFAULT_TRUST, Trust
from .credentials import Credentials
from .pacing import BUSY
from .urls import host_name, is_same_host, may_get_credentials, shown_url, token_server_fault

CLIENT_ID = "lockstep-images"
MAX_TOKEN_BODY = 1024 * 1024
# Seconds that a token lives at least (token.md): a server that states 0 or 1 does not mean an expired token.
MIN_LIFETIME = 60.0
_MAX_LIFETIME = 365 * 24 * 3600.0
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=\s|,|$)")
_PARAM = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


class Challenge(t.NamedTuple):
    """One scheme that a registry offers; the scheme and the names of parameters are in lower case."""

    scheme: str
    parameters: t.Mapping[str, str]


@dataclass(frozen=True)
class Token:
    """A bearer token, and its lifetime in seconds."""

    value: str = field(repr=False)
    lifetime: float


@dataclass(frozen=True)
class TokenRequest:
    """A request for a token: the pairs of its form, and its Authorization header, "" for none."""

    method: str
    url: str
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    authorization: str = field(default="", repr=False)


def parse_challenges(headers: t.Iterable[str]) -> list[Challenge]:
    """Return the challenges of WWW-Authenticate headers, in order; a malformed part ends its header."""
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
    """Return the challenge to answer, Bearer before Basic; raise AuthenticationError if there is neither."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme and (
                scheme == "basic" or challenge.parameters.get("realm")
            ):
                return challenge
    offered = errors.printable(", ".join(sorted({challenge.scheme for challenge in challenges})))
    found = f", only {offered}" if offered else ""
    raise errors.AuthenticationError(
        f"{subject}: authentication is required, but no usable scheme is offered{found}"
    )


def token_requests(
    challenge: Challenge, scopes: t.Sequence[str], login: Credentials | None
) -> list[TokenRequest]:
    """Return the requests for a token to try in order, GET before POST: no server is required to know both (token.md)."""
    realm = challenge.parameters["realm"].partition("#")[0]
    service = challenge.parameters.get("service", "")
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    if login and login.username:
        query.append(("account", login.username))
    joiner = "&" if "?" in realm else "?"
    url = realm + (joiner + urllib.parse.urlencode(query, errors="replace") if query else "")
    get = TokenRequest("GET", url, authorization=login.basic if login else "")
    if login is None or login.registry_token:
        return [get]
    grant = [("grant_type", "password"), ("username", login.username), ("password", login.password)]
    if login.identity_token:
        grant = [("grant_type", "refresh_token"), ("refresh_token", login.identity_token)]
    form = (
        *grant,
        ("service", service),
        ("client_id", CLIENT_ID),
        ("scope", " ".join(scopes)),
    )
    post = TokenRequest("POST", realm, form)
    return [post] if login.identity_token else [get, post]


def parse_token(raw: bytes, subject: str) -> Token:
    """Return the token in the answer of a token server; raise ProtocolError if there is none, or an unusable one."""
    try:
        answer = json.loads(
            raw.decode("utf-8"), parse_int=float
        )  # an integer of a million digits would take minutes
    except (ValueError, RecursionError) as exc:
        raise errors.ProtocolError(f"{subject}: the answer is not JSON") from exc
    answer = answer if isinstance(answer, dict) else {}
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str):
        raise errors.ProtocolError(f"{subject}: the answer has no token")
    if not re.fullmatch("[!-~]+", value):
        raise errors.ProtocolError(
            f"{subject}: the token has characters that a header must not contain"
        )
    lifetime = answer.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)):
        lifetime = MIN_LIFETIME
    # In this order NaN becomes the lower bound, and a number that is too large for a float the upper one.
    return Token(value, float(min(max(MIN_LIFETIME, lifetime), _MAX_LIFETIME)))


def scope(repository: str, *actions: str) -> str:
    """Return the scope of actions such as ``pull`` and ``push`` on a repository (token-scope.md)."""
    return f"repository:{repository}:{','.join(actions)}"


def insufficient(challenge: Challenge, repository: str) -> list[str]:
    """Return the scopes of a repository that a token lacks, by the challenge that refuses it (RFC 6750 3.1)."""
    if challenge.parameters.get("error") != "insufficient_scope":
        return []
    scopes = challenge.parameters.get("scope", "").split()
    return sorted(scope for scope in scopes if scope.startswith(f"repository:{repository}:"))


class _Login:
    """The login for one repository, as far as a task knows it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.scopes: list[str] = []
        self.header, self.expires = "", 0.0  # a token
        self.is_found = False
        self.credentials: Credentials | None = None
        self.failure: errors.CredentialHelperError | None = None  # of a helper that may have some


class Authorizer:
    """Answers the challenges of one registry, for all threads of a task.

    ``find`` returns the stored login for a repository. ``hint`` is that of an error for a missing login. ``front`` is the
    URL of a registry that redirects to this one: its token server may be there.
    """

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
        self.base_url = base_url
        self.warnings: list[str] = []
        self._http = http
        self._registry = registry
        self._find = find
        self._trust = trust
        self._hint = hint
        self._front = front
        self._challenge: Challenge | None = None
        self._lock = threading.Lock()
        self._logins: dict[str, _Login] = {}
        self._secrets: set[str] = set()

    @property
    def scheme(self) -> str:
        """Return ``basic``, ``bearer``, or "" if the registry has not asked for a login."""
        return self._challenge.scheme if self._challenge else ""

    def request_scopes(self, repository: str, scopes: t.Sequence[str]) -> None:
        """Request these scopes in tokens for a repository, in this order; a token that is held is dropped."""
        login = self._login(repository)
        with login.lock:
            login.scopes, login.expires = list(scopes), 0.0

    def header(self, repository: str) -> str:
        """Return the Authorization header for a repository, or "" for the registry itself; "" if none is known.

        Raise AuthenticationError if the token server refuses the login.
        """
        if self._challenge:
            return self._header(self._challenge, repository)
        credentials = self._credentials(repository)
        token = credentials.registry_token if credentials else ""
        return f"Bearer {token}" if token else ""

    def answer(
        self, challenges: t.Sequence[Challenge], repository: str, refused: str, attempt: int
    ) -> str:
        """Return the header for the next try after a 401; raise AuthenticationError if no other header can help.

        ``refused`` is the header that was sent, "" for none; ``attempt`` counts the 401s of the request, from 1.
        """
        challenge, login = choose_challenge(challenges, self._registry), self._login(repository)
        if refused:  # a helper may have a newer login
            login.is_found = False
        credentials = self._credentials(repository)
        extra = insufficient(challenge, repository)
        last = 2 if extra and extra != self._scopes(repository) else 1
        is_basic = challenge.scheme == "basic"
        if refused and ((is_basic and refused.startswith("Basic ")) or attempt > last):
            raise self._refused(credentials, repository)
        if is_basic and not (credentials and credentials.basic):
            raise self._required(repository, "authentication is required")
        realm = challenge.parameters.get("realm", "")
        fault = not is_basic and self._fault_of(realm)
        if fault:
            shown = shown_url(realm) if "://" in realm else f'"{errors.printable(realm)}"'
            raise errors.AuthenticationError(
                f"{self._registry}: its token server {shown} is not used: {fault}",
                "Ask the operator of the registry to correct the realm in its WWW-Authenticate header.",
            )
        with login.lock:
            if login.header == refused:
                login.expires = 0.0
            if extra:
                login.scopes = extra + [scope for scope in login.scopes if scope not in extra]
        self._challenge = challenge
        # Not the challenge that another thread has stored: a registry may want Basic here and Bearer there.
        return self._header(challenge, repository)

    def login_sent(self) -> str:
        """Return, in words, the login that the registry has received; "" if there is none, or more than one."""
        realm = self._challenge.parameters.get("realm", "") if self._challenge else ""
        sees_no_login = self.scheme == "bearer" and not may_get_credentials(realm, self.base_url)
        if not self.scheme or sees_no_login:
            return ""
        logins = list(self._logins.values())
        found = {_named(login.credentials) for login in logins if login.credentials}
        return f"the login{found.pop()}" if len(found) == 1 else ""

    def hide(self, values: t.Iterable[str]) -> None:
        """Add headers to the secrets that ``redact`` removes, unless they are so short that they are none."""
        parts = {part for value in values for part in (value, value.rpartition(" ")[2])}
        self._secrets |= {part for part in parts if len(part) > 5}

    def redact(self, text: str) -> str:
        """Return text that a server has sent, without the secrets that it has received."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _login(self, repository: str) -> _Login:
        with self._lock:
            return self._logins.setdefault(repository, _Login())

    def _header(self, challenge: Challenge, repository: str) -> str:
        login = self._login(repository)
        if challenge.scheme == "basic":
            credentials = self._credentials(repository)
            return credentials.basic if credentials else ""
        with login.lock:
            if login.expires <= self._http.clock.now():
                token = self._request_token(challenge, repository)
                self._secrets.add(token.value)
                login.header = f"Bearer {token.value}"
                # Renewed a little early: it has to live as long as the request that carries it.
                login.expires = self._http.clock.now() + token.lifetime * 0.9
            return login.header

    def _credentials(self, repository: str) -> Credentials | None:
        login = self._login(repository)
        if not login.is_found:
            login.credentials = None
            try:
                login.credentials = found = self._find(repository)
            except errors.CredentialHelperError as exc:
                # Public images need no login: it is an error once the registry asks for one.
                login.failure, found = exc, None
                self._warn(f"{exc}; requests to {self._registry} are sent without a login")
            login.is_found = True
            if found:
                pair = found.basic.partition(" ")[2]
                secrets = {found.password, found.identity_token, found.registry_token, pair}
                self._secrets |= secrets - {""}
        return login.credentials

    def _scopes(self, repository: str) -> list[str]:
        scopes = self._login(repository).scopes
        return scopes or ([scope(repository, "pull")] if repository else [])

    def _request_token(self, challenge: Challenge, repository: str) -> Token:
        realm, credentials = challenge.parameters["realm"], self._credentials(repository)
        subject = f"{self._registry}: its token server {shown_url(realm)}"
        if credentials and not may_get_credentials(realm, self.base_url):
            credentials = None
            self._warn(f"{subject} is in another domain, so it was not sent the login")
        status, own, other = 0, Identity(trust=self._trust_of(realm)), Identity()
        for request in token_requests(challenge, self._scopes(repository), credentials):
            response = self._http.request(
                request.method,
                request.url,
                {"Authorization": request.authorization} if request.authorization else {},
                identify=lambda url: own if is_same_host(url, realm) else other,
                body=request.form or None,
                follow=credentials is None,  # the login is for this server alone
            )
            status = response.status
            if status == 200:
                return parse_token(response.read(MAX_TOKEN_BODY, "token"), subject)
            response.close()
            if status not in (404, 405):
                break
        if status in (400, 401, 403):
            raise self._refused(credentials, repository, f" by its token server {shown_url(realm)}")
        if status == 429:
            raise errors.RateLimitError(f"{subject} answered {status}: too many requests")
        hint = errors.RegistryError.advice if status in BUSY else ""
        raise errors.ProtocolError(f"{subject} answered {status}", hint)

    def _fault_of(self, realm: str) -> str:
        """Return why a token server must not be used, "" if it may."""
        fault = token_server_fault(realm, self.base_url)
        is_downgrade = realm.startswith("http:") and self.base_url.startswith("https:")
        if self._front and not is_downgrade and not token_server_fault(realm, self._front):
            return ""
        return fault

    def _trust_of(self, realm: str) -> Trust | None:
        """Return the trust of the registry for its own host, and for its domain unless one is configured there."""
        if host_name(realm) == host_name(self.base_url):
            return self._trust
        is_known = self._http.trust_of(realm) is not None
        return self._trust if not is_known and may_get_credentials(realm, self.base_url) else None

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _required(self, repository: str, what: str) -> errors.LockstepError:
        """Return the error for a missing login; it is that of the credential helper that failed to return one."""
        failure, text = self._login(repository).failure, f"{self._registry}: {what}"
        if failure:
            return errors.CredentialHelperError(f"{text}, and {failure}", failure.hint)
        return errors.AuthenticationError(text, self._hint)

    def _refused(
        self, credentials: Credentials | None, repository: str, where: str = ""
    ) -> errors.LockstepError:
        if credentials is None:
            what = f"authentication is required or access is denied{where}"
            return self._required(repository, what)
        log_out = f", or log out with lockstep.images.registry_login, {credentials.way_out}"
        return errors.AuthenticationError(
            f"{self._registry}: the credentials{_named(credentials)} were refused{where}",
            "With a wrong login, a registry refuses public images, too."
            f" Correct the login{log_out if credentials.way_out else ''}.",
        )


def _named(credentials: Credentials) -> str:
    user = f" for user {credentials.username}" if credentials.username else ""
    return user + (f" from {credentials.origin}" if credentials.origin else "")
