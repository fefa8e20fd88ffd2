# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory registries.d of containers tools: where signatures by GPG are (containers-registries.d(5))."""

from __future__ import annotations

import os
import typing as t

from .._image import errors
from .._lockfile.yamlfile import load_strict
from .._store.files import access, read_file
from .._trust.errors import PolicyError
from .._trust.lookaside import parse_lookaside
from .._trust.naming import EVERYTHING
from .._trust.policy import MAX_FILE

_DEFAULT, _DOCKER = "default-docker", "docker"
# Of two names for the same, the first one counts.
_PLACES = ("lookaside", "sigstore")
_KNOWN = (
    *_PLACES,
    "lookaside-staging",
    "sigstore-staging",
    "use-sigstore-attachments",
    "use-cosign-attachments",
)


def read_registries_d(directory: str) -> dict[str, str]:
    """Return the URLs of signatures by scope in all files ``*.yaml`` of a directory; ``*`` is the default.

    Raise PolicyError for unknown keys, a scope in two files, a URL that is neither https nor a directory, and a file or
    directory that cannot be read.
    """
    found: dict[str, t.Any] = {}
    try:
        with access(directory):
            names = sorted(os.listdir(directory))
        for name in names:
            if name.endswith(".yaml"):
                _add(found, os.path.join(directory, name))
    except (errors.InputError, errors.StoreAccessError) as exc:
        raise PolicyError(str(exc), exc.hint) from exc
    places = {scope: place for scope, place in found.items() if place is not None}
    return parse_lookaside(places, directory) if places else {}


def _add(found: dict[str, t.Any], path: str) -> None:
    """Add the URLs in one file, None for a scope without one; raise PolicyError if one of its scopes is known."""
    for document in load_strict(read_file(path, MAX_FILE), path):
        table = _table(document, (_DEFAULT, _DOCKER), path)
        scopes = dict(_table(table.get(_DOCKER), None, f"{path}: {_DOCKER}"))
        if table.get(_DEFAULT) is not None:
            scopes[EVERYTHING] = table[_DEFAULT]
        for scope, entry in scopes.items():
            namespace = _table(entry, _KNOWN, f"{path}: {scope}")
            if scope in found:
                raise PolicyError(f"{path}: {scope} is in another file, too")
            found[scope] = next((namespace[key] for key in _PLACES if namespace.get(key)), None)


def _table(value: t.Any, known: t.Sequence[str] | None, where: str) -> t.Mapping[str, t.Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PolicyError(f"{where}: is not a mapping")
    for key in value:
        if known is not None and key not in known:
            raise PolicyError(f"{where}: has the unknown key {errors.printable(str(key), 60)}")
    return value
