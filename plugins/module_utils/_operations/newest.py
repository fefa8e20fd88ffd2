# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of some images are the newest."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._image.dates import PLACEHOLDERS, Moment, version_key

T = t.TypeVar("T")
_SHOWN = 5


@dataclass(frozen=True)
class Dated(t.Generic[T]):
    """Something in a repository, by its tag ("" for none), and when it was made."""

    item: T
    repository: str
    tag: str
    made: Moment | None


@dataclass(frozen=True)
class Newest(t.Generic[T]):
    """The ``chosen``, those whose date is ``unknown``, and those of one date where tags decided what is chosen."""

    chosen: list[T]
    unknown: list[T]
    equal: list[T]


def newest(dated: t.Iterable[Dated[T]], count: int) -> Newest[T]:
    """Choose for each repository the ``count`` that were made last, of those whose date is known.

    A placeholder is a date only where a repository has no other. Of one date, versions in tags decide.
    """
    repositories: dict[str, list[Dated[T]]] = {}
    for one in dated:
        repositories.setdefault(one.repository, []).append(one)
    found: Newest[T] = Newest([], [], [])
    for several in repositories.values():
        is_one_date = len({one.made for one in several}) == 1
        no_dates = {None} if is_one_date else {None, *PLACEHOLDERS}
        known = [one for one in several if one.made not in no_dates]
        known.sort(key=lambda one: (one.made, version_key(one.tag)), reverse=True)
        found.chosen.extend(one.item for one in known[:count])
        found.unknown.extend(one.item for one in several if one.made in no_dates)
        if len(known) > count and known[count - 1].made == known[count].made:
            equal = known[count].made
            found.equal.extend(one.item for one in known if one.made == equal)
    return found


def join_some(names: t.Sequence[str]) -> str:
    """Return up to five names for a message, and the number of the others."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
