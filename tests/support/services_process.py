# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start a daemon, wait until it answers, and remove everything that it leaves.

This file handles processes, logs and mounts, and knows nothing about particular daemons.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

START_SECONDS = 60.0
STOP_SECONDS = 10.0
LOG_TAIL_LINES = 40


class ServiceError(Exception):
    """A program is missing, a service did not start, or a command failed.

    The message ends with the output.
    """


@dataclass(frozen=True)
class Service:
    """A running service. `address` is `host:port` or the path of a socket, `url` is for clients."""

    address: str
    url: str
    log: Path
    pid: int

    @property
    def port(self) -> int:
        """The TCP port of `address`. Raise ValueError for the path of a socket."""
        return int(self.address.rpartition(":")[2])

    def log_text(self) -> str:
        """Return everything that the service has logged."""
        return self.log.read_text(errors="replace")


def find_program(name: str) -> str | None:
    """Return the absolute path of a program, or None. Search the sbin directories in any case."""
    path = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    )
    return shutil.which(name, path=path)


def program(name: str) -> str:
    """Return the absolute path of a program. Raise ServiceError if it is not installed."""
    found = find_program(name)
    if found is None:
        raise ServiceError(f"{name}: not installed")
    return found


def missing_programs(*names: str) -> list[str]:
    """Return the programs that are not installed, in the order given."""
    return [name for name in names if find_program(name) is None]


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float = 300,
) -> str:
    """Run a command. Return its stdout, or raise ServiceError with stdout and stderr if it fails."""
    done = subprocess.run(
        [os.fspath(part) for part in command],
        env=dict(os.environ, **(env or {})),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        shown = " ".join(os.fspath(part) for part in command)
        raise ServiceError(f"{shown}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log under its path, for an error message."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join([f"--- {log}", *(line[:300] for line in text.splitlines()[-lines:])])


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    directory: Path,
    log: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon in its own process group. The block begins when `ready` returns True.

    No other process may use `directory`: when the block ends, each process that names it on its
    command line is killed, and each mount below it is unmounted. Raise ServiceError with the end of
    the log if the daemon ends early, or is not ready within START_SECONDS.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # With setpriv (of util-linux, so always installed), the daemon ends even if this process is
        # killed and cannot stop it.
        process = subprocess.Popen(
            [program("setpriv"), "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **(env or {})),
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, Path(command[0]).name, log, ready)
        yield process
    finally:
        _stop_group(process)
        kill_leftovers(directory)
        unmount_below(directory)


def _wait_until_ready(
    process: subprocess.Popen[bytes], name: str, log: Path, ready: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None:
            raise ServiceError(f"{name}: ended with status {process.returncode}\n{log_tail(log)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{name}: no answer in {START_SECONDS:.0f} s\n{log_tail(log)}")
        time.sleep(0.02)


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process and its group: first with SIGTERM (dockerd then unmounts), then with SIGKILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children that outlived the leader of the group


def kill_leftovers(directory: Path) -> list[int]:
    """Kill every process that names `directory` on its command line. Return their pids.

    Shims leave the process group of their daemon, so that killing the group does not reach them.
    """
    wanted = os.fsencode(directory.resolve())
    killed = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parts = (entry / "cmdline").read_bytes().split(b"\0")
            # Never kill another Python: it is the test run itself, or a tool that watches it.
            ours = os.path.samefile(entry / "exe", "/proc/self/exe")
            if not ours and any(_names(part, wanted) for part in parts[1:]):
                os.kill(int(entry.name), signal.SIGKILL)
                killed.append(int(entry.name))
    return killed


def _names(argument: bytes, directory: bytes) -> bool:
    before, found, after = argument.partition(directory)
    return bool(found) and before[-1:] in (b"", b"=", b":", b"/") and after[:1] in (b"", b"/")


def unmount_below(directory: Path) -> list[str]:
    """Unmount everything at or below `directory`, deepest first. Return the mount points."""
    wanted = os.fspath(directory.resolve())
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mine = [mount for mount in mounts if mount == wanted or mount.startswith(wanted + "/")]
    for mount in reversed(mine):
        subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL, check=False)
    return mine
