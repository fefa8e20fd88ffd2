# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner of `./dev test`: its summary, its logs, and the processes of a part."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.devtools import parts
from ansible_collections.lockstep.images.tests.devtools.environment import DevError, Missing
from ansible_collections.lockstep.images.tests.devtools.parts import Part, reasons

if sys.version_info < (3, 10):
    pytest.skip("./dev needs Python 3.10 or later", allow_module_level=True)


def shell(name: str, script: str, seconds: int = 60) -> Part:
    return Part(name, ["sh", "-c", script], lambda: dict(os.environ), seconds)


def without(name: str, error: Exception) -> Part:
    """A part whose preparation raises an error."""

    def prepare() -> dict[str, str]:
        raise error

    return Part(name, ["true"], prepare)


@pytest.fixture(name="run")
def fixture_run(tmp_path, monkeypatch, capsys):
    """Run waves of parts; return the exit status and what was printed, without times."""
    monkeypatch.setattr(parts, "DEV", tmp_path)
    monkeypatch.setattr(parts, "TREE", tmp_path)

    def run(*waves: list[Part], keep_going: bool = False) -> tuple[int, str]:
        status = asyncio.run(parts.run_waves(list(waves), keep_going))
        return status, re.sub(r"\d+ s\b", "N s", capsys.readouterr().out)

    return run


def test_the_summary_names_each_part_and_counts_them(run):
    status, printed = run(
        [
            shell("good", "echo fine"),
            shell("bad", "echo 'FAILED a_test - why'; exit 3"),
            shell("empty", "echo 'All targets skipped.'"),
            without("no Python", Missing("no Python 3.9 here")),
            without("no index", DevError("failed: pip")),
            without("bug", KeyError("x")),
        ]
    )
    assert status == 1
    assert printed.split("\n\n")[-1].splitlines() == [
        "== good: passed (N s)",
        "== bad: failed: sh: exit status 3 (N s)",
        "   FAILED a_test - why",
        "== empty: failed: tested nothing (N s)",
        "== no Python: skipped: no Python 3.9 here (N s)",
        "== no index: failed: failed: pip (N s)",
        "== bug: failed: KeyError('x') (N s)",
        "== in all: N s",
        "1 passed, 4 failed, 1 skipped",
    ]


def test_a_wave_that_fails_is_the_last_unless_the_run_continues(run):
    waves = [[shell("first", "exit 1")], [shell("second", "true")]]
    assert "== second: not run, for what failed before\n" in run(*waves)[1]
    assert "== second: passed (N s)\n" in run(*waves, keep_going=True)[1]
    assert run(waves[1]) == (
        0,
        "== running: second\n== second: passed (N s)\n\n== second: passed (N s)\n"
        "== in all: N s\n1 passed, 0 failed\n",
    )


def test_a_run_of_skipped_parts_fails(run):
    assert run([without("part", Missing("it needs root"))])[0] == 1


def test_processes_of_a_part_end_with_it(run, tmp_path):
    script = "sleep 600 & echo $! > pid-of-{0}; {1}"
    status, printed = run(
        [
            shell("quick", script.format("quick", "true")),
            shell("late", script.format("late", "wait"), seconds=1),
        ]
    )
    assert status == 1 and "== late: failed: took too long (N s)" in printed
    pids = [(tmp_path / f"pid-of-{name}").read_text().strip() for name in ("quick", "late")]
    deadline = time.monotonic() + 10
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: str) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_the_log_has_the_output_of_a_part(run, tmp_path):
    assert "one\ntwo\n" in run([shell("a part", "echo one; echo two >&2")])[1]
    assert (tmp_path / "logs" / "a-part.log").read_text() == "one\ntwo\n"


def test_a_failure_that_ansible_ignored_is_not_a_reason():
    printed = (
        "fatal: [host1]: FAILED! => expected\n...ignoring\n"
        "fatal: [host2]: FAILED! => {\n    msg: broken\n}\n"
        "ERROR: one\nnox > Session typing aborted: Mypy failed.\n"
    )
    assert reasons(printed) == [
        "   fatal: [host2]: FAILED! => {",
        "   msg: broken",
        "   ERROR: one",
        "   nox > Session typing aborted: Mypy failed.",
    ]
