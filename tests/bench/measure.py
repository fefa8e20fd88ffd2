# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run took: time, processor, memory, and what the registry was asked for."""

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
    """What one run took; `None` is what was not measured."""

    seconds: float  # from the start of the command to its end
    to_disk: float  # and until all that it wrote is on the disk
    cpu: float  # user and system, of all processes that worked for it
    peak: float | None  # bytes, of the process that did the work
    task: float | None = None  # seconds of the task that Ansible was started for


def median(usages: Sequence[Usage]) -> Usage:
    """The median of each number by itself."""

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
    """A running daemon that works for a client: what it takes is added to what the client takes.

    `does_the_work` tells whether its memory counts.
    """

    pid: int
    does_the_work: bool = True

    def cpu(self) -> float:
        """Processor seconds so far, with those of its children that have ended."""
        # The name of the program, in brackets, may hold blanks; utime is the 12th field after it.
        after = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, after[11:15])) / _TICKS

    def forget_peak(self) -> None:
        """Let the peak of its memory begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The peak of its memory (VmHWM) since then, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")
        )


@dataclass
class Meter:
    """Measures what `launcher` launches; `usage` is known when the block has ended."""

    report: Path
    daemons: Sequence[Daemon] = ()
    client_does_the_work: bool = True
    usage: Usage = field(init=False, repr=False)

    @property
    def launcher(self) -> list[str]:
        """The command to put before the one that is to be measured."""
        return [sys.executable, "-ESs", os.fspath(_LAUNCH), os.fspath(self.report)]


@contextlib.contextmanager
def metered(
    directory: Path, daemons: Sequence[Daemon] = (), *, client_does_the_work: bool = True
) -> Iterator[Meter]:
    """Measure the command that is launched in the block, and the daemons that work for it.

    Nothing waits to be written when it begins: nobody pays for what another one left behind.
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
    """What a server was asked for."""

    requests: Sequence[Access]

    @property
    def bytes(self) -> int:
        """The bytes of all answers; one to HEAD has none, whatever size the log gives."""
        return sum(access.size for access in self.requests if access.method == "GET")

    @property
    def blobs(self) -> int:
        """How many different blobs were sent."""
        return len(
            {
                access.path
                for access in self.requests
                if access.method == "GET" and "/blobs/" in access.path and access.size
            }
        )

    def count(self, method: str) -> int:
        """How many requests there were of a method."""
        return sum(access.method == method for access in self.requests)


@dataclass
class Watch:
    """Reads a server's access log from where it was."""

    service: Service
    _begin: int = 0

    def begin(self) -> None:
        """Forget what was asked so far."""
        self._settle()
        self._begin = self.service.log.stat().st_size

    def traffic(self) -> Traffic:
        """What was asked since then."""
        self._settle()
        with self.service.log.open("rb") as log:
            log.seek(self._begin)
            return Traffic(accesses(log.read().decode(errors="replace")))

    def _settle(self) -> None:
        """Wait until the server has written what it knows: it does so after the client has all."""
        size = -1
        while size != self.service.log.stat().st_size:
            size = self.service.log.stat().st_size
            time.sleep(0.3)
