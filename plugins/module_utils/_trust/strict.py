# SPDX-License-Identifier: GPL-3.0-or-later
"""Read signed and signing data so strictly that no other program can read it differently."""

from __future__ import annotations

import base64
import re
import typing as t

from .._image.errors import ManifestError, printable
from .._image.manifest import parse_object
from .errors import SignatureInvalidError

Table = dict[str, t.Any]
V = t.TypeVar("V")
_BASE64 = re.compile("[A-Za-z0-9+/]*={0,2}")
_MOST_DIGITS = 18


def json_object(raw: bytes, where: str) -> Table:
    """Return the JSON object in ``raw``; raise SignatureInvalidError for anything else, also for duplicate keys."""
    try:
        return parse_object(raw, where)
    except ManifestError as exc:
        raise SignatureInvalidError(str(exc)) from exc


def base64_bytes(text: t.Any, where: str) -> bytes:
    """Return the bytes of standard base64 with padding; raise SignatureInvalidError for white space or any other form."""
    if isinstance(text, str) and text and _BASE64.fullmatch(text) and len(text) % 4 == 0:
        data = base64.b64decode(text, validate=True)
        if base64.b64encode(data).decode("ascii") == text:
            return data
    raise SignatureInvalidError(f"{where}: is not base64")


def member(value: t.Mapping[str, t.Any], key: str, kind: type[V], where: str) -> V:
    """Return ``value[key]``; raise SignatureInvalidError unless it is of this kind."""
    found = value.get(key)
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise SignatureInvalidError(f"{where}: {key} is missing or of another type")
    return found


def integer(value: t.Mapping[str, t.Any], key: str, where: str, default: int | None = None) -> int:
    """Return a whole number from 0, which JSON of protobuf writes as text; raise SignatureInvalidError for anything else."""
    found = value.get(key, default)
    is_text = isinstance(found, str) and re.fullmatch("[0-9]+", found) is not None
    if isinstance(found, bool) or not (is_text or isinstance(found, int)):
        raise SignatureInvalidError(f"{where}: {key} is missing or not a number")
    if len(str(found)) > _MOST_DIGITS or int(found) < 0:
        raise SignatureInvalidError(f"{where}: {key} is out of range")
    return int(found)


def items(value: t.Mapping[str, t.Any], key: str, most: int, where: str) -> list[Table]:
    """Return a list of objects, [] if the key is missing; raise SignatureInvalidError for anything else or more entries."""
    found = value.get(key)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SignatureInvalidError(f"{where}: {key} is not a list of objects")
    if len(found) > most:
        raise SignatureInvalidError(
            f"{where}: {key} has {len(found)} entries, at most {most} are read"
        )
    return found


def require_only(value: t.Mapping[str, t.Any], keys: t.Collection[str], where: str) -> None:
    """Raise SignatureInvalidError unless an object has exactly these keys."""
    for key in value:
        if key not in keys:
            raise SignatureInvalidError(f"{where}: has the unknown key {printable(repr(key), 60)}")
    for key in keys:
        if key not in value:
            raise SignatureInvalidError(f"{where}: {key} is missing")
