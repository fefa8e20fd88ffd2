# SPDX-License-Identifier: GPL-3.0-or-later
"""Login: store the login for a registry, or remove it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._image import errors
from .._image.names import parse_registry
from .._plan import Action, Plan
from .._registry.credentials import CredentialHelper, Credentials
from .._registry.loginfiles import AuthFile, AuthPlace, containers_config, docker_config
from .._registry.loginwriter import login_of, save_login, store_in_helper
from .._registry.urls import parse_url, repository_name
from .._store.files import user_name
from .._store.writing import locked
from .leftovers import remove_leftovers

if t.TYPE_CHECKING:  # the controller, which only reads names of logins, does not compile a registry client for each run
    from .._execution import Pool
    from .._registry.registry import Registry

_LOCK_TIMEOUT = 30.0  # seconds


def lock_directory(path: str) -> t.ContextManager[None]:
    """Lock a directory for this task alone to write login files in it; raise LockedError after 30 s."""
    return locked(path, exclusive=True, timeout=_LOCK_TIMEOUT, create=False)


@dataclass(frozen=True)
class SaveLogin(Action):
    """Store a login in a file or a helper, or remove it if ``login`` is None."""

    registry: str
    login: Credentials | None
    path: str
    helper: CredentialHelper | None = field(repr=False)

    @property
    def subject(self) -> str:  # type: ignore[override]
        """Return the registry, or ``host/path``, as in the diff."""
        return self.registry

    def summary(self) -> dict[str, t.Any]:
        """Return the user and where the login is stored, never the secret."""
        return {
            "action": "store_login" if self.login else "remove_login",
            "registry": self.registry,
            "username": self.login.username if self.login else None,
            "stored_in": stored_in(self.path, self.helper),
        }

    def apply(self, pool: Pool) -> None:
        """Write the login."""
        if self.helper:
            store_in_helper(self.helper, self.registry, self.login)
        else:
            save_login(self.path, self.registry, self.login, lock_directory)


def plan_login(
    registry: Registry,
    login: Credentials | None,
    path: str,
    *,
    verify: bool,
    reauthorize: bool,
    namespace: str = "",
) -> Plan:
    """Plan to store a login for a registry, or for a ``namespace`` in it, in the file ``path`` or the helper it names.

    With ``verify``, ask the registry whether it accepts the login; if the same login is stored already, only with
    ``reauthorize``. Raise AuthenticationError if it does not, InputError for a login without user or password.
    """
    target = _key(registry.name, namespace)
    if login is None or not login.password:  # to Ansible, an option that is null is set
        raise errors.InputError(f"{target}: a login needs a username and a password")
    auth_file = AuthFile.load(AuthPlace(path))
    helper, before = auth_file.helper(target), login_of(auth_file, target)
    is_stored = before == login
    warnings = [auth_file.warning] if auth_file.warning else []
    if namespace:
        warnings += _limits(auth_file, registry.name, target)
    verified = False
    if verify and (reauthorize or not is_stored):
        verified = bool(ping(registry))
        if not verified:
            warnings.append(
                f"{registry.name} requires no login, so the login could not be verified"
            )
    return Plan(
        names=() if is_stored else (SaveLogin(target, login, path, helper),),
        last=remove_leftovers(os.path.dirname(os.path.realpath(path))),
        before=_shown(target, before),
        after=_shown(target, login),
        facts={"login_result": {"verified": verified, "stored_in": stored_in(path, helper)}},
        warnings=lambda: warnings + registry.warnings,
    )


def _limits(auth_file: AuthFile, registry: str, target: str) -> list[str]:
    """Return the warnings for a login for a namespace; raise InputError if a helper would have to keep it."""
    helper = auth_file.helper(registry)
    if helper:
        raise errors.InputError(
            f"{target}: {auth_file.path} names {helper.program}, which keeps logins for whole registries only",
            "Set config_path, for example ~/.config/containers/auth.json, which podman and skopeo read.",
        )
    if auth_file.is_docker:
        return [
            f"{auth_file.path} has Docker's format: docker uses the login for {target} for all of {registry}"
        ]
    return []


def plan_logout(registry: str, path: str, namespace: str = "") -> Plan:
    """Plan to remove the login for a registry, or for a namespace in it, if there is one."""
    target = _key(registry, namespace)
    auth_file = AuthFile.load(AuthPlace(path))
    helper, before = auth_file.helper(target), login_of(auth_file, target)
    return Plan(
        names=(SaveLogin(target, None, path, helper),) if before else (),
        last=remove_leftovers(os.path.dirname(os.path.realpath(path))),
        before=_shown(target, before),
        after=_shown(target, None),
        facts={"login_result": {"verified": False, "stored_in": stored_in(path, helper)}},
    )


def ping(registry: Registry) -> str:
    """Request the API with the known login; return how it was asked for: ``basic``, ``bearer``, or "" if it was not.

    Raise AuthenticationError if the registry refuses the login, NotFoundError if there is no registry.
    """
    response = registry.request("GET", "", "")
    if response.status != 200:
        registry.fail(response, f"registry {registry.name}")
    response.close()
    return registry.login_scheme


def login_target(text: str) -> tuple[str, str]:
    """Return the registry and the namespace of ``host`` or ``host/path``, "" for none; raise InputError for other text."""
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
    """Return the path of the file for a login: ``config_path``, else ``REGISTRY_AUTH_FILE``, else Docker's.

    For a namespace, which Docker's format does not have, the last one is that of podman and skopeo. Raise InputError if
    the user has no home directory.
    """
    env = os.environ if env is None else env
    home = home or os.path.expanduser("~")
    default = containers_config(env, home) if namespace else docker_config(env, home)
    path = config_path or env.get("REGISTRY_AUTH_FILE") or default
    if path.startswith("~"):
        user = user_name(os.geteuid())
        raise errors.InputError(
            f"{user} has no home directory for a login file", "Set config_path."
        )
    return path


def _key(registry: str, namespace: str) -> str:
    return f"{registry}/{namespace}" if namespace else registry


def stored_in(path: str, helper: CredentialHelper | None) -> str:
    """Return where a login is stored: the path of the file, or the program of the helper."""
    return helper.program if helper else path


def _shown(registry: str, login: Credentials | None) -> dict[str, t.Any]:
    """Return a login for a diff: the user, never the secret."""
    return {registry: errors.printable(login.username) or "(token)"} if login else {}
