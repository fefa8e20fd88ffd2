# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of tasks as values and as lines of text. It reads no clock and no file."""

from __future__ import annotations

import json
import typing as t

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_RATE_OVER = 8.0  # seconds
_RATE_FROM = 2.0
FIRST_LINE = 1.0  # seconds of transfer before the first line
HUNG_AFTER = 15.0
INTERVAL = 2.0
_GROWTH = 20  # a task of ten minutes has a line every 30 seconds
OFF: float = 0.0


class Record(t.NamedTuple):
    """What a module says of itself: the seconds since its transfer began, then images and bytes, done and all."""

    elapsed: float
    images: int
    all_images: int
    bytes: int
    all_bytes: int

    @classmethod
    def parse(cls, text: str) -> Record | None:
        """Read the text of a record; return None if it is not one, or if the transfer has not begun."""
        try:
            elapsed, *counts = json.loads(text)
            record = cls(float(elapsed), *map(int, counts))
        except (ValueError, TypeError):
            return None
        if record.all_bytes < 1 or not min(record) >= 0:  # NaN is neither
            return None
        # What is sent again counts twice on the host.
        return record._replace(bytes=min(record.bytes, record.all_bytes))


class State(t.NamedTuple):
    """How far a host is. ``rate`` is in bytes a second, 0 if it is not known; ``idle`` are the seconds without a byte.

    A host that has ended is ``ok`` if its task has not failed.
    """

    host: str
    images: int = 0
    all_images: int = 0
    bytes: int = 0
    all_bytes: int = 0
    elapsed: float = 0.0
    rate: float = 0.0
    idle: float = 0.0
    ended: bool = False
    ok: bool = False

    @property
    def percent(self) -> int:
        """The percentage of the bytes that are done, rounded down."""
        return 100 * self.bytes // self.all_bytes if self.all_bytes else 0


class Meter:
    """Turns the records of a host into states, with the rate of the last seconds by the clock of the host."""

    def __init__(self, host: str) -> None:
        self.state = State(host)
        self._samples: list[tuple[float, int]] = []
        self._moved_at = 0.0

    def add(self, record: Record) -> State:
        """Take a record; return the state."""
        if record.all_bytes != self.state.all_bytes or record.elapsed < self.state.elapsed:
            # The transfer begins, or another one.
            self._samples, self.state = [(0.0, 0)], State(self.state.host)
            self._moved_at = 0.0
        if record.bytes != self.state.bytes:
            self._moved_at = record.elapsed
        self._samples.append((record.elapsed, record.bytes))
        while len(self._samples) > 2 and self._samples[1][0] <= record.elapsed - _RATE_OVER:
            del self._samples[0]
        self.state = State(
            self.state.host,
            record.images,
            record.all_images,
            record.bytes,
            record.all_bytes,
            record.elapsed,
            self._rate(),
            record.elapsed - self._moved_at,
        )
        return self.state

    def end(self, is_ok: bool) -> State:
        """Note the end of the task; return the state."""
        state = self.state
        if is_ok:
            state = state._replace(bytes=state.all_bytes, images=state.all_images)
        self.state = state._replace(ended=True, ok=is_ok, rate=0.0, idle=0.0)
        return self.state

    def _rate(self) -> float:
        (first, before), (last, now) = self._samples[0], self._samples[-1]
        if last < _RATE_FROM or last <= first:
            return 0.0
        return max(0.0, (now - before) / (last - first))


class Pace:
    """When a line is due: after a second of transfer, then at growing intervals, and only if it says something new."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.began = self.shown = 0.0
        self.last: t.Any = None

    def is_due(self, now: float) -> bool:
        """Return whether a line may be shown at a time of the clock of this machine."""
        if not self.shown:
            return True
        return now - self.shown >= max(self.interval, (now - self.began) / _GROWTH)

    def takes(self, now: float, what: t.Any) -> bool:
        """Return whether to show a line that says ``what`` now, and note that it is shown."""
        if not self.is_due(now) or what == self.last:
            return False
        self.began = self.began or now
        self.shown, self.last = now, what
        return True


def host_line(state: State) -> tuple[t.Any, str]:
    """Return what the line of a host says, to be compared with the last one, and the line."""
    hung = _hung(state.idle)
    if hung:
        return (state.bytes, hung), f"{state.host}: {hung}"
    told = (state.images, state.bytes, state.all_bytes)
    return told, f"{state.host}: {_amounts(state)}"


def batch_line(states: t.Sequence[State], hosts: int) -> tuple[t.Any, str] | None:
    """Return the same for all hosts of a batch in one line, None if there is nothing to say."""
    running = [one for one in states if not one.ended and one.all_bytes]
    if not running:
        return None
    have = sum(one.ok for one in states)
    whole = State(
        "",
        bytes=sum(one.bytes for one in states),
        all_bytes=sum(one.all_bytes for one in states),
        rate=_rate_of_all(running),
        idle=min(one.idle for one in running),
    )
    slowest = min(running, key=lambda one: (one.bytes / one.all_bytes, one.host))
    hung = _hung(whole.idle)
    told = (have, whole.bytes, whole.all_bytes, hung)
    hangs = _hung(slowest.idle)
    last = (
        f"last is {slowest.host} ({slowest.percent} %{', ' + hangs if hangs and not hung else ''})"
    )
    text = hung or _amounts(whole)
    return told, f"{have} of {hosts} hosts have it, {text}; {last}"


def _rate_of_all(states: t.Sequence[State]) -> float:
    """Return the rate of several hosts; one that has just begun counts with its rate so far."""
    if not any(one.rate for one in states):
        return 0.0
    begun = (one for one in states if one.elapsed >= FIRST_LINE)
    return sum(one.bytes / one.elapsed if one.elapsed < _RATE_FROM else one.rate for one in begun)


def _hung(idle: float) -> str:
    """Return the text for a host that has hung for a while: the time doubles, so that the text seldom changes."""
    if idle < HUNG_AFTER:
        return ""
    shown = HUNG_AFTER
    while idle >= 2 * shown:
        shown *= 2
    return f"no byte for {_duration(shown)}"


def _amounts(state: State) -> str:
    images = f"{state.images} of {state.all_images} image{'s' * (state.all_images != 1)}, "
    text = f"{images if state.all_images else ''}{_sizes(state.bytes, state.all_bytes)} ({state.percent} %)"
    if state.rate:
        text += f", {_rate(state.rate)}"
        left = (state.all_bytes - state.bytes) / state.rate
        text += f", {_duration(max(1.0, left))} left" if left else ""
    return text


def _sizes(done: int, whole: int) -> str:
    """Return both sizes in the unit of the larger one, rounded down, so that no part looks like the whole."""
    number = 0
    while number < len(_UNITS) - 1 and whole >= 1000 ** (number + 1):
        number += 1
    scale = 1000**number
    places = 0 if not number or whole >= 100 * scale else 1 if whole >= 10 * scale else 2
    shown = [f"{size * 10**places // scale / 10**places:.{places}f}" for size in (done, whole)]
    return f"{shown[0]} of {shown[1]} {_UNITS[number]}"


def _rate(rate: float) -> str:
    number = 1
    while number < len(_UNITS) - 1 and rate >= 999.5 * 1000**number:
        number += 1
    value = rate / 1000**number
    return f"{value:.{0 if value >= 9.95 else 1}f} {_UNITS[number]}/s"


def _duration(seconds: float) -> str:
    for unit, size, limit in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 72)):
        if round(seconds / size) < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86400)} days"


def interval_of(text: str | None) -> float:
    """Return the seconds between two lines, OFF for none, as the environment variable says: 0, 1, or seconds."""
    try:
        seconds = float(text) if text else 1.0
    except ValueError:
        seconds = 1.0
    if not 0 < seconds < 1e6:
        return OFF
    return INTERVAL if seconds == 1 else seconds
