# SPDX-License-Identifier: GPL-3.0-or-later
"""Login: a registry's credentials come into a file, or leave it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.lockstep.images.plugins.module_utils._oci.challenge import Credentials
from ansible_collections.lockstep.images.plugins.module_utils._oci.credential_helper import (
    CredentialHelper,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.credentials import (
    AuthFile,
    Place,
    save_login,
    server_key,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.registry import Registry
from ansible_collections.lockstep.images.plugins.module_utils._plan import Plan


@dataclass(frozen=True)
class SaveLogin:
    """Write a login to a file or a helper, or with no ``who`` take it out."""

    registry: str
    who: Credentials | None
    path: str
    helper: CredentialHelper | None = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return {
            "action": "store_login" if self.who else "remove_login",
            "registry": self.registry,
            "username": self.who.username if self.who else None,
            "stored_in": stored_in(self.path, self.helper),
        }

    def apply(self) -> None:
        if self.helper is None:
            save_login(self.path, self.registry, self.who)
        elif self.who:
            self.helper.store(server_key(self.registry), self.who)
        else:
            self.helper.erase(server_key(self.registry))


def plan_login(
    registry: Registry, who: Credentials, path: str, *, verify: bool, reauthorize: bool
) -> Plan:
    """Keep a login. The registry is asked before anything is written, and again only if ``reauthorize`` wants it.

    Raises AuthenticationError when the registry refuses the login; nothing is written then.
    """
    auth_file = AuthFile.load(Place(path))
    helper, before = auth_file.helper(registry.name), auth_file.find(registry.name, "")
    same = before == who
    verified, warnings = False, [auth_file.warning] if auth_file.warning else []
    if verify and (reauthorize or not same):
        verified = bool(registry.ping())
        if not verified:
            warnings.append(
                f"{registry.name} asks for no login, so the one given could not be verified"
            )
    return Plan(
        names=() if same else (SaveLogin(registry.name, who, path, helper),),
        before=_shown(registry.name, before),
        after=_shown(registry.name, who),
        facts={"login_result": {"verified": verified, "stored_in": stored_in(path, helper)}},
        warnings=lambda: warnings + registry.warnings,
    )


def plan_logout(registry: str, path: str) -> Plan:
    """Drop the login of a registry; one that is not there is no change."""
    auth_file = AuthFile.load(Place(path))
    helper, before = auth_file.helper(registry), auth_file.find(registry, "")
    return Plan(
        names=(SaveLogin(registry, None, path, helper),) if before else (),
        before=_shown(registry, before),
        after=_shown(registry, None),
        facts={"login_result": {"verified": False, "stored_in": stored_in(path, helper)}},
    )


def stored_in(path: str, helper: CredentialHelper | None) -> str:
    """Where a login is, in words: the path of the file or the name of the helper."""
    return helper.program if helper else path


def _shown(registry: str, who: Credentials | None) -> dict[str, t.Any]:
    """A login for a diff: who, never the secret."""
    return {registry: who.username or "(token)"} if who else {}
