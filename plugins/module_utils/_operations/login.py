# SPDX-License-Identifier: GPL-3.0-or-later
"""Login: a registry's credentials come into a file, or leave it."""

from __future__ import annotations

import base64
import json
import os
import typing as t
from dataclasses import dataclass, field

from .._image import errors
from .._image.names import parse_registry
from .._plan import Action, Plan, Pool
from .._registry.credentials import (
    TOKEN_USER,
    AuthFile,
    AuthPlace,
    CredentialHelper,
    Credentials,
    containers_config,
    docker_config,
    field_name,
    scope_of_key,
    server_key,
)
from .._registry.hosts import parse_url, repository_name
from .._registry.registry import Registry
from .._store.files import make_directory, user_name, write_file
from .._store.lock import locked
from .leftovers import remove_leftovers

_LOCK_TIMEOUT = 30.0
_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700


@dataclass(frozen=True)
class SaveLogin(Action):
    """Write a login to a file or a helper, or with no ``who`` take it out."""

    registry: str
    who: Credentials | None
    path: str
    helper: CredentialHelper | None = field(repr=False)

    @property
    def subject(self) -> str:
        """The registry, as in the diff."""
        return self.registry

    def summary(self) -> dict[str, t.Any]:
        """Where the login of whom goes; never the secret."""
        return {
            "action": "store_login" if self.who else "remove_login",
            "registry": self.registry,
            "username": self.who.username if self.who else None,
            "stored_in": stored_in(self.path, self.helper),
        }

    def apply(self, pool: Pool) -> None:
        """Write it."""
        if self.helper:
            tell_helper(self.helper, self.registry, self.who)
        else:
            save_login(self.path, self.registry, self.who)


def plan_login(
    registry: Registry,
    who: Credentials | None,
    path: str,
    *,
    verify: bool,
    reauthorize: bool,
    namespace: str = "",
) -> Plan:
    """Keep a login for a registry, or for a ``namespace`` in it.

    The registry is asked before anything is written, and again only if ``reauthorize`` wants it. Raises
    AuthenticationError when the registry refuses the login; nothing is written then.
    """
    target = _key(registry.name, namespace)
    if who is None or not who.password:  # an option that is null counts as given for Ansible
        raise errors.InputError(f"{target}: a login needs a username and a password")
    auth_file = AuthFile.load(AuthPlace(path))
    helper, before = auth_file.helper(target), auth_file.find_exactly(target)
    same = before == who
    warnings = [auth_file.warning] if auth_file.warning else []
    if namespace:
        warnings += _limits(auth_file, registry.name, target)
    verified = False
    if verify and (reauthorize or not same):
        verified = bool(ping(registry))
        if not verified:
            warnings.append(
                f"{registry.name} asks for no login, so the one given could not be verified"
            )
    return Plan(
        names=() if same else (SaveLogin(target, who, path, helper),),
        last=remove_leftovers(os.path.dirname(os.path.realpath(path))),
        before=_shown(target, before),
        after=_shown(target, who),
        facts={"login_result": {"verified": verified, "stored_in": stored_in(path, helper)}},
        warnings=lambda: warnings + registry.warnings,
    )


def _limits(auth_file: AuthFile, registry: str, target: str) -> list[str]:
    """What a file makes of a login for a namespace; or InputError if a helper keeps its logins."""
    helper = auth_file.helper(registry)
    if helper:
        raise errors.InputError(
            f"{target}: {auth_file.path} names {helper.program}, which keeps logins for whole registries only",
            "Give config_path, for example ~/.config/containers/auth.json, which podman and skopeo read.",
        )
    if auth_file.is_docker:
        return [
            f"{auth_file.path} has Docker's format: docker uses the login for {target} for all of {registry}"
        ]
    return []


def plan_logout(registry: str, path: str, namespace: str = "") -> Plan:
    """Drop the login of a registry, or of a namespace in it; one that is not there is no change."""
    auth_file, registry = AuthFile.load(AuthPlace(path)), _key(registry, namespace)
    helper, before = auth_file.helper(registry), auth_file.find_exactly(registry)
    return Plan(
        names=(SaveLogin(registry, None, path, helper),) if before else (),
        last=remove_leftovers(os.path.dirname(os.path.realpath(path))),
        before=_shown(registry, before),
        after=_shown(registry, None),
        facts={"login_result": {"verified": False, "stored_in": stored_in(path, helper)}},
    )


def ping(registry: Registry) -> str:
    """Ask for the API with the login at hand: ``basic``, ``bearer``, or "" when no login is wanted.

    Raises AuthenticationError when the registry refuses the login, NotFoundError when it has no such API.
    """
    response = registry.request("GET", "", "")
    if response.status != 200:
        registry.fail(response, f"registry {registry.name}")
    response.close()
    return registry.login_scheme


def login_target(text: str) -> tuple[str, str]:
    """A registry and "", or with ``host/path`` also the namespace that a login is for; or InputError."""
    try:
        return parse_registry(text), ""
    except errors.ReferenceError:
        if "://" in text or "/" not in text:
            raise
    _scheme, registry, path = parse_url(text, "registry_url")
    return registry, repository_name(path, "registry_url")


def login_path(
    config_path: str | None,
    env: t.Mapping[str, str] | None = None,
    home: str | None = None,
    namespace: str = "",
) -> str:
    """The file a login goes to: the one named, else ``REGISTRY_AUTH_FILE``, else Docker's.

    That of podman and skopeo for a namespace, which Docker's format does not know. InputError if nobody knows
    the home of the user.
    """
    env = os.environ if env is None else env
    home = home or os.path.expanduser("~")
    default = containers_config(env, home) if namespace else docker_config(env, home)
    path = config_path or env.get("REGISTRY_AUTH_FILE") or default
    if path.startswith("~"):
        user = user_name(os.geteuid())
        raise errors.InputError(
            f"{user} has no home directory for a file with logins", "Give config_path."
        )
    return path


def _key(registry: str, namespace: str) -> str:
    return f"{registry}/{namespace}" if namespace else registry


def stored_in(path: str, helper: CredentialHelper | None) -> str:
    """Where a login is, in words: the path of the file or the name of the helper."""
    return helper.program if helper else path


def save_login(path: str, registry: str, who: Credentials | None) -> None:
    """Write (or, with None, drop) a login; other writers of this kind are waited for, all else in the file is kept.

    The new file has mode 0600. A symbolic link stays one: its target is replaced.
    """
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    try:
        make_directory(directory, _PRIVATE_DIRECTORY)
        with locked(directory, exclusive=True, timeout=_LOCK_TIMEOUT, create=False):
            data = with_login(AuthFile.load(AuthPlace(target)), registry, who)
            write_file(target, directory, data, _PRIVATE_FILE)
    except errors.StoreAccessError as exc:
        raise errors.AuthFileError(str(exc), exc.hint, path=path) from exc


def with_login(auth_file: AuthFile, registry: str, who: Credentials | None) -> bytes:
    """The bytes of a file with the login of one host replaced, or dropped for None."""
    value = dict(auth_file.value)
    auths = {
        key: entry
        for key, entry in auth_file.auths.items()
        if scope_of_key(key) != scope_of_key(registry)
    }
    if who:
        pair = f"{who.username}:{who.password}".encode()
        auths[server_key(registry)] = {"auth": base64.b64encode(pair).decode("ascii")}
    value[field_name(value, "auths")] = auths
    return (json.dumps(value, indent=2) + "\n").encode("utf-8")


def tell_helper(helper: CredentialHelper, registry: str, who: Credentials | None) -> None:
    """Let a helper keep a login, or with None forget it; to forget one it does not have is no error."""
    server = server_key(registry)
    if who is None:
        code, output = helper.run("erase", server)
        done = code == 0 or "credentials not found" in output
    else:
        user = TOKEN_USER if who.identity_token else who.username
        secret = who.identity_token or who.password
        login = {"ServerURL": server, "Username": user, "Secret": secret}
        code, _output = helper.run("store", json.dumps(login))
        done = code == 0
    if not done:
        verb = "store" if who else "erase"
        raise errors.CredentialHelperError(
            f"{helper.program} could not {verb} the login for {server} (status {code})"
        )


def _shown(registry: str, who: Credentials | None) -> dict[str, t.Any]:
    """A login for a diff: who, never the secret."""
    return {registry: errors.printable(who.username) or "(token)"} if who else {}
