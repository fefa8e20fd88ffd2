# SPDX-License-Identifier: GPL-3.0-or-later
"""Where logins are kept: Docker's ``config.json`` and containers' ``auth.json``, read and written.

Docker: docker/cli v28, cli/config/configfile/file.go. Containers: containers-auth.json(5) and containers/image
v5, pkg/docker/config. Both formats are one: ``auths``, ``credHelpers``, ``credsStore``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.lockstep.images.plugins.module_utils._oci import files
from ansible_collections.lockstep.images.plugins.module_utils._oci.challenge import Credentials
from ansible_collections.lockstep.images.plugins.module_utils._oci.credential_helper import (
    CredentialHelper,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    AuthFileError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.reference import DOCKER_HUB

HUB_KEY = "https://index.docker.io/v1/"
"""The key under which Docker keeps the login for Docker Hub, in files and in helpers."""

_HUB_HOSTS = frozenset((DOCKER_HUB, "index.docker.io", "registry-1.docker.io"))
_MAX_FILE = 16 * 1024 * 1024
_LOCK_TIMEOUT = 30.0


@dataclass(frozen=True)
class Place:
    """Where a login may be: a file, or the text of an environment variable."""

    name: str
    text: str | None = None
    legacy: bool = False


def places(config_path: str | None, env: t.Mapping[str, str], home: str, uid: int) -> list[Place]:
    """Where to look, in order. A file the user names is the only one (containers-auth.json(5))."""
    explicit = config_path or env.get("REGISTRY_AUTH_FILE")
    if explicit:
        return [Place(explicit)]
    found = []
    runtime = env.get("XDG_RUNTIME_DIR")
    found.append(
        Place(
            os.path.join(
                runtime or f"/run/containers/{uid}",
                *(["containers"] if runtime else []),
                "auth.json",
            )
        )
    )
    config = env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    found.append(Place(os.path.join(config, "containers", "auth.json")))
    if env.get("DOCKER_AUTH_CONFIG"):
        found.append(Place("DOCKER_AUTH_CONFIG", env["DOCKER_AUTH_CONFIG"]))
    found.append(Place(docker_config(env, home)))
    found.append(Place(os.path.join(home, ".dockercfg"), legacy=True))
    return found


def docker_config(env: t.Mapping[str, str], home: str) -> str:
    """The file ``docker login`` writes."""
    return os.path.join(env.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")


def login_path(config_path: str | None, env: t.Mapping[str, str], home: str) -> str:
    """The file a login goes to: the one named, else ``REGISTRY_AUTH_FILE``, else Docker's."""
    return config_path or env.get("REGISTRY_AUTH_FILE") or docker_config(env, home)


class CredentialStore:
    """Every login a user of this machine has. ``warnings`` collects what is unsafe about the files read."""

    def __init__(self, where: t.Sequence[Place]) -> None:
        self._places = where
        self._files: list[AuthFile] | None = None
        self.warnings: list[str] = []

    def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository, None for none: the first file that knows any decides."""
        for auth_file in self._loaded():
            found = auth_file.find(registry, repository)
            if found:
                return found
        return None

    def _loaded(self) -> list[AuthFile]:
        if self._files is None:
            self._files = [AuthFile.load(place) for place in self._places]
            self.warnings += [file.warning for file in self._files if file.warning]
        return self._files


class AuthFile:
    """One file with logins. What it holds beside them is kept as it is."""

    def __init__(self, path: str, value: dict[str, t.Any], warning: str = "") -> None:
        self.path = path
        self.value = value
        self.warning = warning

    @classmethod
    def load(cls, place: Place) -> AuthFile:
        """Read one; a missing or empty file has no logins. Raises AuthFileError that names the file only."""
        warning = ""
        if place.text is not None:
            raw = place.text.encode("utf-8", "surrogateescape")
        else:
            raw, warning = _read(place.name)
        if not raw.strip():
            return cls(place.name, {}, warning)
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise AuthFileError(f"{place.name}: is not JSON", path=place.name) from None
        if value is None:
            value = {}
        if place.legacy:
            value = {"auths": value}
        shapes_are_right = isinstance(value, dict) and all(
            isinstance(value.get(key) or {}, dict) for key in ("auths", "credHelpers")
        )
        if not shapes_are_right:
            raise AuthFileError(f"{place.name}: is not a file with logins", path=place.name)
        return cls(place.name, value, warning)

    def find(self, registry: str, repository: str) -> Credentials | None:
        """The login for a repository: helper of the host, helper of the file, then the most specific key."""
        helper = self.helper(registry)
        if helper:
            found = helper.get(server_key(registry))
            if found:
                return found
        auths = self.value.get("auths") or {}
        for key in lookup_keys(registry, repository):
            found = self._entry(auths, key)
            if found:
                return found
        for key in auths:
            if _is_host_key(key, registry):
                found = self._entry(auths, key)
                if found:
                    return found
        return None

    def helper(self, registry: str) -> CredentialHelper | None:
        """The program that keeps the login of a host, if the file names one."""
        helpers = self.value.get("credHelpers") or {}
        for key, name in helpers.items():
            if isinstance(name, str) and name and host_of_key(key) == registry.lower():
                return CredentialHelper(name)
        name = self.value.get("credsStore")
        return CredentialHelper(name) if isinstance(name, str) and name else None

    def with_login(self, registry: str, who: Credentials | None) -> bytes:
        """The bytes of this file with the login of one host replaced, or dropped for None."""
        value = dict(self.value)
        auths = {
            key: entry
            for key, entry in (value.get("auths") or {}).items()
            if not _is_host_key(key, registry)
        }
        if who:
            entry = {
                "auth": base64.b64encode(f"{who.username}:{who.password}".encode()).decode("ascii")
            }
            auths[server_key(registry)] = entry
        value["auths"] = auths
        return (json.dumps(value, indent=2) + "\n").encode("utf-8")

    def _entry(self, auths: dict[str, t.Any], key: str) -> Credentials | None:
        entry = auths.get(key)
        if not isinstance(entry, dict):
            return None
        texts = {
            name: entry.get(name) or ""
            for name in ("auth", "username", "password", "identitytoken", "registrytoken")
        }
        if not all(isinstance(text, str) for text in texts.values()):
            raise AuthFileError(f"{self.path}: the entry {key} is not a login", path=self.path)
        if texts["registrytoken"]:
            return Credentials(registry_token=texts["registrytoken"])
        user, password = texts["username"], texts["password"]
        if texts["auth"]:
            user, password = self._decode(texts["auth"], key)
        if texts["identitytoken"]:
            return Credentials(username=user, identity_token=texts["identitytoken"])
        return Credentials(username=user, password=password) if password else None

    def _decode(self, text: str, key: str) -> tuple[str, str]:
        try:
            decoded = base64.b64decode(text, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise AuthFileError(
                f"{self.path}: auth of the entry {key} is not base64 text", path=self.path
            ) from None
        user, colon, password = decoded.partition(":")
        if not colon:
            raise AuthFileError(
                f"{self.path}: auth of the entry {key} has no colon", path=self.path
            )
        return user, password.strip("\x00")


def save_login(path: str, registry: str, who: Credentials | None) -> None:
    """Write (or, with None, drop) a login; other writers of this kind are waited for, all else in the file is kept.

    The new file has mode 0600. A symbolic link stays one: its target is replaced.
    """
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    try:
        _make_private_directory(directory)
        with files.locked(directory, exclusive=True, timeout=_LOCK_TIMEOUT, create=False):
            auth_file = AuthFile.load(Place(target))
            files.write_file(target, directory, auth_file.with_login(registry, who), mode=0o600)
    except StoreAccessError as exc:
        raise AuthFileError(str(exc), exc.hint, path=path) from exc


def lookup_keys(registry: str, repository: str) -> list[str]:
    """The keys for a repository, most specific first: ``host/a/b``, ``host/a``, ``host``."""
    path = f"{registry}/{repository}" if repository else registry
    keys = []
    while path:
        keys.append(path)
        path = path.rpartition("/")[0]
    return keys


def server_key(registry: str) -> str:
    """The name of a registry in ``auths`` and towards helpers."""
    return HUB_KEY if registry == DOCKER_HUB else registry


def host_of_key(key: str) -> str:
    """The registry a key of ``auths`` stands for: scheme and path are dropped, Docker Hub's names are one."""
    host = key.partition("://")[2] or key
    host = host.partition("/")[0].lower()
    return DOCKER_HUB if host in _HUB_HOSTS else host


def _is_host_key(key: str, registry: str) -> bool:
    """Whether a key is for the whole host, in any of its spellings, and not for a namespace of it."""
    rest = (key.partition("://")[2] or key).partition("/")[2].strip("/")
    return host_of_key(key) == registry.lower() and (
        rest in ("", "v1", "v2") if "://" in key else rest == ""
    )


def _read(path: str) -> tuple[bytes, str]:
    """The bytes of a file, b"" for none, and a warning when others may read it. A link is followed, as Docker does."""
    target = os.path.realpath(path)
    try:
        raw = files.read_file(target, _MAX_FILE)
        mode = stat.S_IMODE(os.stat(target).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return b"", ""
    except StoreAccessError as exc:
        if isinstance(exc.__cause__, NotADirectoryError):
            return b"", ""
        raise AuthFileError(str(exc), exc.hint, path=path) from exc
    return (
        raw,
        f"{path} holds logins and can be read by others (mode {mode:04o})" if mode & 0o077 else "",
    )


def _make_private_directory(path: str) -> None:
    if not os.path.isdir(path):
        files.make_directory(os.path.dirname(path))
        with files.access(path), contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
