# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and what it was spent on."""

from __future__ import annotations

import random
import threading
import time
import typing as t


class Clock:
    """Time, which tests replace."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def jitter(self) -> float:
        """A factor between a half and one, so that a fleet does not come back all at once."""
        return 0.5 + random.random() / 2


class TransferStats:
    """What a task cost, counted by all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: dict[str, int] = {}
        self.retries = 0
        self.seconds_waited = 0.0
        self.bytes_fetched = 0

    def request(self, method: str) -> None:
        with self._lock:
            self.requests[method] = self.requests.get(method, 0) + 1

    def wait(self, seconds: float) -> None:
        with self._lock:
            self.retries += 1
            self.seconds_waited += seconds

    def received(self, size: int) -> None:
        with self._lock:
            self.bytes_fetched += size

    def as_result(self) -> dict[str, t.Any]:
        return {
            "bytes_fetched": self.bytes_fetched,
            "requests": dict(sorted(self.requests.items())),
            "retries": self.retries,
            "seconds_waited": round(self.seconds_waited, 3),
        }
