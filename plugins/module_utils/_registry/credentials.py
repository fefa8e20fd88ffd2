# SPDX-License-Identifier: GPL-3.0-or-later
"""The logins of a user: which there are, and the files and helpers that keep them."""

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
import time
import typing as t
from dataclasses import dataclass, field, replace

from .._image import errors
from .._image.names import DOCKER_HUB
from .._store.files import encoding_fault, is_hidden, is_ours, read_file

# The key under which Docker keeps the login for Docker Hub.
HUB_KEY = "https://index.docker.io/v1/"
# The user name with which a helper says that its secret is an identity token.
TOKEN_USER = "<token>"
_HUB_HOSTS = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
# The keys of an entry that we read, and what JSON calls a value that is none.
_ENTRY = ("auth", "username", "password", "identitytoken", "registrytoken")
_KINDS = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
}
_NOT_FOUND = "credentials not found in native keychain"
_BYTES = "surrogateescape"  # bytes that are not UTF-8 stay as they are
_MAX_FILE = 16 * 1024 * 1024
_MAX_OUTPUT = 1024 * 1024


@dataclass(frozen=True)
class Credentials:
    """What a registry knows a user by; one of the three secrets is set."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    # Where the login is from, and the options of registry_login that log out; in words.
    origin: str = field(default="", compare=False)
    way_out: str = field(default="", compare=False)

    @property
    def basic(self) -> str:
        """An Authorization header, "" without a password."""
        text = f"{self.username}:{self.password}"
        try:
            pair = base64.b64encode(text.encode("utf-8", _BYTES))
        except UnicodeEncodeError:  # half a character, as JSON can escape it
            pair = base64.b64encode(text.encode("utf-8", "replace"))
        return f"Basic {pair.decode('ascii')}" if self.password else ""


class AuthPlace(t.NamedTuple):
    """A file with logins, or the text of a variable; ``tried`` if it was not named by the user."""

    name: str
    text: str | None = None
    legacy: bool = False
    tried: bool = False

    @property
    def is_docker(self) -> bool:
        """Whether it has Docker's format, which knows no logins for a part of a registry."""
        return self.legacy or self.text is not None or os.path.basename(self.name) == "config.json"


def places(
    config_path: str | None, env: t.Mapping[str, str], home: str, uid: int
) -> list[AuthPlace]:
    """Where to look, in order; a file the user names is the only one (containers-auth.json(5))."""
    explicit = config_path or env.get("REGISTRY_AUTH_FILE")
    if explicit:
        return [AuthPlace(explicit)]
    runtime = env.get("XDG_RUNTIME_DIR")
    directory = f"{runtime}/containers" if runtime else f"/run/containers/{uid}"
    found = [AuthPlace(f"{directory}/auth.json"), AuthPlace(containers_config(env, home))]
    if env.get("DOCKER_AUTH_CONFIG"):
        found.append(AuthPlace("DOCKER_AUTH_CONFIG", env["DOCKER_AUTH_CONFIG"]))
    found += [AuthPlace(docker_config(env, home)), AuthPlace(f"{home}/.dockercfg", legacy=True)]
    # The home of a user whom the system does not know stays "~".
    return [place._replace(tried=True) for place in found if not place.name.startswith("~")]


def docker_config(env: t.Mapping[str, str], home: str) -> str:
    """The file ``docker login`` writes."""
    return os.path.join(env.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json")


def containers_config(env: t.Mapping[str, str], home: str) -> str:
    """The file of podman and skopeo that outlives a reboot."""
    return os.path.join(env.get("XDG_CONFIG_HOME") or f"{home}/.config", "containers/auth.json")


class CredentialStore:
    """Every login a user of this machine has."""

    def __init__(self, where: t.Sequence[AuthPlace]) -> None:
        self.warnings: list[str] = []
        self._places = where
        self._files: list[AuthFile] | None = None

    def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository, of the first file that knows any.

        Raises CredentialHelperError when only a helper that gives no answer may know one.
        """
        if self._files is None:
            files = [AuthFile.load(place) for place in self._places]
            self.warnings += [file.warning for file in files if file.warning]
            self._files = [file for file in files if file.value]  # most places hold nothing
        missing: errors.MissingHelperError | None = None
        for file in self._files:
            try:
                found = file.find(registry, repository)
            except errors.MissingHelperError as exc:
                missing = missing or exc
            else:
                if found:
                    return found
        if missing:
            raise missing
        return None


class AuthFile:
    """One file with logins (docker/cli v28, configfile/file.go)."""

    def __init__(self, place: AuthPlace, value: dict[str, t.Any], warning: str = "") -> None:
        self.path = place.name
        self.is_docker = place.is_docker
        self.value = value
        self.warning = warning
        self.auths: dict[str, t.Any] = _field(value, "auths") or {}
        self._failed: dict[str, errors.CredentialHelperError] = {}
        self._scopes: dict[str, list[str]] = {}
        for key in self.auths:
            keys = self._scopes.setdefault(scope_of_key(key), [])
            keys.insert(0 if key == scope_of_key(key) else len(keys), key)

    @classmethod
    def load(cls, place: AuthPlace) -> AuthFile:
        """Read one, which may be missing; or AuthFileError, without its content."""
        raw, warning = (
            (place.text.encode("utf-8", "surrogateescape"), "")
            if place.text is not None
            else _read(place)
        )
        fault = encoding_fault(raw)
        if fault:
            hint = "Save it as UTF-8 without a byte order mark, as docker and skopeo need it."
            raise errors.AuthFileError(f"{place.name}: {fault}", hint, path=place.name)
        try:
            value = json.loads(raw.decode("utf-8", "replace")) if raw.strip() else None
        except (ValueError, RecursionError):
            raise errors.AuthFileError(f"{place.name}: is not JSON", path=place.name) from None
        value = {} if value is None else {"auths": value} if place.legacy else value
        fault = _fault(value)
        if fault:
            raise errors.AuthFileError(f"{place.name}: {fault}", path=place.name)
        return cls(place, value, warning)

    def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository: of a helper, of the most specific key, of the host.

        Raises CredentialHelperError when a helper fails, or is missing and no key has a login.
        """
        host = host_of_key(registry)
        keys = [key for scope in lookup_keys(host, repository) for key in self.keys(scope)]
        if self.is_docker:  # to docker, each key of a host is one for all of it
            keys += [key for key in self.auths if host_of_key(key) == host]
        return self._of_helper(registry, keys) or self._first(keys)

    def find_exactly(self, target: str) -> Credentials | None:
        """The login for a whole host, or for ``host/path``, and for nothing above or below that."""
        keys = self.keys(scope_of_key(target))
        return self._of_helper(target, keys) or self._first(keys)

    def keys(self, scope: str) -> list[str]:
        """The keys of ``auths`` that are for a host, or for ``host/path``."""
        return self._scopes.get(scope, [])

    def helper(self, target: str) -> CredentialHelper | None:
        """The program that keeps the login of a host, never that for a part of it; an empty name means the file."""
        if "/" in scope_of_key(target):
            return None
        helpers = _field(self.value, "credHelpers") or {}
        names = [name for key, name in helpers.items() if host_of_key(key) == host_of_key(target)]
        name = names[0] if names else _field(self.value, "credsStore")
        return CredentialHelper(name) if name else None

    def _of_helper(self, target: str, keys: t.Sequence[str]) -> Credentials | None:
        helper, host = self.helper(target), host_of_key(target)
        if not helper:
            return None
        try:
            # Asked once only: one that hangs would be waited for with each repository.
            if host in self._failed:
                raise self._failed[host].copy()
            found = helper.get(server_key(target))
        except errors.CredentialHelperError as exc:
            self._failed[host] = exc
            if isinstance(exc, errors.MissingHelperError) and self._first(keys):
                return None
            raise
        origin = f"{helper.program}, which {self.path} names"
        return self._from(found, origin, host) if found else None

    def _first(self, keys: t.Sequence[str]) -> Credentials | None:
        return next(filter(None, (self._entry(self.auths[key], key) for key in keys)), None)

    def _entry(self, entry: t.Mapping[str, t.Any] | None, key: str) -> Credentials | None:
        auth, user, password, identity, token = (_field(entry or {}, name) or "" for name in _ENTRY)
        if auth.strip():
            user, password = self._decode(auth, key)
        found = Credentials(user, password)
        if token:
            if not re.fullmatch("[!-~]+", token):
                where = f"{self.path}: registrytoken of the entry {_shown(key)}"
                raise errors.AuthFileError(
                    f"{where} has characters that must not be in a header", path=self.path
                )
            found = Credentials(registry_token=token)
        elif identity:
            found = Credentials(user, identity_token=identity)
        elif not password:
            return None
        return self._from(found, f"the entry {_shown(key)} of {self.path}", scope_of_key(key))

    def _from(self, who: Credentials, origin: str, scope: str) -> Credentials:
        way_out = f"registry_url: {scope}, config_path: {self.path} and state: absent"
        return replace(who, origin=origin, way_out=way_out if os.path.isabs(self.path) else "")

    def _decode(self, text: str, key: str) -> tuple[str, str]:
        subject = f"{self.path}: auth of the entry {_shown(key)}"
        try:
            # Line breaks count for nothing, as to docker and skopeo; nor do blanks.
            raw = base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            raise errors.AuthFileError(f"{subject} is not base64 text", path=self.path) from None
        user, colon, password = raw.decode("utf-8", _BYTES).partition(":")
        if not colon:
            raise errors.AuthFileError(f"{subject} has no colon", path=self.path)
        return user, password.strip("\x00")


def _shown(key: str) -> str:
    """A key for a message, without what may be a secret in a URL."""
    scheme = (re.match("https?://", key) or [""])[0]
    place, *query = re.split("[?#]", key[len(scheme) :], maxsplit=1)
    if "@" in "".join(query):  # it may be a password that has the mark in it
        place = "..."
    return errors.printable(scheme + place.rpartition("@")[2])


def field_name(table: t.Mapping[str, t.Any], name: str) -> str:
    """The spelling of a key in a file: docker, podman and skopeo take small letters for capitals."""
    return next((key for key in table if key.lower() == name.lower()), name)


def _field(table: t.Mapping[str, t.Any], name: str) -> t.Any:
    return table.get(name) if name in table else table.get(field_name(table, name))


def _fault(value: t.Any) -> str:
    """What is wrong with the types in a file with logins, "" if nothing; docker and skopeo refuse the same."""
    auths, helpers = (
        _field(value, key) or {} if isinstance(value, dict) else None
        for key in ("auths", "credHelpers")
    )
    if not isinstance(auths, dict) or not isinstance(helpers, dict):
        return "is not a file with logins"
    for key, entry in auths.items():
        where = f"the entry {_shown(key)}"
        if not isinstance(entry, (dict, type(None))):
            return f'{where} is {_KINDS[type(entry)]}, not a login such as {{"auth": ...}}'
        for name in _ENTRY:
            if not isinstance(_field(entry or {}, name), (str, type(None))):
                return f"{where} is not a login: {name} is not a string"
    for key, name in [*helpers.items(), ("credsStore", _field(value, "credsStore"))]:
        if not isinstance(name, (str, type(None))):
            return f"the credential helper of {_shown(key)} is not a string"
    return ""


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
                raise errors.MissingHelperError(
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
                    f"{self.program}: the answer is larger than {errors.readable_size(_MAX_OUTPUT)}"
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
    """The registry that a key of ``auths`` is for."""
    scheme, _colon, rest = key.rpartition("://")
    host = re.split("[/?#]" if scheme else "/", rest)[0].lower()
    host = host.rpartition("@")[2] if scheme else host
    return DOCKER_HUB if host in _HUB_HOSTS else host


def scope_of_key(key: str) -> str:
    """What a key of ``auths`` is for: ``host``, or ``host/path``; the path of a URL counts for nothing."""
    path = "" if "://" in key else key.partition("/")[2].strip("/")
    return f"{host_of_key(key)}/{path}" if path else host_of_key(key)


def _read(place: AuthPlace) -> tuple[bytes, str]:
    """The bytes of a file, and a warning if others can read it; b"" if it is missing.

    A file that is only tried counts as missing where we may not look, and where it is none of ours.
    """
    target = os.path.realpath(place.name)
    if place.tried and is_hidden(target):
        return b"", ""
    try:
        raw = read_file(target, _MAX_FILE)
        mode = stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        return b"", ""
    except errors.StoreAccessError as exc:
        cause, text = exc.__cause__, str(exc)
        closed = isinstance(cause, PermissionError) and place.tried and not is_ours(target)
        if closed or isinstance(cause, NotADirectoryError):
            return b"", ""
        named = text if target == place.name else f"{place.name}: {text}"
        raise errors.AuthFileError(named, exc.hint, path=place.name) from exc
    return (
        raw,
        f"{place.name} holds logins and can be read by others (mode {mode:04o})"
        if mode & 0o077
        else "",
    )
