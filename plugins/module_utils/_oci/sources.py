# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a task that may need none: what speaks to them is imported when one is needed."""

from __future__ import annotations

import threading
import typing as t

from . import errors
from .content import ContentSource, Descriptor, Sources
from .names import Reference

_DAY = 24 * 60 * 60.0
_MOST = 1000  # connections are kept for so many threads, and pauses grow with retries


class LateRegistries:
    """Registries as ``open_registries`` opens them, once one is needed; raise InputError at once."""

    def __init__(self, options: t.Mapping[str, t.Any], connections: int) -> None:
        check_numbers(options, connections)
        self._options = options
        self._connections = connections
        self._lock = threading.Lock()
        self._opened: Sources | None = None
        if options["registries"]:  # an entry that is wrong is an error, needed or not
            self._open()

    def prepare(self) -> None:
        self._open().prepare()

    def repository(self, reference: Reference) -> ContentSource:
        return self._open().repository(reference)

    def foreign(self, reference: Reference, descriptor: Descriptor) -> ContentSource:
        return self._open().foreign(reference, descriptor)

    def stats(self) -> t.Mapping[str, t.Any]:
        return self._opened.stats() if self._opened else TransferStats().as_result()

    @property
    def warnings(self) -> t.Sequence[str]:
        return self._opened.warnings if self._opened else ()

    def _open(self) -> Sources:
        with self._lock:
            if self._opened is None:
                from .registries import registries_of

                self._opened = registries_of(self._options, self._connections)
            return self._opened


def check_numbers(options: t.Mapping[str, t.Any], connections: int) -> None:
    """InputError for a number that makes no sense."""
    pace = options["requests_per_second"]
    for is_right, rule in (
        (1 <= connections <= _MOST, f"parallel must be between 1 and {_MOST}"),
        (0 < options["timeout"] <= _DAY, "timeout must be more than 0 and at most a day"),
        (options["timeout_total"] >= 0, "timeout_total must not be less than 0"),
        (0 <= options["retries"] <= _MOST, f"retries must be between 0 and {_MOST}"),
        (pace is None or pace * _DAY >= 1, "requests_per_second must allow one request a day"),
        (options["rate_limit_floor"] >= 0, "rate_limit_floor must not be less than 0"),
    ):
        if not is_right:
            raise errors.InputError(rule)


class TransferStats:
    """What a task cost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = {"bytes_fetched": 0, "retries": 0, "seconds_waited": 0}

    def add(self, name: str, amount: float = 1) -> None:
        """Count bytes, seconds, or requests by their method."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def as_result(
        self,
        connections: int = 0,
        mirrors: t.Mapping[str, t.Any] | None = None,
        limits: t.Mapping[str, t.Any] | None = None,
    ) -> dict[str, t.Any]:
        """The counts, with what mirrors served and what registries told of their limits."""
        requests = {name: count for name, count in sorted(self._counts.items()) if name.isupper()}
        others = {name: round(count, 3) for name, count in self._counts.items() if name.islower()}
        return dict(
            others,
            requests=requests,
            connections=connections,
            mirrors=mirrors or {},
            rate_limit=limits or {},
        )
