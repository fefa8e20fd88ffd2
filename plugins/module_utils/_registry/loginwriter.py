# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and remove logins, in login files and in credential helpers."""

from __future__ import annotations

import base64
import json
import os
import typing as t

from .._image import errors
from .._store.writing import make_directory, write_file
from .credentials import TOKEN_USER, CredentialHelper, Credentials
from .loginfiles import AuthFile, AuthPlace, field_name, scope_of_key, server_key

_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700
# Locks a directory, so that other tasks wait before they write login files in it.
LockDirectory = t.Callable[[str], t.ContextManager[None]]


def save_login(path: str, registry: str, login: Credentials | None, lock: LockDirectory) -> None:
    """Write the login for a registry, or ``host/path``, to a file; None removes it. The rest of the file is kept.

    The file is replaced as a whole, with mode 0600, while ``lock`` holds its directory; a symbolic link stays, and its
    target is replaced. Raise AuthFileError if the file is malformed or not accessible.
    """
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    try:
        make_directory(directory, _PRIVATE_DIRECTORY)
        with lock(directory):
            data = with_login(AuthFile.load(AuthPlace(target)), registry, login)
            write_file(target, directory, data, _PRIVATE_FILE)
    except errors.StoreAccessError as exc:
        raise errors.AuthFileError(str(exc), exc.hint, path=path) from exc


def login_of(auth_file: AuthFile, target: str) -> Credentials | None:
    """Return the login under exactly this key, ``host`` or ``host/path``; None for none. It raises as ``find`` does."""
    return auth_file.under(target, auth_file.keys(scope_of_key(target)))


def with_login(auth_file: AuthFile, registry: str, login: Credentials | None) -> bytes:
    """Return the bytes of a login file in which the login for a registry is replaced, or removed for None."""
    value = dict(auth_file.value)
    auths = {
        key: entry
        for key, entry in auth_file.auths.items()
        if scope_of_key(key) != scope_of_key(registry)
    }
    if login:
        pair = f"{login.username}:{login.password}".encode()
        auths[server_key(registry)] = {"auth": base64.b64encode(pair).decode("ascii")}
    value[field_name(value, "auths")] = auths
    return (json.dumps(value, indent=2) + "\n").encode("utf-8")


def store_in_helper(helper: CredentialHelper, registry: str, login: Credentials | None) -> None:
    """Store the login for a registry in a helper, or remove it for None; a missing one is removed already.

    Raise CredentialHelperError if the helper fails.
    """
    server = server_key(registry)
    if login is None:
        code, output = helper.run("erase", server)
        done = code == 0 or "credentials not found" in output
    else:
        user = TOKEN_USER if login.identity_token else login.username
        secret = login.identity_token or login.password
        value = {"ServerURL": server, "Username": user, "Secret": secret}
        code, _output = helper.run("store", json.dumps(value))
        done = code == 0
    if not done:
        verb = "store" if login else "erase"
        raise errors.CredentialHelperError(
            f"{helper.program} could not {verb} the login for {server} (status {code})"
        )
