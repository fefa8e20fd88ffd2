# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches the module of a task from a thread of the worker, and shows its progress on standard error.

The thread never raises, and shows nothing after ``stop``. What it cannot read or write it does without.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import glob
import hashlib
import json
import os
import random
import secrets
import signal
import threading
import time
import typing as t

from ansible import constants as C
from ansible import context
from ansible_collections.lockstep.images.plugins.module_utils._progress import DESCRIPTOR, VARIABLE
from ansible_collections.lockstep.images.plugins.plugin_utils import _master
from ansible_collections.lockstep.images.plugins.plugin_utils._progress import (
    FIRST_LINE,
    Meter,
    Pace,
    Record,
    State,
    batch_line,
    host_line,
)

_MOST_LINES = 3  # hosts that have a line each
_TICK = 0.5
_MOST_TICKS = 16.0  # a second, of all hosts together
_RAREST_TICK = 6  # in ticks of one host
_FIRST_READ = 2.0  # what ends before then costs nothing
_READS = 1.5  # a second, of all hosts together
_RAREST = 30.0  # seconds between two reads of a host, if there are many
_LONGEST_WAIT = 10.0
_PROC = "/proc"
_PROCESSES = "/proc/[0-9]*"
Show = t.Callable[[str], None]


class LocalReader:
    """Reads the record of a module that a child of this process runs as the same user."""

    def __init__(self, token: str, hosts: int) -> None:
        self._token = f"{VARIABLE}={token}".encode()
        self._process = 0
        self.wait = tick_of(hosts)
        self.first = 0.0

    def read(self) -> str:
        """Return the text of the record, "" if there is none."""
        for process in [self._process] if self._process else descendants_of(os.getpid()):
            with contextlib.suppress(OSError):
                with open(f"{_PROC}/{process}/environ", "rb") as environ:
                    if self._token not in environ.read():
                        continue
                with open(f"{_PROC}/{process}/fd/{DESCRIPTOR}", encoding="ascii") as record:
                    self._process = process
                    return record.read()
        self._process = 0
        return ""


def descendants_of(process: int) -> t.Iterator[int]:
    """Yield the processes that a process has started, and those that they have started."""
    for path in glob.glob(f"{_PROC}/{process}/task/*/children"):
        with contextlib.suppress(OSError):
            with open(path, encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                yield int(child)
                yield from descendants_of(int(child))


class RemoteReader:
    """Reads the record of a module through the connection of a task, as the user that runs the module.

    Each read is a command of its own, and needs as long as a login does. ``hosts`` share the reads of a second. A read
    through a connection of ssh that is open starts no process on the controller.
    """

    def __init__(self, action: t.Any, token: str, interval: float, hosts: int) -> None:
        # Become plugins and connections remember the command that they run now.
        self._action = copy.copy(action)
        connection = self._action._connection = copy.copy(action._connection)
        if connection.become:
            connection.become = copy.copy(connection.become)
        # The connection of the module knows the master of ssh once it has started its command.
        self._origin, self._has_master = action._connection, connection.transport == "ssh"
        if self._has_master:
            self._start_ssh, connection.exec_command = connection.exec_command, self._execute
        self._token = f"{VARIABLE}={token}"
        self._processes = _PROCESSES
        self._interval = max(interval, min(hosts / _READS, _RAREST))
        self.wait = self._interval
        # Hosts that start together are not read together.
        self.first = _FIRST_READ + random.uniform(0.0, self._interval - interval)

    def read(self) -> str:
        """Return the text of the record, "" if there is none."""
        begun = time.monotonic()
        # A child of the module can have its environment, but not its descriptor.
        command = (
            f"for e in $(grep -ls {self._token} {self._processes}/environ); do p=${{e%/environ}};"
            f" cat $p/fd/{DESCRIPTOR} 2>/dev/null && echo $p; done"
        )
        answer = self._action._low_level_execute_command(command)
        record, end, process = answer.get("stdout", "").rpartition("]")
        process = process.strip()
        is_found = process.startswith("/proc/") and process[6:].isdigit()
        self._processes = process if is_found else _PROCESSES
        took = time.monotonic() - begun
        # A slow login must not silence it, and must not keep the host busy.
        self.wait = max(self._interval - took, min(took, _LONGEST_WAIT))
        return record + end if is_found else ""

    def _execute(
        self, command: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Do what ``exec_command`` of the connection does, through the master of ssh if that can."""
        become = self._action._connection.become
        path = _master.socket_of(self._origin) if self._has_master else None
        if path and os.path.exists(path) and not getattr(become, "prompt", ""):
            with contextlib.suppress(OSError):
                answer = _master.run(path, command)
                # sudo can require a terminal.
                if not become or become.success.encode() in answer:
                    return 0, answer, b""
            self._has_master = False
        return self._start_ssh(command, in_data=in_data, sudoable=sudoable)


class CountReader:
    """Makes records of what this process counts: ``count`` returns bytes and all bytes of ``images`` images."""

    def __init__(self, count: t.Callable[[], tuple[int, int]], images: int) -> None:
        self._count, self._images, self._begun = count, images, time.monotonic()
        self.wait = _TICK

    def read(self) -> str:
        """Return the text of a record."""
        return json.dumps([time.monotonic() - self._begun, 0, self._images, *self._count()])


class Board:
    """What the workers of a task share: the state of each host, and which of them shows the next line."""

    def __init__(self, task: str, host: str, hosts: int, interval: float) -> None:
        self._directory = os.path.join(C.DEFAULT_LOCAL_TMP, f"lockstep-{task}")
        self._path = os.path.join(self._directory, hashlib.sha256(host.encode()).hexdigest()[:32])
        self._hosts, self._interval = hosts, interval
        self._due = 0.0  # no line is due before

    def put(self, state: State) -> None:
        """Write the state of the host; raise OSError if that fails."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        with open(f"{self._path}.new", "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(f"{self._path}.new", self._path)

    def tick(self, now: float, show: Show) -> None:
        """Show the line of all hosts if it is due, and no other worker is about to."""
        if now < self._due:
            return
        tick = os.open(os.path.join(self._directory, "tick"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(tick, fcntl.LOCK_EX | fcntl.LOCK_NB)
            pace = self._pace(os.pread(tick, 4096, 0))
            self._due = pace.shown + pace.interval if pace.shown else 0.0
            line = batch_line(self._states(), self._hosts) if pace.is_due(now) else None
            if line and pace.takes(now, json.loads(json.dumps(line[0]))):
                os.ftruncate(tick, 0)
                os.pwrite(tick, json.dumps([pace.began, pace.shown, pace.last]).encode(), 0)
                show(line[1])
        except BlockingIOError:
            pass
        finally:
            os.close(tick)

    def _pace(self, text: bytes) -> Pace:
        pace = Pace(self._interval)
        with contextlib.suppress(ValueError):
            pace.began, pace.shown, pace.last = json.loads(text)
        return pace

    def _states(self) -> list[State]:
        found = []
        for path in glob.glob(os.path.join(glob.escape(self._directory), "*[0-9a-f]")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                with open(path, encoding="utf-8") as file:
                    found.append(State(*json.load(file)))
        return found


class Watch:
    """Shows the progress of one task on one host. ``token`` marks the process of its module."""

    def __init__(self, action: t.Any, host: str, hosts: int, interval: float) -> None:
        self.token = secrets.token_hex(8)
        self._show_line: Show = lambda line: action._display.display(line, stderr=True)
        self._meter, self._pace = Meter(host), Pace(interval)
        self._board = (
            Board(action._task._uuid, host, hosts, interval) if hosts > _MOST_LINES else None
        )
        connection, running = action._connection, min(hosts, forks())
        is_local = connection.transport == "local" and not connection.become
        self._reader: LocalReader | RemoteReader | CountReader = (
            LocalReader(self.token, running)
            if is_local
            else RemoteReader(action, self.token, interval, running)
        )
        self._due = time.monotonic() + self._reader.first
        self._tick = tick_of(running)
        self._parent = os.getppid()
        self._handled: t.Any = None  # what handled SIGTERM
        self._signals = -1  # a pipe with the numbers of the signals that have arrived
        self._showing, self._stopped = threading.Lock(), threading.Event()

    def start(self) -> None:
        """Start the thread."""
        # Before ansible-core 2.19, an interrupted playbook ends its workers, but not what they run.
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not the main thread
                self._handled = signal.signal(signal.SIGTERM, lambda *_args: _end_worker())
                # Only the main thread runs the handler. If another thread gets the signal, the main thread first waits
                # for ssh, up to 12 seconds. The pipe stays open: a worker ends with its task.
                self._signals, end = os.pipe()
                os.set_blocking(self._signals, False)
                os.set_blocking(end, False)
                signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        threading.Thread(target=self._run, daemon=True).start()

    @contextlib.contextmanager
    def counting(self, count: t.Callable[[], tuple[int, int]], images: int) -> t.Iterator[None]:
        """In the block, show what ``count`` returns, as in ``CountReader``, and not the record of the module."""
        reader, self._reader, self._due = self._reader, CountReader(count, images), 0.0
        try:
            yield
        finally:
            self._reader = reader

    def stop(self, is_ok: bool) -> None:
        """End it: nothing is shown after this. A read that has begun ends by itself."""
        with self._showing:
            self._stopped.set()
            if self._board:
                with contextlib.suppress(OSError):
                    self._board.put(self._meter.end(is_ok))
        if self._handled is not None:
            signal.signal(signal.SIGTERM, self._handled)
            signal.set_wakeup_fd(-1)

    def _run(self) -> None:
        # The first time at random: of hosts that start together, one of them soon looks.
        wait = random.uniform(min(_TICK, self._tick), self._tick)
        while not self._stopped.wait(wait):
            wait = self._tick
            # In a worker nobody waits for, and nobody would see, what it throws.
            with contextlib.suppress(Exception):
                if os.getppid() != self._parent or self._is_terminated():
                    _end_worker()
                if time.monotonic() >= self._due:
                    self._read()
                    self._due = time.monotonic() + self._wait()
                if self._board and self._meter.state.elapsed >= FIRST_LINE:
                    with self._showing:
                        # The board notes a line before it is shown: no other worker would show it.
                        if not self._stopped.is_set():
                            self._board.tick(time.monotonic(), self._show_line)

    def _is_terminated(self) -> bool:
        """Return whether SIGTERM has arrived."""
        with contextlib.suppress(OSError):  # none has, or there is no pipe
            return signal.SIGTERM in os.read(self._signals, 512)
        return False

    def _wait(self) -> float:
        """Return how long to wait for the next read: less until the first line of a host."""
        wait, left = self._reader.wait, FIRST_LINE - self._meter.state.elapsed
        return wait if self._board or left <= 0 else min(wait, max(left, wait / 2))

    def _read(self) -> None:
        record = Record.parse(self._reader.read())
        if record is None:
            return
        with self._showing:
            if self._stopped.is_set():  # the end of the host is written already
                return
            state = self._meter.add(record)
            if self._board:
                self._board.put(state)
        if not self._board and state.elapsed >= FIRST_LINE:
            told, line = host_line(state)
            if self._pace.takes(time.monotonic(), told):
                self._show(line)

    def _show(self, line: str) -> None:
        with self._showing:
            if not self._stopped.is_set():
                self._show_line(line)


def tick_of(hosts: int) -> float:
    """Return the seconds after which each host looks for something to do: of many hosts, one of them soon does."""
    if hosts <= _MOST_LINES:
        return _TICK
    return min(max(2 * _TICK, hosts / _MOST_TICKS), _RAREST_TICK * _TICK)


def forks() -> int:
    """Return how many hosts Ansible works on at the same time."""
    return int(context.CLIARGS.get("forks") or C.DEFAULT_FORKS)


def _end_worker() -> None:
    """End this worker and the programs that it runs: nobody waits for the result."""
    for process in list(descendants_of(os.getpid())):
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGTERM)
    os._exit(1)
