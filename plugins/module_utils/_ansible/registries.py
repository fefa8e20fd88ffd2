# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries, reached as the options of a task say."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.challenge import Credentials
from ansible_collections.lockstep.images.plugins.module_utils._oci.credentials import (
    CredentialStore,
    login_path,
    places,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._oci.registry import Registries
from ansible_collections.lockstep.images.plugins.module_utils._oci.transport import (
    HttpClient,
    HttpOptions,
)

Parameters = t.Mapping[str, t.Any]


def http_client(params: Parameters, connections: int) -> HttpClient:
    """The HTTP client of a task."""
    if params["timeout"] <= 0 or params["retries"] < 0:
        raise InputError("timeout must be more than 0 seconds and retries not less than 0")
    return HttpClient(
        HttpOptions(
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            client_cert=params["client_cert"],
            client_key=params["client_key"],
            plain_http=params["plain_http"],
            use_proxy=params["use_proxy"],
            timeout=params["timeout"],
            retries=params["retries"],
            connections=connections,
        )
    )


def given_login(params: Parameters) -> Credentials | None:
    """The login the task itself gives, None for none."""
    if not params["username"]:
        return None
    return Credentials(username=params["username"], password=params["password"] or "")


def credential_store(params: Parameters) -> CredentialStore:
    """The logins of the user the task runs as."""
    return CredentialStore(
        places(params["config_path"], os.environ, os.path.expanduser("~"), os.geteuid())
    )


def login_file(params: Parameters) -> str:
    """The file a login of this task goes to."""
    return login_path(params["config_path"], os.environ, os.path.expanduser("~"))


def open_registries(params: Parameters, connections: int) -> Registries:
    """The registries of a task, with the login it gives, or else with those its user has."""
    if connections < 1:
        raise InputError("parallel must be at least 1")
    given, stored = given_login(params), credential_store(params)
    find = (lambda _registry, _repository: given) if given else stored.find
    registries = Registries(http_client(params, connections), find)
    registries.notes = stored.warnings
    return registries
