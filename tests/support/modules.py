# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the collection's modules as Ansible does on a host: in a process, with JSON in and out."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .forkserver import COLLECTIONS, LIBRARIES, Forkserver

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT.parents[2]), *filter(None, sys.path)])
# Shells make background jobs, and so their children, ignore SIGINT.
_START = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules.update(dict.fromkeys({missing!r}))
runpy.run_path({path!r}, run_name="__main__")
"""


@dataclass(frozen=True)
class Outcome:
    """The answer of a module."""

    result: dict[str, t.Any]
    stdout: str
    stderr: str

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def kind(self) -> str | None:
        """The kind of the error; None after success."""
        error: dict[str, str] = self.result.get("error", {})
        return error.get("kind")


def path_of(module: str) -> Path:
    """Return the file of a module."""
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
    """Start a module at verbosity 3; ``missing`` are packages that appear not to be installed.

    ``launcher`` is a command that takes the command to run as its last arguments.
    """
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
        env=environment(env),
    )
    assert process.stdin
    process.stdin.write(_arguments(check, params))
    process.stdin.close()
    process.stdin = None
    return process


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables of a module, with more of them."""
    path = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": PYTHONPATH}
    return {**path, **(env or {})}


def _arguments(check: bool, params: Mapping[str, t.Any]) -> str:
    internal = {"check_mode": check, "diff": True, "verbosity": 3}
    named = {f"_ansible_{name}": value for name, value in internal.items()}
    return json.dumps({"ANSIBLE_MODULE_ARGS": {**params, **named}})


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Outcome:
    """Wait for a module. Return its answer."""
    stdout, stderr = process.communicate(timeout=timeout)
    return _outcome(process.returncode, stdout, stderr)


def _outcome(status: int, stdout: str, stderr: str) -> Outcome:
    try:
        result = json.loads(stdout)
    except ValueError:
        raise AssertionError(f"the module printed no JSON:\n{stdout}\n{stderr}") from None
    assert (status != 0) == bool(result.get("failed"))
    return Outcome(result, stdout, stderr)


@functools.cache
def forkserver() -> Forkserver:
    """Return the process that runs the modules of this process and of its forks.

    It has imported module_utils too. That takes up to 50 ms each time, and no test sees it: the files in a
    module's archive, and what its threads import, are tested in processes of their own.
    """
    utils = (path.relative_to(ROOT) for path in ROOT.glob("plugins/module_utils/**/*.py"))
    own = (
        ".".join([COLLECTIONS, "lockstep.images", *path.with_suffix("").parts]) for path in utils
    )
    return Forkserver(environment(None), (*LIBRARIES, *sorted(own)))


def run(
    module: str,
    *,
    check: bool = False,
    missing: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
    python: str | os.PathLike[str] = sys.executable,
    packages: str = "",
    **params: t.Any,
) -> Outcome:
    """Run a module and return its answer; ``start`` and ``Forkserver.run`` describe the options.

    Start a new Python only for another user or interpreter, or for variables that Python reads when it starts.
    """
    is_new = any(name.startswith(("PYTHON", "LC_", "LANG", "LD_")) for name in env or ())
    if is_new or launcher or python != sys.executable:
        options: dict[str, t.Any] = {"launcher": launcher, "python": python, "missing": missing}
        return finish(start(module, check=check, env=env, **options, **params))
    stdin = _arguments(check, params)
    path = str(path_of(module))
    return _outcome(*forkserver().run(path, stdin, environment(env), missing, packages))


def four_times(module: str, **params: t.Any) -> list[Outcome]:
    """Run a module in check mode, for real, and both again. Return the four answers."""
    return [run(module, check=check, **params) for check in (True, False, True, False)]
