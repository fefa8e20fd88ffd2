# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of engines: run without a shell, for a limited time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import threading
import typing as t

from .._archive.archive_file import DescriptorOutput
from . import errors

_CHUNK = 1024 * 1024
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux, which Python has from 3.10
_STEP = 0.5  # seconds between two looks at a program that runs
_LINGER = 5.0  # seconds to wait for the output of children that outlive their program


class Completed(t.NamedTuple):
    """A program that ended. ``status`` is its exit code, or minus the signal that ended it."""

    status: int
    stdout: bytes
    stderr: str


class PipeOutput(DescriptorOutput):
    """The standard input of a program, as the output of an archive. ``is_idle`` is whether nothing is being written."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.is_idle = True
        # A pipe of 64 KiB, which is the default, takes 16 times as many system calls.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _CHUNK)

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""
        self.is_idle = False
        super().write(data)
        self.is_idle = True

    def send_file(self, file: t.BinaryIO, size: int) -> int:
        """Write ``size`` bytes of a file from its start."""
        self.is_idle = False
        done = super().send_file(file, size)
        self.is_idle = True
        return done


def run(
    command: t.Sequence[str],
    timeout: float,
    stdin: t.Callable[[PipeOutput], None] | None = None,
    env: t.Mapping[str, str] | None = None,
    is_waiting: t.Callable[[], bool] = lambda: False,
    files: t.Sequence[int] = (),
) -> Completed:
    """Run a program and return how it ended. ``stdin`` writes its input, ``env`` adds to the environment.

    ``files`` are descriptors of open files that the program gets too, under their numbers.

    A program may end before it has read its input: its status and its messages say why it ended. If
    ``stdin`` raises, the program is killed before it sees the end of its input. Raise EngineNotFoundError if the program
    cannot be started, EngineTimeoutError if it takes more than ``timeout`` seconds, without the time in which it waits for its
    input, or ``is_waiting`` says that it waits for something else.
    """
    process = _start(command, stdin is not None, env, files)
    limit = _Limit(process, timeout, is_waiting)
    output = [_Reader(t.cast(t.BinaryIO, one)) for one in (process.stdout, process.stderr)]
    try:
        if stdin and process.stdin:
            pipe = PipeOutput(process.stdin.fileno())
            with contextlib.suppress(BrokenPipeError), limit.without(lambda: pipe.is_idle):
                stdin(pipe)
            process.stdin.close()
        process.wait()
        stdout, stderr = (reader.result() for reader in output)
    finally:
        limit.end()
        if process.stdin:
            process.stdin.close()
    if limit.is_exceeded:
        raise errors.EngineTimeoutError(f"{command[0]} did not end within {timeout:g} seconds")
    return Completed(process.returncode, stdout, stderr.decode("utf-8", "replace"))


def find_program(command: t.Sequence[str]) -> tuple[str, ...]:
    """Return a command with the path of its program; raise EngineNotFoundError if that is not installed."""
    path = shutil.which(command[0])
    if not path:
        raise _not_installed(command)
    return (path, *command[1:])


def _not_installed(command: t.Sequence[str]) -> errors.EngineNotFoundError:
    return errors.EngineNotFoundError(f"{command[0]}: this program is not installed")


def _start(
    command: t.Sequence[str],
    has_input: bool,
    env: t.Mapping[str, str] | None,
    files: t.Sequence[int],
) -> subprocess.Popen[bytes]:
    try:
        # A group of its own can be killed with its children. There is no AnsibleModule here.
        return subprocess.Popen(  # pylint: disable=ansible-bad-function
            command,
            bufsize=0,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            start_new_session=True,
            umask=0o022,  # that of the task would reach the files that RUN writes
            pass_fds=files,
        )
    except FileNotFoundError:
        raise _not_installed(command) from None
    except OSError as exc:
        raise errors.EngineNotFoundError(f"{command[0]}: {exc.strerror}") from exc


class _Reader(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, pipe: t.BinaryIO) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._read: list[bytes] = []
        self.start()

    def run(self) -> None:
        with self._pipe:
            self._read.extend(iter(lambda: self._pipe.read(_CHUNK), b""))

    def result(self) -> bytes:
        """Return what was read when the program has ended."""
        self.join(_LINGER)
        return b"".join(self._read)


class _Limit:
    """Kills a program with its children when its time is over, or when ``end`` finds it running.

    Time in which ``is_waiting`` returns True does not count.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        timeout: float,
        is_waiting: t.Callable[[], bool],
    ) -> None:
        self._process = process
        self._left = timeout
        self._is_waiting = is_waiting
        self._has_ended = threading.Event()
        self.is_exceeded = False
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def without(self, is_waiting: t.Callable[[], bool]) -> t.Iterator[None]:
        """Let ``is_waiting`` decide inside the block."""
        before, self._is_waiting = self._is_waiting, is_waiting
        try:
            yield
        finally:
            self._is_waiting = before

    def end(self) -> None:
        self._has_ended.set()
        self._kill()
        self._process.wait()

    def _watch(self) -> None:
        while self._left > 0:
            step = min(self._left, _STEP)
            if self._has_ended.wait(step):
                return
            if not self._is_waiting():
                self._left -= step
        self.is_exceeded = self._kill()

    def _kill(self) -> bool:
        if self._process.poll() is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return True
