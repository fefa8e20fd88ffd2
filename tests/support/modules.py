# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the collection's modules as Ansible does on a host: a process, JSON in, JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT.parents[2]), *filter(None, sys.path)])
# A shell makes its background jobs ignore SIGINT, and so all that they start.
_START = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules.update(dict.fromkeys({missing!r}))
runpy.run_path({path!r}, run_name="__main__")
"""


@dataclass(frozen=True)
class Outcome:
    """What a module answered."""

    result: dict[str, t.Any]
    stdout: str
    stderr: str

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def kind(self) -> str | None:
        """The stable word of the error, None for success."""
        error: dict[str, str] = self.result.get("error", {})
        return error.get("kind")


def path_of(module: str) -> Path:
    """The file of a module."""
    return ROOT / "plugins" / "modules" / f"{module}.py"


def start(
    module: str,
    *,
    check: bool = False,
    missing: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
    python: str | os.PathLike[str] = sys.executable,
    **params: t.Any,
) -> subprocess.Popen[str]:
    """Start a module at verbosity 3; ``missing`` are packages that seem not to be installed.

    ``launcher`` is a command that runs the command which is its last arguments.
    """
    given = {
        **params,
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        "_ansible_verbosity": 3,
    }
    process = subprocess.Popen(
        [
            *launcher,
            os.fspath(python),
            "-c",
            _START.format(missing=missing, path=str(path_of(module))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PYTHONPATH": PYTHONPATH,
            **(env or {}),
        },
    )
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Outcome:
    """Wait for a module and read its answer."""
    stdout, stderr = process.communicate(timeout=timeout)
    try:
        result = json.loads(stdout)
    except ValueError:
        raise AssertionError(f"no JSON came out:\n{stdout}\n{stderr}") from None
    assert (process.returncode != 0) == bool(result.get("failed"))
    return Outcome(result, stdout, stderr)


def run(module: str, **options: t.Any) -> Outcome:
    """Run a module; for the options see ``start``."""
    return finish(start(module, **options))


def four_times(module: str, **params: t.Any) -> list[Outcome]:
    """Check, real, check, real: how every case is proven."""
    return [run(module, check=check, **params) for check in (True, False, True, False)]
