# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the parts of a test run, two at a time, and summarize them."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import pathlib
import re
import signal
import time
import typing as t
from subprocess import DEVNULL

from .environment import DEV, TREE, DevError, Missing, environ

WORKERS = 2
# ansible-test prints this, and exits with 0, when it tests nothing.
NOTHING_TESTED = b"All targets skipped"
# The summary repeats these lines of a failed part: an Ansible task whose failure was not expected,
# with its message; a test of pytest; a session of nox.
_REASONS = re.compile(
    r"^(?:fatal: \[.*(?:\n(?!\.\.\.ignoring)\s+\S.*){0,3}(?!\n\.\.\.ignoring)\n"
    r"|(?:FAILED|ERROR)[ :].*\n|nox > Session \S+ (?:aborted|failed).*\n)",
    re.MULTILINE,
)


class Part(t.NamedTuple):
    """A command that passes or fails; `prepare` installs what it needs and returns its variables."""

    name: str
    command: t.Sequence[str]
    prepare: t.Callable[[], dict[str, str]] = environ
    seconds: int = 1200


async def _run(part: Part, log: pathlib.Path, echo: bool) -> None:
    """Run the command of PART, with its output in LOG; raise DevError unless it passes."""
    env = await asyncio.to_thread(part.prepare)
    with open(log, "wb") as out:
        options: dict[str, t.Any] = {"stdin": DEVNULL, "stdout": out, "stderr": out, "env": env}
        process = await asyncio.create_subprocess_exec(
            *part.command, cwd=TREE, start_new_session=True, **options
        )
    try:
        await asyncio.wait_for(_show(log, process) if echo else process.wait(), part.seconds)
    except asyncio.TimeoutError:
        raise DevError("took too long") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # end every process that it started
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise DevError(f"{part.command[0]}: exit status {process.returncode}")
    if NOTHING_TESTED in log.read_bytes():
        raise DevError("tested nothing")


async def _show(log: pathlib.Path, process: asyncio.subprocess.Process) -> None:
    """Show the lines that PROCESS writes to LOG, until it ends."""
    with open(log, encoding="utf-8", errors="replace") as printed:
        while process.returncode is None:
            print(printed.read(), end="", flush=True)
            await asyncio.sleep(0.2)
        print(printed.read(), end="", flush=True)


async def _run_part(part: Part, echo: bool, turns: asyncio.Semaphore) -> tuple[str, str]:
    """Run PART; return "passed", "failed" or "skipped", and its lines of the summary."""
    log = DEV / "logs" / f"{part.name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    async with turns:
        log.write_bytes(b"")
        started = time.monotonic()
        word, why = "passed", ""
        try:
            await _run(part, log, echo)
        except Exception as exc:  # a bug of ./dev too must not end the other parts
            word = "skipped" if isinstance(exc, Missing) else "failed"
            why = f": {exc if isinstance(exc, (DevError, OSError)) else repr(exc)}"
        head = f"== {part.name}: {word}{why} ({time.monotonic() - started:.0f} s)"
        printed = log.read_text(encoding="utf-8", errors="replace")
        print(head if echo else f"{printed}{head}", flush=True)
    return word, "\n".join([head, *reasons(printed)] if word == "failed" else [head])


def reasons(printed: str) -> list[str]:
    """Return the lines of PRINTED, the output of a failed part, that say why it failed."""
    found = [line for part in _REASONS.findall(printed) for line in part.splitlines()]
    return [f"   {line.strip()[:400]}" for line in found[-12:]]


async def run_waves(waves: list[list[Part]], keep_going: bool = False) -> int:
    """Run the waves, to the first that fails unless KEEP_GOING; return the exit status.

    The output of a part is printed when it ends; in a wave of one part, at once.
    """
    started = time.monotonic()
    results: list[tuple[str, str]] = []
    counts, left = collections.Counter[str](), list(waves)
    while left and (keep_going or not counts["failed"]):
        parts, turns = left.pop(0), asyncio.Semaphore(WORKERS)
        print(f"== running: {', '.join(part.name for part in parts)}", flush=True)
        runs = [_run_part(part, len(parts) == 1, turns) for part in parts]
        results += await asyncio.gather(*runs)
        counts = collections.Counter(word for word, _text in results)
    print("", *(text for _word, text in results), sep="\n")
    for part in (part for wave in left for part in wave):
        print(f"== {part.name}: not run, for what failed before")
    print(f"== in all: {time.monotonic() - started:.0f} s")
    tail = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{tail}")
    return 1 if counts["failed"] or not counts["passed"] else 0
