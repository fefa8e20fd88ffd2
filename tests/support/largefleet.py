# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets of hundreds of hosts on this machine: many stores from one, and hosts that only replay what a module returned.

A replayed host runs no module: its interpreter prints the result that the module has returned on a real host. So the CPU
time of a run is that of the controller.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .playbook import ansible_program, local_host

# Ansible runs: INTERPRETER .../AnsiballZ_NAME.py. "@store@" in the answer is the store of the host.
_REPLAY = """\
#!/bin/sh
module=${{1##*/AnsiballZ_}}
exec sed "s|@store@|{store}|g" "{answers}/${{module%.py}}.json"
"""


@dataclass(frozen=True)
class Cost:
    """What a run of ansible-playbook took: seconds, CPU seconds of all its processes, bytes of the largest process."""

    seconds: float
    cpu: float
    peak: int
    status: int
    output: str


def copy_store(model: Path, store: Path) -> None:
    """Make a store of the files of another one. Blobs are hard links; all other files are copies."""
    shutil.copytree(model, store, symlinks=True, ignore=shutil.ignore_patterns("blobs"))
    shutil.copytree(model / "blobs", store / "blobs", copy_function=os.link)


def replayed_host(directory: Path, answers: Path, store: str) -> dict[str, Any]:
    """Return the variables of a host whose modules return the files NAME.json in ``answers``."""
    directory.mkdir(parents=True, exist_ok=True)
    interpreter = directory / "python"
    interpreter.write_text(_REPLAY.format(store=store, answers=answers))
    interpreter.chmod(0o755)
    return local_host(
        directory, store_path=store, ansible_python_interpreter=os.fspath(interpreter)
    )


def save_answer(answers: Path, module: str, result: Mapping[str, Any], store: str) -> None:
    """Write the answer of a module for ``replayed_host``."""
    answers.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in result.items() if not name.startswith("_ansible_")}
    text = json.dumps({"invocation": {"module_args": {}}, **kept})
    (answers / f"{module}.json").write_text(text.replace(store, "@store@"))


def run_playbook(
    directory: Path,
    playbook: str,
    hosts: Mapping[str, Mapping[str, Any]],
    variables: Mapping[str, Any],
    environment: Mapping[str, str],
    launcher: Sequence[str] = (),
    program: Path | None = None,
) -> Cost:
    """Run a playbook as a user does, without a callback, and return what it took; ``program`` is ansible-playbook."""
    directory.mkdir(parents=True, exist_ok=True)
    inventory, given, output = (directory / name for name in ("inventory.json", "vars.json", "out"))
    program = program or ansible_program("ansible-playbook") or Path("ansible-playbook")
    interpreter = {"ansible_python_interpreter": sys.executable}
    known = {name: {**interpreter, **own} for name, own in hosts.items()}
    inventory.write_text(json.dumps({"all": {"hosts": known}}))
    given.write_text(json.dumps(variables))
    command = [
        *launcher,
        os.fspath(program),
        playbook,
        "-i",
        os.fspath(inventory),
        "-e",
        f"@{given}",
    ]
    own = {
        name: value for name, value in environment.items() if name != "ANSIBLE_CALLBACKS_ENABLED"
    }
    started = time.monotonic()
    with open(output, "wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        time.monotonic() - started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        process.returncode,
        output.read_text(errors="replace"),
    )
