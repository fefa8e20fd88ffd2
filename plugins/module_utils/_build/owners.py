# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups by name, as the files of an image list them (passwd(5), group(5))."""

from __future__ import annotations

import typing as t

MAX_ID = 2**32 - 2


class OwnerError(ValueError):
    """A user or a group cannot be found; the message says why."""


class Owner(t.NamedTuple):
    """The numbers of a user and a group."""

    uid: int = 0
    gid: int = 0


def owner_of(text: str, passwd: bytes, group: bytes) -> Owner:
    """Return what ``USER[:GROUP]`` means: numbers, or names in the files of the image; raise OwnerError otherwise.

    Without a group, it is the number of the user for a number, and the group of the user for a name, as in Docker.
    """
    user, colon, wanted = text.partition(":")
    if colon and not wanted:
        raise OwnerError("has no group after the colon")
    found = _number(user)
    if found is not None:
        owner = Owner(found, found)
    else:
        fields = _find(user, passwd, "user", "/etc/passwd")
        owner = Owner(_field(fields, 2), _field(fields, 3))
    if not wanted:
        return owner
    number = _number(wanted)
    if number is None:
        number = _field(_find(wanted, group, "group", "/etc/group"), 2)
    return Owner(owner.uid, number)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > MAX_ID:
        raise OwnerError(f"{text[:20]} is larger than {MAX_ID}")
    return int(text)


def _find(name: str, data: bytes, what: str, path: str) -> list[str]:
    if not name:
        raise OwnerError(f"has no {what}")
    for line in data.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return fields
    raise OwnerError(f"the image has no {what} {name} in {path}")


def _field(fields: t.Sequence[str], at: int) -> int:
    number = _number(fields[at]) if len(fields) > at else None
    if number is None:
        raise OwnerError(f"the line of {fields[0]} in the image is malformed")
    return number
