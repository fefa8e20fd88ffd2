# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs: their input, output, limits and errors."""

from __future__ import annotations

import io
import os
import sys
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.process import (
    PipeOutput,
    run,
)


def python(code, timeout=20.0, stdin=None, **env):
    return run([sys.executable, "-I", "-c", code], timeout, stdin, env)


def test_status_and_both_outputs_are_returned():
    done = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert done == (3, b"out\n", "err\n")


def test_outputs_larger_than_a_pipe_are_read_whole():
    done = python("import sys; sys.stdout.write('o' * 10**6); sys.stderr.write('e' * 10**6)")
    assert (len(done.stdout), len(done.stderr)) == (10**6, 10**6)


def test_arguments_pass_through_no_shell():
    done = run([sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME; `id`"], 20)
    assert done.stdout == b"$HOME; `id`\n"


def test_variables_are_added_to_the_environment(monkeypatch):
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    done = python(
        "import os; print(os.environ['A'], os.environ['LANG'], os.environ['LC_ALL'])", A="1"
    )
    assert done.stdout == b"1 de_DE.UTF-8 C\n"


@pytest.mark.parametrize("in_memory", [True, False])
def test_input_is_sent_whole_and_counted(tmp_path, in_memory):
    data = os.urandom(3 * 1024 * 1024 + 5)
    (tmp_path / "blob").write_bytes(data + b"rest")
    counts = []

    def send(output: PipeOutput) -> None:
        output.note = counts.append
        output.write(b"head")
        with io.BytesIO(data) if in_memory else open(tmp_path / "blob", "rb") as file:
            assert output.send_file(file, len(data)) == len(data)

    done = python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", stdin=send)
    assert done.stdout == b"head" + data
    assert sum(counts) == 4 + len(data)


@pytest.mark.parametrize("in_memory", [True, False])
def test_short_file_is_reported(tmp_path, in_memory):
    (tmp_path / "blob").write_bytes(b"1234")
    sent = []

    def send(output: PipeOutput) -> None:
        with io.BytesIO(b"1234") if in_memory else open(tmp_path / "blob", "rb") as file:
            sent.append(output.send_file(file, 10))

    python("import sys; sys.stdin.read()", stdin=send)
    assert sent == [4]


def test_program_that_reads_no_input_is_judged_by_its_status():
    done = python("raise SystemExit('full')", stdin=lambda output: output.write(bytes(10**7)))
    assert (done.status, done.stderr) == (1, "full\n")


def test_failing_input_kills_the_program_before_it_sees_an_end(tmp_path):
    mark = tmp_path / "mark"

    def send(output: PipeOutput) -> None:
        output.write(b"half")
        raise ValueError("the blob is truncated")

    code = f"import sys; sys.stdin.read(); open({os.fspath(mark)!r}, 'w')"
    with pytest.raises(ValueError, match="truncated"):
        python(code, stdin=send)
    time.sleep(0.2)
    assert not mark.exists()


def test_program_without_an_end_is_killed_with_its_children(tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(2); open({os.fspath(mark)!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    begun = time.monotonic()
    with pytest.raises(errors.EngineTimeoutError, match=r"did not end within 1 seconds"):
        python(code, timeout=1.0)
    assert time.monotonic() - begun < 5
    time.sleep(1.5)
    assert not mark.exists()


def test_program_that_takes_no_input_is_killed_in_time():
    with pytest.raises(errors.EngineTimeoutError):
        python("import time; time.sleep(60)", 1.0, lambda output: output.write(bytes(10**7)))


def test_missing_program_is_reported():
    with pytest.raises(errors.EngineNotFoundError, match=r"^nosuch: this program is not installed"):
        run(["nosuch"], 1)


def test_file_that_cannot_run_is_reported(tmp_path):
    (tmp_path / "ctr").write_text("")
    with pytest.raises(errors.EngineNotFoundError, match="ctr: Permission denied"):
        run([os.fspath(tmp_path / "ctr")], 1)


def test_time_in_which_a_program_waits_for_its_input_does_not_count():
    def slow(output):
        time.sleep(1.5)
        output.write(b"late")

    code = "import sys; sys.stdout.write(sys.stdin.read())"
    assert python(code, 1.0, slow).stdout == b"late"


def test_time_in_which_a_program_waits_for_something_else_does_not_count():
    command = [sys.executable, "-I", "-c", "import time; time.sleep(1.5)"]
    assert run(command, 1.0, is_waiting=lambda: True).status == 0
    with pytest.raises(errors.EngineTimeoutError):
        run(command, 1.0, is_waiting=lambda: False)
