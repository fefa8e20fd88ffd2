# SPDX-License-Identifier: GPL-3.0-or-later
"""The login files of a user: where they are, and the logins in them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import stat
import typing as t
from dataclasses import replace

from .._image import errors
from .._image.names import DOCKER_HUB
from .._store.files import read_file
from .credentials import BYTES, CredentialHelper, Credentials, lookup_keys

# The key under which Docker keeps the login for Docker Hub.
HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
# The keys of an entry that are read, and the words for the types of JSON.
_ENTRY = ("auth", "username", "password", "identitytoken", "registrytoken")
_KINDS = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
}
_MAX_FILE = 16 * 1024 * 1024


class AuthPlace(t.NamedTuple):
    """A login file, or the ``text`` of a variable; ``tried`` if the user did not name it, ``legacy`` for a .dockercfg."""

    name: str
    text: str | None = None
    legacy: bool = False
    tried: bool = False

    @property
    def is_docker(self) -> bool:
        """Return whether it has Docker's format, which has no logins for a part of a registry."""
        return self.legacy or self.text is not None or os.path.basename(self.name) == "config.json"


def places(
    config_path: str | None, env: t.Mapping[str, str], home: str, uid: int
) -> list[AuthPlace]:
    """Return the places of logins in order; a file that the user names is the only one (containers-auth.json(5))."""
    explicit = config_path or env.get("REGISTRY_AUTH_FILE")
    if explicit:
        return [AuthPlace(explicit)]
    runtime = env.get("XDG_RUNTIME_DIR")
    directory = f"{runtime}/containers" if runtime else f"/run/containers/{uid}"
    found = [AuthPlace(f"{directory}/auth.json"), AuthPlace(containers_config(env, home))]
    if env.get("DOCKER_AUTH_CONFIG"):
        found.append(AuthPlace("DOCKER_AUTH_CONFIG", env["DOCKER_AUTH_CONFIG"]))
    found += [AuthPlace(docker_config(env, home)), AuthPlace(f"{home}/.dockercfg", legacy=True)]
    # The home of a user that the system does not know stays "~".
    return [place._replace(tried=True) for place in found if not place.name.startswith("~")]


def docker_config(env: t.Mapping[str, str], home: str) -> str:
    """Return the path of the file that ``docker login`` writes."""
    return os.path.join(env.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json")


def containers_config(env: t.Mapping[str, str], home: str) -> str:
    """Return the path of the file of podman and skopeo that survives a reboot."""
    return os.path.join(env.get("XDG_CONFIG_HOME") or f"{home}/.config", "containers/auth.json")


class CredentialStore:
    """The logins in several places. They are read when the first login is looked for, and ``warnings`` are added then."""

    def __init__(self, places: t.Sequence[AuthPlace]) -> None:
        self.warnings: list[str] = []
        self._places = places
        self._files: list[AuthFile] | None = None

    def find(self, registry: str, repository: str) -> Credentials | None:
        """Return the login for a repository from the first file that has one, None if none has.

        Raise MissingHelperError if a missing helper may have it, and what ``AuthFile.load`` and ``AuthFile.find`` raise.
        """
        if self._files is None:
            files = [AuthFile.load(place) for place in self._places]
            self.warnings += [file.warning for file in files if file.warning]
            self._files = [file for file in files if file.value]  # most places are empty
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
    """One login file (docker/cli v28, configfile/file.go; containers-auth.json(5)). ``value`` is its JSON."""

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
        """Read a login file; a missing one is empty. Raise AuthFileError, which repeats no content, if it is malformed."""
        raw, warning = (
            _read(place) if place.text is None else (place.text.encode("utf-8", BYTES), "")
        )
        fault = encoding_fault(raw)
        if fault:
            hint = "Save it as UTF-8 without a byte order mark, as docker and skopeo require."
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
        """Return the login for a repository: from a helper, else under the most specific key; None for none.

        Raise CredentialHelperError if the helper fails, or is missing and no key has a login.
        """
        host = host_of_key(registry)
        keys = [key for scope in lookup_keys(host, repository) for key in self.keys(scope)]
        if self.is_docker:  # docker uses each key of a host for all of it
            keys += [key for key in self.auths if host_of_key(key) == host]
        return self.under(registry, keys)

    def under(self, target: str, keys: t.Sequence[str]) -> Credentials | None:
        """Return the login that the helper of ``target`` has, else that of the first of ``keys`` with one."""
        return self._of_helper(target, keys) or self._first(keys)

    def keys(self, scope: str) -> list[str]:
        """Return the keys of ``auths`` that mean ``host`` or ``host/path``, the plain spelling first."""
        return self._scopes.get(scope, [])

    def helper(self, target: str) -> CredentialHelper | None:
        """Return the helper that keeps the login of a host, None for the file; helpers keep no login for a ``host/path``."""
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
            # Run once only: a helper that hangs would delay each repository.
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
                    f"{where} has characters that a header must not contain", path=self.path
                )
            found = Credentials(registry_token=token)
        elif identity:
            found = Credentials(user, identity_token=identity)
        elif not password:
            return None
        return self._from(found, f"the entry {_shown(key)} of {self.path}", scope_of_key(key))

    def _from(self, login: Credentials, origin: str, scope: str) -> Credentials:
        way_out = f"registry_url: {scope}, config_path: {self.path} and state: absent"
        return replace(login, origin=origin, way_out=way_out if os.path.isabs(self.path) else "")

    def _decode(self, text: str, key: str) -> tuple[str, str]:
        subject = f"{self.path}: auth of the entry {_shown(key)}"
        try:
            # docker and skopeo ignore line breaks; blanks are ignored, too.
            raw = base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            raise errors.AuthFileError(f"{subject} is not valid base64", path=self.path) from None
        user, colon, password = raw.decode("utf-8", BYTES).partition(":")
        if not colon:
            raise errors.AuthFileError(f"{subject} has no colon", path=self.path)
        return user, password.strip("\x00")


def _shown(key: str) -> str:
    """Return a key for a message, without the parts of a URL that may be secret."""
    scheme = (re.match("https?://", key) or [""])[0]
    place, *query = re.split("[?#]", key[len(scheme) :], maxsplit=1)
    if "@" in "".join(query):  # it may be a password with one of these marks in it
        place = "..."
    return errors.printable(scheme + place.rpartition("@")[2])


def field_name(table: t.Mapping[str, t.Any], name: str) -> str:
    """Return the spelling of a key in a table; docker, podman and skopeo ignore case in keys."""
    return next((key for key in table if key.lower() == name.lower()), name)


def _field(table: t.Mapping[str, t.Any], name: str) -> t.Any:
    return table.get(name) if name in table else table.get(field_name(table, name))


def _fault(value: t.Any) -> str:
    """Return what is wrong with the types in a login file, "" if nothing; docker and skopeo refuse the same."""
    auths, helpers = (
        _field(value, key) or {} if isinstance(value, dict) else None
        for key in ("auths", "credHelpers")
    )
    if not isinstance(auths, dict) or not isinstance(helpers, dict):
        return "is not a login file"
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


def server_key(registry: str) -> str:
    """Return the key of a registry in ``auths`` and for helpers."""
    return HUB_KEY if registry == DOCKER_HUB else registry


def host_of_key(key: str) -> str:
    """Return the registry (``host[:port]``) that a key of ``auths`` means."""
    scheme, _colon, rest = key.rpartition("://")
    host = re.split("[/?#]" if scheme else "/", rest)[0].lower()
    host = host.rpartition("@")[2] if scheme else host
    return DOCKER_HUB if host in _HUB_HOSTS else host


def scope_of_key(key: str) -> str:
    """Return ``host`` or ``host/path``, whichever a key of ``auths`` means; the path of a URL is ignored."""
    path = "" if "://" in key else key.partition("/")[2].strip("/")
    return f"{host_of_key(key)}/{path}" if path else host_of_key(key)


def _read(place: AuthPlace) -> tuple[bytes, str]:
    """Return the bytes of a file, and a warning if other users can read it; b"" if it is missing.

    A file that the user did not name is missing, too, if it is in a closed directory or belongs to another user.
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
        closed = isinstance(cause, PermissionError) and place.tried and not _is_ours(target)
        if closed or isinstance(cause, NotADirectoryError):
            return b"", ""
        named = text if target == place.name else f"{place.name}: {text}"
        raise errors.AuthFileError(named, exc.hint, path=place.name) from exc
    return (
        raw,
        f"{place.name} contains logins and is readable by others (mode {mode:04o})"
        if mode & 0o077
        else "",
    )


def is_hidden(path: str) -> bool:
    """Return whether a path is below a directory that this user cannot search."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _is_ours(path: str) -> bool:
    """Return whether a path, or a directory above it except the root directory, belongs to this user."""
    while path != os.path.dirname(path):
        with contextlib.suppress(OSError):
            if os.stat(path).st_uid == os.geteuid():
                return True
        path = os.path.dirname(path)
    return False


def encoding_fault(raw: bytes) -> str:
    """Return why most tools cannot read a text as UTF-8, "" if they can."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark (BOM)"
    return (
        "is in UTF-16, not in UTF-8"
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4]
        else ""
    )
