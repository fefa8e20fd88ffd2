# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins: challenges and tokens, and the files and helpers that keep them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from . import errors
from .files import read_file
from .names import DOCKER_HUB
from .transport import STRANGER, HttpClient, Trust
from .urls import may_get_credentials, may_serve_tokens, shown_url

CLIENT_ID = "lockstep-images"
MAX_TOKEN_BODY = 1024 * 1024
# Seconds a token is taken to live at least (token.md): servers that say 0 or 1 mean "now", not "never".
MIN_LIFETIME = 60.0
_MAX_LIFETIME = 365 * 24 * 3600.0

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=\s|,|$)")
_PARAM = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


@dataclass(frozen=True)
class Credentials:
    """What a registry knows a user by; one of the three secrets is set."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """An Authorization header, "" without a password."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        return f"Basic {pair}" if self.password else ""


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


def choose(challenges: t.Sequence[Challenge], subject: str) -> Challenge:
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
    url = realm + (joiner + urllib.parse.urlencode(query) if query else "")
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
        answer = json.loads(raw.decode("utf-8"))
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


_HINT = "Log in with lockstep.images.registry_login, or give username and password."


class Authorizer:
    """Answers the challenges of one registry, for all threads of a task."""

    def __init__(
        self,
        http: HttpClient,
        registry: str,
        base_url: str,
        find: t.Callable[[str], Credentials | None],
        trust: Trust = STRANGER,
    ) -> None:
        self.base_url = base_url
        self._trust = trust
        self.warnings: list[str] = []
        self._http = http
        self._registry = registry
        self._find = find
        self._found: dict[str, Credentials | None] = {}
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
        chosen = choose(challenges, self._registry)
        if refused:  # a helper may have a newer login by now
            self._found.pop(repository, None)
        who = self._credentials(repository)
        extra = insufficient(chosen, repository)
        last = 2 if extra and extra != self._wanted_scopes(repository) else 1
        if refused and (
            (chosen.scheme == "basic" and refused.startswith("Basic ")) or attempt > last
        ):
            raise self._refused(who)
        if chosen.scheme == "basic" and not (who and who.basic):
            raise errors.AuthenticationError(f"{self._registry}: authentication is required", _HINT)
        if chosen.scheme == "bearer" and not may_serve_tokens(
            chosen.parameters["realm"], self.base_url
        ):
            raise errors.AuthenticationError(
                f"{self._registry}: its token server {shown_url(chosen.parameters['realm'])} is not one that may be asked",
                "A registry must not send clients to plain http or into a private network.",
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
        who = self._find(repository)
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
            if text not in self.warnings:
                self.warnings.append(text)
        status = 0
        for request in token_requests(challenge, self._wanted_scopes(repository), who):
            response = self._http.request(
                request.method,
                request.url,
                body=request.form or None,
                own={"Authorization": request.authorization} if request.authorization else {},
                follow=False,
                trust=self._trust if may_see else STRANGER,
            )
            status = response.status
            if status == 200:
                return parse_token(response.read(MAX_TOKEN_BODY, "token"), subject)
            response.close()
            if status not in (404, 405):
                break
        if status in (400, 401, 403):
            raise self._refused(who)
        raise errors.ProtocolError(f"{subject} answered {status}")

    def _refused(self, who: Credentials | None) -> errors.AuthenticationError:
        if who is None:
            return errors.AuthenticationError(
                f"{self._registry}: authentication is required or access is denied", _HINT
            )
        user = f" for user {who.username}" if who.username else ""
        return errors.AuthenticationError(f"{self._registry}: the credentials{user} were refused")


# The key under which Docker keeps the login for Docker Hub.
HUB_KEY = "https://index.docker.io/v1/"
# The user name with which a helper says that its secret is an identity token.
TOKEN_USER = "<token>"
_HUB_HOSTS = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_NOT_FOUND = "credentials not found in native keychain"
_MAX_FILE = 16 * 1024 * 1024
_MAX_OUTPUT = 1024 * 1024


class Place(t.NamedTuple):
    """A file with logins, or the text of a variable."""

    name: str
    text: str | None = None
    legacy: bool = False


def places(config_path: str | None, env: t.Mapping[str, str], home: str, uid: int) -> list[Place]:
    """Where to look, in order; a file the user names is the only one (containers-auth.json(5))."""
    explicit = config_path or env.get("REGISTRY_AUTH_FILE")
    if explicit:
        return [Place(explicit)]
    runtime, config = env.get("XDG_RUNTIME_DIR"), env.get("XDG_CONFIG_HOME") or f"{home}/.config"
    found = [
        Place(f"{runtime}/containers/auth.json" if runtime else f"/run/containers/{uid}/auth.json")
    ]
    found.append(Place(f"{config}/containers/auth.json"))
    if env.get("DOCKER_AUTH_CONFIG"):
        found.append(Place("DOCKER_AUTH_CONFIG", env["DOCKER_AUTH_CONFIG"]))
    return [*found, Place(docker_config(env, home)), Place(f"{home}/.dockercfg", legacy=True)]


def docker_config(env: t.Mapping[str, str], home: str) -> str:
    """The file ``docker login`` writes."""
    return os.path.join(env.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json")


class CredentialStore:
    """Every login a user of this machine has."""

    def __init__(self, where: t.Sequence[Place]) -> None:
        self.warnings: list[str] = []
        self._places = where
        self._files: list[AuthFile] | None = None

    def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository, of the first file that knows any."""
        if self._files is None:
            files = [AuthFile.load(place) for place in self._places]
            self.warnings += [file.warning for file in files if file.warning]
            self._files = [file for file in files if file.value]  # most places hold nothing
        found = (file.find(registry, repository) for file in self._files)
        return next(filter(None, found), None)


class AuthFile:
    """One file with logins (docker/cli v28, configfile/file.go)."""

    def __init__(self, path: str, value: dict[str, t.Any], warning: str = "") -> None:
        self.path = path
        self.value = value
        self.warning = warning

    @classmethod
    def load(cls, place: Place) -> AuthFile:
        """Read one, which may be missing; or AuthFileError, without its content."""
        raw, warning = (
            (place.text.encode("utf-8", "surrogateescape"), "")
            if place.text is not None
            else _read(place.name)
        )
        try:
            value = json.loads(raw.decode("utf-8")) if raw.strip() else None
        except (ValueError, RecursionError):
            raise errors.AuthFileError(f"{place.name}: is not JSON", path=place.name) from None
        value = {} if value is None else {"auths": value} if place.legacy else value
        parts = (
            [value, *(value.get(key) or {} for key in ("auths", "credHelpers"))]
            if isinstance(value, dict)
            else [None]
        )
        if not all(isinstance(part, dict) for part in parts):
            raise errors.AuthFileError(f"{place.name}: is not a file with logins", path=place.name)
        return cls(place.name, value, warning)

    def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository: of a helper, of the most specific key, of the host."""
        helper = self.helper(registry)
        found = helper.get(server_key(registry)) if helper else None
        auths = self.value.get("auths") or {}
        keys = lookup_keys(registry, repository) + [
            key for key in auths if is_host_key(key, registry)
        ]
        return found or next(filter(None, (self._entry(auths.get(key), key) for key in keys)), None)

    def helper(self, registry: str) -> CredentialHelper | None:
        """The program that keeps the login of a host."""
        helpers = self.value.get("credHelpers") or {}
        names = [name for key, name in helpers.items() if host_of_key(key) == registry.lower()]
        name = next(
            (
                name
                for name in [*names, self.value.get("credsStore")]
                if name and isinstance(name, str)
            ),
            None,
        )
        return CredentialHelper(name) if name else None

    def _entry(self, entry: t.Any, key: str) -> Credentials | None:
        if not isinstance(entry, dict):
            return None
        names = ("auth", "username", "password", "identitytoken", "registrytoken")
        auth, user, password, identity, token = (entry.get(name) or "" for name in names)
        if not all(isinstance(text, str) for text in (auth, user, password, identity, token)):
            raise errors.AuthFileError(
                f"{self.path}: the entry {key} is not a login", path=self.path
            )
        if auth:
            user, password = self._decode(auth, key)
        if token:
            return Credentials(registry_token=token)
        if identity:
            return Credentials(username=user, identity_token=identity)
        return Credentials(username=user, password=password) if password else None

    def _decode(self, text: str, key: str) -> tuple[str, str]:
        subject = f"{self.path}: auth of the entry {key}"
        try:
            decoded = base64.b64decode(text, validate=True).decode("utf-8")
        except ValueError:
            raise errors.AuthFileError(f"{subject} is not base64 text", path=self.path) from None
        user, colon, password = decoded.partition(":")
        if not colon:
            raise errors.AuthFileError(f"{subject} has no colon", path=self.path)
        return user, password.strip("\x00")


class CredentialHelper:
    """``docker-credential-NAME`` (docker-credential-helpers v0.9), bounded in time and output."""

    def __init__(self, name: str, timeout: float = 30.0) -> None:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise errors.CredentialHelperError(
                f"credential helper {name[:60]!r}: the name is not allowed"
            )
        self.program = f"docker-credential-{name}"
        self._timeout = timeout

    def get(self, server: str) -> Credentials | None:
        """What the helper knows of a server; or CredentialHelperError."""
        code, output = self.run("get", server)
        if code != 0 and _NOT_FOUND not in output:
            raise errors.CredentialHelperError(
                f"{self.program} failed for {server} with status {code}"
            )
        if code != 0:
            return None
        try:
            answer = json.loads(output)
        except (ValueError, RecursionError):
            answer = None
        user, secret = (
            (answer.get(name, "") for name in ("Username", "Secret"))
            if isinstance(answer, dict)
            else (0, 0)
        )
        if not isinstance(user, str) or not isinstance(secret, str):
            raise errors.CredentialHelperError(
                f"{self.program}: the answer for {server} is not what the protocol says"
            )
        if user == TOKEN_USER and secret:
            return Credentials(identity_token=secret)
        return Credentials(username=user, password=secret) if secret else None

    def run(self, verb: str, text: str) -> tuple[int, str]:
        """Status and output; standard error may hold secrets and is dropped."""
        # A file bounds what is read, and a session of its own lets a time-out end the program's children too.
        with tempfile.TemporaryFile() as output:
            try:
                # No module is at hand here, and run_command bounds neither time nor output.
                process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    [self.program, verb],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as exc:
                raise errors.CredentialHelperError(
                    f"{self.program} cannot be run: {exc.strerror}"
                ) from exc
            try:
                self._wait(process, text.encode("utf-8"), output)
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if _size(output) > _MAX_OUTPUT:
                raise errors.CredentialHelperError(
                    f"{self.program}: the answer is larger than {_MAX_OUTPUT} bytes"
                )
            output.seek(0)
            return process.returncode, output.read().decode("utf-8", "replace")

    def _wait(
        self, process: subprocess.Popen[t.Any], data: bytes | None, output: t.IO[bytes]
    ) -> None:
        deadline = time.monotonic() + self._timeout
        while _size(output) <= _MAX_OUTPUT:
            try:
                process.communicate(data, timeout=min(0.1, self._timeout))
                return
            except subprocess.TimeoutExpired:
                data = None  # it is on its way already
            if time.monotonic() >= deadline:
                raise errors.CredentialHelperError(
                    f"{self.program} gave no answer in {self._timeout:.0f} s"
                )


def _size(output: t.IO[bytes]) -> int:
    return os.fstat(output.fileno()).st_size


def lookup_keys(registry: str, repository: str) -> list[str]:
    """``host/a/b``, ``host/a``, ``host``."""
    parts = [registry, *repository.split("/")] if repository else [registry]
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def server_key(registry: str) -> str:
    """What ``auths`` and helpers call a registry."""
    return HUB_KEY if registry == DOCKER_HUB else registry


def host_of_key(key: str) -> str:
    """The registry a key of ``auths`` stands for."""
    host = (key.partition("://")[2] or key).partition("/")[0].lower()
    return DOCKER_HUB if host in _HUB_HOSTS else host


def is_host_key(key: str, registry: str) -> bool:
    """Whether a key is for the whole host."""
    rest = (key.partition("://")[2] or key).partition("/")[2].strip("/")
    return host_of_key(key) == registry.lower() and rest in (
        ("", "v1", "v2") if "://" in key else ("",)
    )


def _read(path: str) -> tuple[bytes, str]:
    target = os.path.realpath(path)
    try:
        raw = read_file(target, _MAX_FILE)
        mode = stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        return b"", ""
    except errors.StoreAccessError as exc:
        if isinstance(exc.__cause__, NotADirectoryError):
            return b"", ""
        raise errors.AuthFileError(str(exc), exc.hint, path=path) from exc
    return (
        raw,
        f"{path} holds logins and can be read by others (mode {mode:04o})" if mode & 0o077 else "",
    )
