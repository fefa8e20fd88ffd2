# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

# Documented in with_logins.yml.
from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import BOOLEANS
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.names import DOCKER_HUB
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    login_target,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    lookup_keys,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.urls import parse_url
from ansible_collections.lockstep.images.plugins.plugin_utils._edge import (
    list_from,
    plain,
    raise_as,
)

Entry = dict[str, t.Any]

_LOGIN_KEYS = ("registry_url", "username", "password", "verify")
_PATHS = ("ca_path", "client_cert", "client_key")


def with_logins(settings, logins, paths=None):
    """Return entries of the option ``registries`` with their logins; see RETURN. Messages never repeat a value of an entry."""
    with raise_as(AnsibleFilterError):
        own = _by_prefix(settings, "registries", _prefix_of_entry)
        given = _by_prefix(logins, "logins", _prefix_of_login)
        named = [*own, *(prefix for prefix in given if prefix not in own)]
        return [_with_paths(_entry(prefix, own, given), plain(paths) or {}) for prefix in named]


def _by_prefix(
    values: t.Any, what: str, prefix_of: t.Callable[[Entry, str], str]
) -> dict[str, Entry]:
    """Return the entries of a list by the registry, or the part of a registry, that they apply to."""
    values = plain(values)
    if not isinstance(values, (list, str)):
        raise errors.InputError(f"{what}: is {_kind(values)}, expected a list")
    found: dict[str, Entry] = {}
    for number, value in enumerate(list_from(values)):
        where = f"{what}[{number}]"
        if not isinstance(value, dict):
            raise errors.InputError(f"{where}: is {_kind(value)}, expected a dictionary")
        prefix = prefix_of(value, where)
        if prefix in found:
            raise errors.InputError(f"{where}: {prefix} has an entry already")
        found[prefix] = value
    return found


def _kind(value: t.Any) -> str:
    """Return the type of a value in words, because the classes of Ansible's tagged values have internal names."""
    words = ((str, "a string"), (list, "a list"), (dict, "a dictionary"))
    found = (word for kind, word in words if isinstance(value, kind))
    return next(found, f"of type {type(value).__name__}")


def _prefix_of_entry(value: Entry, where: str) -> str:
    _scheme, registry, path = parse_url(str(value.get("registry") or ""), f"{where}.registry")
    return registry + path


def _prefix_of_login(value: Entry, where: str) -> str:
    unknown = sorted(str(key) for key in value if key not in _LOGIN_KEYS)
    if unknown:
        raise errors.InputError(
            f"{where}: unknown keys: {', '.join(unknown)}, expected {', '.join(_LOGIN_KEYS)}"
        )
    for key in ("username", "password"):
        if (
            not isinstance(value.get(key), (str, int))
            or isinstance(value[key], bool)
            or value[key] == ""
        ):
            raise errors.InputError(f"{where}: {key} must be a string that is not empty")
    if value.get("verify") not in (None, *BOOLEANS):
        raise errors.InputError(f"{where}: verify must be true or false")
    url = str(value.get("registry_url") or DOCKER_HUB)
    return "/".join(filter(None, login_target(url)))


def _entry(prefix: str, own: dict[str, Entry], given: dict[str, Entry]) -> Entry:
    """Return the settings and the login for a prefix, each from the entry with the longest match."""
    base, base_prefix = _longest_match(prefix, own)
    rest = prefix[len(base_prefix) :] if base_prefix else ""
    entry = {**base, **_login(base, prefix, given), "registry": prefix}
    if base.get("mirrors"):
        entry["mirrors"] = [_mirror(mirror, rest, given) for mirror in base["mirrors"]]
    return entry


def _mirror(mirror: t.Any, rest: str, given: dict[str, Entry]) -> t.Any:
    """Return a mirror, reduced to the path ``rest``, with its login. The module reports a mirror that is not valid."""
    if not isinstance(mirror, dict) or not isinstance(mirror.get("url"), str):
        return mirror
    url = mirror["url"].rstrip("/") + rest
    try:
        _scheme, host, path = parse_url(url, "url")
    except errors.InputError:
        return mirror
    return {**mirror, "url": url, **_login(mirror, host + path, given)}


def _login(base: Entry, name: str, given: dict[str, Entry]) -> Entry:
    """Return the login for a name, or nothing if the entry has a user name."""
    login = {} if base.get("username") else _longest_match(name, given)[0]
    return {key: str(login[key]) for key in ("username", "password") if key in login}


def _longest_match(name: str, entries: dict[str, Entry]) -> tuple[Entry, str]:
    """Return the entry with the longest prefix of a name, and that prefix. Both are empty if there is none."""
    host, _slash, path = name.partition("/")
    return next(
        ((entries[key], key) for key in lookup_keys(host, path) if key in entries), ({}, "")
    )


def _with_paths(entry: Entry, paths: dict[str, str]) -> Entry:
    """Return the entry with its paths replaced as in ``paths``."""
    changed = {
        key: paths.get(value, value) if key in _PATHS else value for key, value in entry.items()
    }
    if isinstance(entry.get("mirrors"), list):
        changed["mirrors"] = [
            _with_paths(mirror, paths) if isinstance(mirror, dict) else mirror
            for mirror in entry["mirrors"]
        ]
    return changed


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self):
        return {"with_logins": with_logins}
