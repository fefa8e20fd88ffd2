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
from dataclasses import dataclass, field

from . import errors
from .files import read_file
from .names import DOCKER_HUB

# The key under which Docker keeps the login for Docker Hub.
HUB_KEY = "https://index.docker.io/v1/"
# The user name with which a helper says that its secret is an identity token.
TOKEN_USER = "<token>"
_HUB_HOSTS = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_NOT_FOUND = "credentials not found in native keychain"
_MAX_FILE = 16 * 1024 * 1024
_MAX_OUTPUT = 1024 * 1024


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
