# SPDX-License-Identifier: GPL-3.0-or-later
"""The dates in image configurations, and the order of the versions in tags."""

from __future__ import annotations

import datetime
import re
import typing as t

_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)
_DAY = 24 * 60 * 60
_SUFFIX = "[0-9A-Za-z](?:.*[0-9A-Za-z])?"
_PRE = rf"(?:a|alpha|b|beta|c|rc|pre|preview|dev|post)\d*(?:[-_.+]{_SUFFIX})?"
_VERSION = re.compile(rf"[vV]?(\d+(?:\.\d+)*)(?:[-_.+]({_SUFFIX})|({_PRE}))?", re.ASCII)
_NAMED = re.compile("([A-Za-z][A-Za-z_.-]*[-_.])([vV]?[0-9].*)", re.ASCII)
# A suffix puts a version before the one without it (semver 11.3), unless the suffix counts what came later.
_AFTER = re.compile(r"\d|(?:post|patch|p|r|rev|build)(?![A-Za-z])")


class Moment(t.NamedTuple):
    """A point in time that can be compared: seconds since year 1 in UTC, a leap second or not, digits of the fraction.

    A leap second has the ``seconds`` of the second before it, and ``leap`` true.
    """

    seconds: int
    leap: bool = False
    fraction: str = ""

    @classmethod
    def parse(cls, text: t.Any) -> Moment | None:
        """Return the point in time of a date in the form of RFC 3339, or None for anything else."""
        match = _DATE.fullmatch(text) if isinstance(text, str) else None
        if not match:
            return None
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        fraction, sign, *offset = match.groups()[6:]
        try:
            days = datetime.date(year, month, day).toordinal() - 1
        except ValueError:
            return None
        leap = second == 60
        seconds = days * _DAY + hour * 3600 + minute * 60 + second - leap
        if sign:
            east = int(offset[0]) * 3600 + int(offset[1]) * 60
            seconds += east if sign == "-" else -east
        if leap and seconds % _DAY != _DAY - 1:
            return None  # a leap second is the last second of a day in UTC
        return cls(seconds, leap, (fraction or "").rstrip("0"))


# Docker and kaniko write Go's zero time, reproducible builds the epoch. Neither is the date of an image.
PLACEHOLDERS = frozenset(
    map(Moment.parse, ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z")),
)


def version_key(tag: str) -> tuple[t.Any, ...]:
    """Return a key that sorts tags: words by their text, then versions by their numbers.

    A pre-release comes before its release. A version after a word, as in ``release-1.10``, is sorted among the versions
    after the same word.
    """
    match = _VERSION.fullmatch(tag)
    if not match:
        named = _NAMED.fullmatch(tag)
        is_version = named and _VERSION.fullmatch(named.group(2))
        return (
            (0, named.group(1), *version_key(named.group(2))) if named and is_version else (0, tag)
        )
    numbers = [int(part) for part in match.group(1).split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    suffix = match.group(2) or match.group(3) or ""
    place = 0 if not suffix else 1 if _AFTER.match(suffix) else -1
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.findall("[0-9]+|[^0-9]+", suffix)
    ]
    return (1, numbers, place, parts, tag)
