# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure a run: time, processor, memory, and the requests to the registry."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.lockstep.images.tests.support.accesslog import Access, accesses
from ansible_collections.lockstep.images.tests.support.services_process import Service, run

_LAUNCH = Path(__file__).with_name("launch.py")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """The cost of one run; `None` for a number that was not measured."""

    seconds: float  # from the start of the command to its end
    to_disk: float  # from the start until all its output is on the disk
    cpu: float  # user and system, of all processes that worked for it
    peak: float | None  # bytes, of the process that did the work
    task: float | None = None  # seconds of the task that Ansible was started for


def median(usages: Sequence[Usage]) -> Usage:
    """Return the median of each number, taken separately."""

    def middle(numbers: Iterable[float | None]) -> float | None:
        measured = [number for number in numbers if number is not None]
        return statistics.median(measured) if measured else None

    return Usage(
        seconds=statistics.median(usage.seconds for usage in usages),
        to_disk=statistics.median(usage.to_disk for usage in usages),
        cpu=statistics.median(usage.cpu for usage in usages),
        peak=middle(usage.peak for usage in usages),
        task=middle(usage.task for usage in usages),
    )


@dataclass(frozen=True)
class Daemon:
    """A running daemon that works for a client. Its cost is added to that of the client.

    `does_the_work` says whether its memory counts.
    """

    pid: int
    does_the_work: bool = True

    def cpu(self) -> float:
        """Return its processor seconds so far, including children that have ended."""
        # The name of the program, in brackets, can have spaces; utime is the 12th field after it.
        after = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, after[11:15])) / _TICKS

    def forget_peak(self) -> None:
        """Reset its peak memory."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Return its peak memory (VmHWM) since the reset, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")
        )


@dataclass
class Meter:
    """Measure the command that `launcher` starts. `usage` is set when the block ends."""

    report: Path
    daemons: Sequence[Daemon] = ()
    client_does_the_work: bool = True
    usage: Usage = field(init=False, repr=False)

    @property
    def launcher(self) -> list[str]:
        """The command to put before the measured command."""
        return [sys.executable, "-ESs", os.fspath(_LAUNCH), os.fspath(self.report)]


@contextlib.contextmanager
def metered(
    directory: Path, daemons: Sequence[Daemon] = (), *, client_does_the_work: bool = True
) -> Iterator[Meter]:
    """Measure the command that the block starts, and the daemons that work for it.

    Flush all pending writes first, so that no tool pays for the writes of another.
    """
    meter = Meter(directory / "usage.json", daemons, client_does_the_work)
    run(["sync", "-f", directory])
    for daemon in daemons:
        daemon.forget_peak()
    before = sum(daemon.cpu() for daemon in daemons)
    yield meter
    ended = time.monotonic()
    run(["sync", "-f", directory])
    flushed = time.monotonic() - ended
    taken = json.loads(meter.report.read_text())
    peaks = [daemon.peak() for daemon in daemons if daemon.does_the_work]
    if client_does_the_work:
        peaks.append(taken["peak"])
    meter.usage = Usage(
        seconds=taken["seconds"],
        to_disk=taken["seconds"] + flushed,
        cpu=taken["cpu"] + sum(daemon.cpu() for daemon in daemons) - before,
        peak=sum(peaks) if peaks else None,
    )


@dataclass(frozen=True)
class Traffic:
    """The requests to a server."""

    requests: Sequence[Access]

    @property
    def bytes(self) -> int:
        """The bytes of all answers. An answer to HEAD has none, although the log gives a size."""
        return sum(access.size for access in self.requests if access.method == "GET")

    @property
    def blobs(self) -> int:
        """The number of different blobs that were sent."""
        return len(
            {
                access.path
                for access in self.requests
                if access.method == "GET" and "/blobs/" in access.path and access.size
            }
        )

    def count(self, method: str) -> int:
        """Return the number of requests with a method."""
        return sum(access.method == method for access in self.requests)


@dataclass
class Watch:
    """Read the access log of a server from a position."""

    service: Service
    _begin: int = 0

    def begin(self) -> None:
        """Ignore all requests so far."""
        self._settle()
        self._begin = self.service.log.stat().st_size

    def traffic(self) -> Traffic:
        """Return the requests since `begin`."""
        self._settle()
        with self.service.log.open("rb") as log:
            log.seek(self._begin)
            return Traffic(accesses(log.read().decode(errors="replace")))

    def _settle(self) -> None:
        """Wait until the log is complete: the server writes it after the client has its answer."""
        size = -1
        while size != self.service.log.stat().st_size:
            size = self.service.log.stat().st_size
            time.sleep(0.3)
