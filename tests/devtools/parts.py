# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the parts of a test run, a few at a time, and count what came of them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t

from devtools.environment import DEV, TREE, environ

WORKERS = 2
# ansible-test says this, and exits with 0, when it has tested nothing.
NOTHING_TESTED = b"All targets skipped"

# What a failed part is repeated by at the end, where whoever sees only the end of the output finds it: a task of Ansible
# whose failure was not expected, with what it says; tests of pytest.
_TELLING = re.compile(
    r"^(?:fatal: \[.*(?:\n(?!\.\.\.ignoring)\s+\S.*){0,3}(?!\n\.\.\.ignoring)\n|(?:FAILED|ERROR)[ :].*\n)",
    re.MULTILINE,
)
_TOLD, _WIDTH = 12, 400

_RUNNING = set()


class PartFailed(Exception):
    """A part has failed; the text says how."""


class PartSkipped(Exception):
    """A part cannot run here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One thing that passes or fails: a name, and a function that is given a shell."""

    name: str
    check: t.Callable[[Shell], None]
    seconds: int = 1200


class Shell:
    """Runs the commands of one part, with all they print in one log."""

    def __init__(self, part, echo):
        self._echo = echo
        self._ends = time.monotonic() + part.seconds
        self.log = DEV / "logs" / f"{part.name.replace(' ', '-')}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")

    def say(self, text):
        """Add a line to the log."""
        self._write(f"{text}\n".encode())

    def _write(self, data):
        with open(self.log, "ab") as log:
            log.write(data)
        if self._echo:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def run(self, *command, cwd=TREE, env=None, **variables):
        """Run COMMAND and return what it printed; PartFailed when it fails, hangs, or tests nothing."""
        env = dict(env or environ(), **variables)
        argv = [str(c) for c in command]
        program = shutil.which(argv[0], path=env["PATH"])
        self.say("+ " + " ".join(argv).replace(f"{DEV}{os.sep}", ".dev/"))
        if program is None:
            raise PartFailed(f"{argv[0]}: no such command")
        with subprocess.Popen(
            [program, *argv[1:]],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            _RUNNING.add(process)
            late = threading.Event()
            timer = threading.Timer(self._ends - time.monotonic(), _end, (process, late))
            timer.start()
            printed = []
            try:
                for line in process.stdout:
                    printed.append(line)
                    self._write(line)
                status = process.wait()
            except BaseException:
                _end(process)
                raise
            finally:
                timer.cancel()
                _RUNNING.discard(process)
        if late.is_set():
            raise PartFailed("took too long")
        if status:
            raise PartFailed(f"{argv[0]}: exit status {status}")
        output = b"".join(printed)
        if NOTHING_TESTED in output:
            raise PartFailed("tested nothing")
        return output.decode(errors="replace")


def _end(process, late=None):
    """End PROCESS and what it started."""
    if late:
        late.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _run_part(part, echo, say):
    started = time.monotonic()
    shell = Shell(part, echo)
    try:
        part.check(shell)
        word, why = "passed", ""
    except PartSkipped as exc:
        word, why = "skipped", f": {exc}"
    except PartFailed as exc:
        word, why = "failed", f": {exc}"
    except Exception as exc:  # a bug of ours is a failure of the part, and the others still count
        word, why = "failed", f": {exc!r}"
    head = f"== {part.name}: {word}{why} ({time.monotonic() - started:.0f} s)"
    printed = shell.log.read_text(encoding="utf-8", errors="replace")
    say(("" if echo else printed) + head)
    return word, "\n".join([head, *telling(printed)] if word == "failed" else [head])


def telling(printed):
    """Return the lines of what a part PRINTED that say why it failed."""
    found = [line for part in _TELLING.findall(printed) for line in part.splitlines()]
    return [f"   {line.strip()[:_WIDTH]}" for line in found[-_TOLD:]]


def run_wave(parts, say):
    """Run PARTS, two at a time; what a part prints comes out in one piece when it ends."""
    if len(parts) == 1:
        return [_run_part(parts[0], True, say)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(_run_part, part, False, say) for part in parts]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(_RUNNING):
                _end(process)
            raise


def run_waves(waves, keep_going=False):
    """Run wave after wave, to the first that fails unless KEEP_GOING; return the exit status."""
    lock = threading.Lock()

    def say(text):
        with lock:
            print(text, flush=True)

    started = time.monotonic()
    results = []
    left = list(waves)
    while left:
        parts = left.pop(0)
        say(f"== running: {', '.join(part.name for part in parts)}")
        results += run_wave(parts, say)
        if not keep_going and any(word == "failed" for word, _head in results):
            break
    say("")
    for _word, head in results:
        say(head)
    for part in [part for wave in left for part in wave]:
        say(f"== {part.name}: not run, for what failed before")
    counts = {
        word: sum(w == word for w, _head in results) for word in ("passed", "failed", "skipped")
    }
    say(f"== in all: {time.monotonic() - started:.0f} s")
    tail = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    say(f"{counts['passed']} passed, {counts['failed']} failed{tail}")
    return 1 if counts["failed"] or not counts["passed"] else 0
