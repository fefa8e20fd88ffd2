# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a task asks of a host: when it tries again, how long it waits, and when it gives the host up."""

from __future__ import annotations

import math
import random
import threading
import time
import typing as t

from .._image import errors
from .._image.sources import TransferStats
from .connect import NoAnswer
from .options import HttpOptions
from .response import Response
from .urls import origin, rate_limit, shown_url

# Statuses that may be gone on the next try.
BUSY = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_BACKOFF = 30.0  # seconds
_LONGEST_WAIT = 300.0  # seconds in one go, whatever a registry asks for
_DAY = 24 * 60 * 60.0


class Clock:
    """Time in seconds, which tests replace. ``now`` never goes back; ``date`` is unix time."""

    now = staticmethod(time.monotonic)
    date = staticmethod(time.time)
    sleep = staticmethod(time.sleep)

    def jitter(self) -> float:
        """Return a random factor for a wait, so that the hosts of a fleet do not retry in step."""
        return 0.5 + random.random() / 2


class _Host:
    """What all threads know of a host."""

    not_before = 0.0  # when the next request may be sent
    last_success = -math.inf  # when bytes or an answer that was not busy arrived
    error: errors.RegistryError | None = None  # why no further request is sent
    suspect = False  # the retries of a request ended without success


class Pacing:
    """The waits of a task, for any number of threads: what a host states to one thread applies to all."""

    def __init__(self, options: HttpOptions, stats: TransferStats, clock: Clock) -> None:
        self._options = options
        self._stats = stats
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[tuple[str, str, int], _Host] = {}

    def send(self, url: str, retries: int | None, send: t.Callable[[], Response]) -> Response:
        """Call ``send``, again after no answer or that of a busy host, and return the answer.

        ``send`` raises NoAnswer. ``retries`` is None for the option of the task. Raise UnreachableError if no try has an
        answer, and the error for which the host was given up before.
        """
        host, attempt, started = self._host(url), 0, self._clock.now()
        most = self._options.retries if retries is None else retries
        while True:
            attempt += 1
            self._wait_for_turn(host)
            # After a request of which all tries failed, the next one has a single try.
            left = 0 if host.suspect else most
            try:
                response = send()
            except NoAnswer as exc:
                wait = self._delay(attempt, exc.limit(left), started=started)
                if wait is None:
                    error = exc.error(shown_url(url), attempt)
                    if host.last_success <= started:
                        self._suspect(host, error, exc.is_final, retries is None)
                    raise error from exc
                self._retry_after(wait)
                continue
            if response.status not in BUSY:
                host.last_success, host.suspect = self._clock.now(), False
                return response
            wait = self._busy_delay(response, host, attempt, left, started)
            if wait is None:
                if retries is None:
                    self._give_up_busy(host, response, started)
                return response
            response.close()
            self._retry_after(wait)

    def received(self, url: str, size: int) -> None:
        """Count bytes of a body; the host that sends them is alive."""
        self._stats.add("bytes_fetched", size)
        self._host(url).last_success = self._clock.now()

    def backoff(self, attempt: int) -> bool:
        """Wait before retry ``attempt``, 0 for no wait; return False if there is no such retry."""
        if not attempt:
            self._stats.add("retries")
            return True
        wait = self._delay(attempt, self._options.retries)
        if wait is not None:
            self._retry_after(wait)
        return wait is not None

    @staticmethod
    def _suspect(
        host: _Host, error: errors.UnreachableError, is_final: bool, has_all_retries: bool
    ) -> None:
        """Give a host up for a final failure, or the second request in a row without an answer: one may be its URL's."""
        if is_final or (has_all_retries and host.suspect):
            host.error = error
        host.suspect = host.suspect or has_all_retries

    @staticmethod
    def _give_up_busy(host: _Host, response: Response, started: float) -> None:
        host.suspect = host.suspect or host.last_success <= started
        if response.status == 429:
            where = "{}://{}:{}".format(*origin(response.url))
            host.error = errors.RateLimitError(
                f"{where}: too many requests, no more are sent in this task"
            )

    def _busy_delay(
        self, response: Response, host: _Host, attempt: int, retries: int, started: float
    ) -> float | None:
        """Return the seconds to wait for a busy host, None for no retry. Other threads wait as long as it asks for, too."""
        requested = response.retry_after(self._clock.date())
        wait = self._delay(attempt, retries, requested, started)
        if requested:
            calm = self._delay(1, 1, requested, started) if wait is None else wait
            with self._lock:
                host.not_before = max(host.not_before, self._clock.now() + (calm or 0))
        return wait

    def _delay(
        self,
        attempt: int,
        retries: int,
        requested: float | None = None,
        started: float = math.inf,
    ) -> float | None:
        """Return the seconds to wait before retry ``attempt``; None if there is none, or not within ``timeout_total``.

        ``requested`` are the seconds that the host asks to wait, ``started`` is when the first try started.
        """
        if attempt > retries:
            return None
        wait = min(0.5 * 2 ** (attempt - 1), _LONGEST_BACKOFF) * self._clock.jitter()
        if requested is not None:
            # A host whose clock differs may ask for no wait again and again.
            wait = max(min(requested, _LONGEST_WAIT), wait if attempt > 1 else 0)
        # No host means more than a day.
        needed = wait if requested is None or requested > _DAY else requested
        is_late = self._clock.now() + needed - started > self._options.timeout_total
        return None if is_late else wait

    def _wait_for_turn(self, host: _Host) -> None:
        """Wait until a request may be sent; raise the error for which the host was given up."""
        pace, wait = self._options.requests_per_second, 0.0
        with self._lock:
            if not host.error:
                now = self._clock.now()
                wait = max(host.not_before - now, 0.0)
                if pace:
                    host.not_before = now + wait + 1 / pace
        if wait:
            self._wait(wait)
        if host.error:
            raise host.error.copy()

    def _retry_after(self, seconds: float) -> None:
        self._stats.add("retries")
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self._stats.add("seconds_waited", seconds)
        self._clock.sleep(seconds)

    def _host(self, url: str) -> _Host:
        with self._lock:
            return self._hosts.setdefault(origin(url), _Host())


class RateLimit:
    """The limit of pulls that a registry states in its answers; ``floor`` pulls are left of it, 0 to ignore it."""

    def __init__(self, registry: str, floor: int) -> None:
        self.stated: dict[str, t.Any] = {}  # limit, remaining, window in seconds, source
        self._registry = registry
        self._floor = floor
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._has_asked = False

    def learn(self, response: Response) -> None:
        """Keep the limit that an answer states."""
        limit, remaining, source = (
            response.header(name)
            for name in ("RateLimit-Limit", "RateLimit-Remaining", "Docker-RateLimit-Source")
        )
        stated = rate_limit(limit, remaining)
        if stated:
            with self._lock:
                # Answers overtake each other. A limit that was renewed in between does no harm.
                known = self.stated.get("remaining", stated.get("remaining"))
                self.stated.update(stated)
                if known is not None:
                    self.stated["remaining"] = min(known, stated.get("remaining", known))
                if source:
                    self.stated["source"] = errors.printable(source, 64)

    def spend(self, look: t.Callable[[], Response]) -> None:
        """Count a pull; raise RateLimitError if only ``floor`` pulls are left.

        ``look`` sends a request that the registry does not count, whose answer states the limit.
        """
        if not self._floor:
            return
        with self._first:  # the next thread waits for the limit, too
            if not self._has_asked and not self.stated:
                self._has_asked = True
                look().close()
        with self._lock:
            left = self.stated.get("remaining")
            if left is not None and left <= self._floor:
                raise errors.RateLimitError(
                    f"{self._registry}: {left} pulls are left, rate_limit_floor reserves {self._floor}",
                    "Wait until the limit is renewed, log in for a higher one, or pull from a mirror.",
                )
            if left is not None:
                self.stated["remaining"] = left - 1
