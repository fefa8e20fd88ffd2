# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils import _progress

RECORD = f"fd/{_progress.DESCRIPTOR}"
# A task of 10 bytes, of which the third byte never comes. It says when it is interrupted.
TASK = """
import runpy, signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background of a shell
progress = runpy.run_path(sys.argv[1])["PROGRESS"]
steps = [types.SimpleNamespace(subject="a"), types.SimpleNamespace(subject="b")]
plan = types.SimpleNamespace(names=steps, stats=lambda: {"bytes_fetched": 3, "bytes_to_fetch": 10})
try:
    progress.follow(types.SimpleNamespace(plan=plan, done=steps[:1]))
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


def started(**environment):
    command = [sys.executable, "-c", TASK, _progress.__file__]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process):
    process.kill()
    process.communicate()


def eventually(function):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = function()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("in vain")


@pytest.fixture()
def task():
    process = started(**{_progress.VARIABLE: "token"})
    yield process
    ended(process)


def test_controller_reads_the_record_through_proc(task):
    path = Path(f"/proc/{task.pid}", RECORD)
    text = eventually(lambda: path.exists() and path.read_text())
    seconds, *counts = json.loads(text)
    assert 0 <= seconds < 30 and counts == [1, 2, 3, 10]
    assert text == text.ljust(99)  # a shorter record leaves nothing of a longer one


def test_task_is_interrupted_once_nobody_can_read_its_result(task):
    record = Path(f"/proc/{task.pid}", RECORD)
    eventually(lambda: record.exists() and record.read_text())  # now the task can be interrupted
    task.stdout.close()
    assert task.stderr.read() == b"interrupted\n"
    assert task.wait(30) == 0
    task.stdout = None


def test_nothing_runs_and_nothing_is_open_unless_the_controller_asks():
    process = started()
    try:
        running = Path(f"/proc/{process.pid}")
        eventually(
            lambda: (running / "exe").exists() and b"-c" in (running / "cmdline").read_bytes()
        )
        assert not (running / RECORD).exists()
        assert [one.name for one in (running / "task").iterdir()] == [str(process.pid)]
    finally:
        ended(process)


def test_programs_that_the_task_starts_do_not_have_its_token(monkeypatch):
    monkeypatch.setenv(_progress.VARIABLE, "token")
    monkeypatch.setattr(os, "memfd_create", None)  # as on a system without it
    assert _progress.Progress().count is None
    assert _progress.VARIABLE not in os.environ
