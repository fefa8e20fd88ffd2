# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies in files of the controller: read strictly, with the keys and trusted roots that they name put in."""

from __future__ import annotations

import base64
import os
import re
import typing as t

from .._image import errors
from .._lockfile.yamlfile import load_strict
from .._store.files import read_file
from .._trust.containers_policy import is_containers_policy
from .._trust.errors import PolicyError
from .._trust.lookaside import parse_keyring
from .._trust.openpgp import armor
from .._trust.policy import MAX_FILE, parse_policy
from .registries_d import read_registries_d

_PATH_KEY = re.compile("^(key|rekorPublicKey|ca|caRoots|caIntermediates)Path(s?)$")


def read_policy(path: str, place: str, registries_d: str | None = None) -> t.Any:
    """Return the rules in a YAML or JSON file, or what a policy.json has, with the content of each file that they name.

    A relative path of a key or a trusted root starts at the directory of the file. ``registries_d`` is a directory that
    says where the signatures by GPG are that a policy.json requires. Raise FileNotFoundError if there is no file, PolicyError,
    which names ``place``, if it is not a valid policy.
    """
    directory = os.path.dirname(path)
    try:
        documents = load_strict(read_file(path, MAX_FILE), place)
    except errors.InputError as exc:
        raise PolicyError(str(exc), exc.hint) from exc
    if len(documents) != 1:
        raise PolicyError(f"{place}: holds {len(documents)} documents, not one")
    try:
        policy = _policy_of(documents[0], directory, place, registries_d)
        parse_policy(policy, lambda name: b"")
    except PolicyError as exc:
        raise PolicyError(f"{place}: {str(exc).removeprefix(f'{place}: ')}", exc.hint) from exc
    return policy


def _policy_of(value: t.Any, directory: str, place: str, registries_d: str | None) -> t.Any:
    if not is_containers_policy(value):
        if isinstance(value, dict):
            raise PolicyError("is neither a list of rules nor a policy.json")
        if registries_d:
            raise PolicyError("registries_d is only for a policy.json; set lookaside in the rules")
        return _embedded(value, directory, place)
    policy = _with_keys(value, directory, place)
    lookaside = read_registries_d(registries_d) if registries_d else None
    return {"containers_policy": policy, "lookaside": lookaside} if lookaside else policy


def _with_keys(value: t.Any, directory: str, place: str) -> t.Any:
    """Return a part of a policy.json with the content of each key file, as ``keyData`` and so on, instead of its path."""
    if isinstance(value, list):
        return [_with_keys(item, directory, place) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        name = _PATH_KEY.sub(r"\1Data\2", key) if isinstance(key, str) else key
        if not isinstance(item, (str, list)) or name == key or name in value:
            found[key] = _with_keys(item, directory, place)
        elif isinstance(item, str):
            found[name] = _base64(_data(os.path.join(directory, item), place))
        else:
            parts = [_data(os.path.join(directory, str(one)), place) for one in item]
            if value.get("type") == "signedBy":  # which has no keyDatas
                found["keyData"] = _base64(b"".join(parse_keyring(part, place) for part in parts))
            else:
                found[name] = [_base64(part) for part in parts]
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _embedded(value: t.Any, directory: str, place: str, key: str = "") -> t.Any:
    """Return the value of a key in which every mapping with a path alone, except annotations, has the text of that file.

    A binary keyring becomes an armored one.
    """
    if isinstance(value, list):
        return [_embedded(item, directory, place) for item in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["path"] and isinstance(value["path"], str):
        return {"text": _text(os.path.join(directory, value["path"]), place, key == "keyring")}
    return {
        name: item if name == "annotations" else _embedded(item, directory, place, name)
        for name, item in value.items()
    }


def _text(path: str, place: str, is_keyring: bool) -> str:
    data = _data(path, place)
    try:
        return armor(data) if is_keyring and not data.isascii() else data.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError(f"{place}: {path} is not text in UTF-8") from None


def _data(path: str, place: str) -> bytes:
    try:
        return read_file(path, MAX_FILE)
    except FileNotFoundError:
        raise PolicyError(f"{place}: {path} does not exist") from None
    except errors.StoreAccessError as exc:
        raise PolicyError(f"{place}: {exc}", exc.hint) from exc
