# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run `ansible-playbook` as a user does, and read the results of all tasks and hosts."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .forkserver import ANSIBLE_PLAYBOOK, Forkserver
from .services_process import program

COLLECTION = Path("ansible_collections/lockstep/images")


def collections_path() -> Path | None:
    """Return the directory that holds `ansible_collections/lockstep/images`; None in a bare checkout.

    It is the first usable entry of ANSIBLE_COLLECTIONS_PATH, or a parent of this file in the
    mirrored tree.
    """
    named = [
        Path(entry)
        for entry in os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(os.pathsep)
        if entry
    ]
    for candidate in [*named, *Path(os.path.abspath(__file__)).parents]:
        if (candidate / COLLECTION / "galaxy.yml").is_file() or (
            candidate / COLLECTION / "plugins"
        ).is_dir():
            return candidate.absolute()
    return None


def ansible_program(name: str) -> Path | None:
    """Return the path of a program of Ansible: that of this Python, or else the first on PATH, or None."""
    beside = Path(sys.executable).with_name(name)
    found = os.fspath(beside) if beside.exists() else shutil.which(name)
    return Path(found) if found else None


def core_program(line: str) -> Path:
    """Return `ansible-playbook` of a line of ansible-core, such as `"2.16"`.

    Skip the current test if `./dev fleet` has not installed that line.
    """
    found = (collections_path() or Path()) / f"core-{line}" / "bin" / "ansible-playbook"
    if not found.exists():
        pytest.skip(f"no ansible-core {line} here: run ./dev fleet")
    return found


def private_environment(directory: Path, collections: Path) -> dict[str, str]:
    """Return the environment of a run that reads no configuration and writes only in `directory`."""
    home = directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    config = directory / "ansible.cfg"
    config.write_text("[defaults]\n")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "PYTEST_"))
    }
    kept.pop("DOCKER_CONFIG", None)
    kept.pop("REGISTRY_AUTH_FILE", None)
    return dict(
        kept,
        HOME=os.fspath(home),
        PATH=os.pathsep.join(
            [os.fspath(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        ),
        LC_ALL="C.UTF-8",
        ANSIBLE_CONFIG=os.fspath(config),
        ANSIBLE_HOME=os.fspath(home / ".ansible"),
        ANSIBLE_COLLECTIONS_PATH=os.fspath(collections),
        ANSIBLE_LOCAL_TEMP=os.fspath(directory / "local"),
        ANSIBLE_REMOTE_TEMP=os.fspath(directory / "remote"),
        # Keep this short: it holds the control socket of ssh, and its path is limited to 107 bytes.
        ANSIBLE_SSH_CONTROL_PATH_DIR=os.fspath(directory / "cp"),
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_FORKS="4",
        ANSIBLE_RETRY_FILES_ENABLED="0",
        ANSIBLE_CALLBACK_PLUGINS=os.fspath(
            Path(os.path.abspath(__file__)).parent / "callback_plugins"
        ),
        ANSIBLE_CALLBACKS_ENABLED="results_file",
    )


@dataclass(frozen=True)
class TaskResult:
    """The result of a task on one host; `status` is ok, failed, skipped or unreachable.

    `seconds` is the time since Ansible began the task on any host.
    """

    host: str
    task: str
    action: str
    status: str
    ignored: bool
    seconds: float
    result: dict[str, Any]


@dataclass(frozen=True)
class PlayResult:
    """One run. `recap` maps each host to Ansible's counters (ok, changed, failures, unreachable, ...)."""

    returncode: int
    stdout: str
    stderr: str
    tasks: list[TaskResult] = field(default_factory=list)
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, task: str) -> dict[str, dict[str, Any]]:
        """Return the results of a task by host. `task` is its name or its module.

        If there are several for a host, the last one counts.
        """
        return {one.host: one.result for one in self.tasks if task in (one.task, one.action)}

    def one(self, task: str) -> dict[str, Any]:
        """Return the result of a task that ran on exactly one host. Raise AssertionError otherwise."""
        found = self.of(task)
        if len(found) != 1:
            raise AssertionError(f"{task}: ran on {sorted(found) or 'no host'}\n{self.output}")
        return next(iter(found.values()))

    def seconds(self, task: str) -> float:
        """Return the seconds of a task with all items of its loop, without the start of Ansible."""
        return max(one.seconds for one in self.tasks if task in (one.task, one.action))

    def ok(self) -> PlayResult:
        """Return this run. Raise AssertionError with its output if it failed."""
        if self.returncode:
            raise AssertionError(self.output)
        return self

    @property
    def changed(self) -> int:
        """The number of tasks that changed something, on all hosts together."""
        return sum(counters["changed"] for counters in self.recap.values())

    @property
    def failures(self) -> list[TaskResult]:
        """The results that are failed or unreachable, and not ignored."""
        return [
            one for one in self.tasks if one.status in ("failed", "unreachable") and not one.ignored
        ]

    @property
    def output(self) -> str:
        """Everything that the run printed."""
        return self.stdout + self.stderr


@dataclass
class PlayRunner:
    """Runs plays in one environment. Each run has a directory for its play and its results."""

    directory: Path
    environment: dict[str, str] = field(repr=False)
    program: Path | None = None  # ansible-playbook; that of this Python by default
    # Fork each run from a process that has imported ansible-core, and share the cache of built modules.
    forks: bool = False
    _numbers: Any = field(default_factory=lambda: itertools.count(1), repr=False)

    def inventory(self, hosts: Mapping[str, Mapping[str, Any]], **shared: Any) -> Path:
        """Write an inventory of these hosts and their variables. Return its path.

        All hosts, including the implicit localhost, have the `shared` variables.
        """
        path = self.directory / f"inventory-{next(self._numbers)}.json"
        variables = {
            name: {"ansible_python_interpreter": sys.executable, **own}
            for name, own in hosts.items()
        }
        path.write_text(json.dumps({"all": {"hosts": variables, "vars": shared}}, indent=2))
        return path

    def __call__(
        self,
        play: str | Path,
        inventory: Path,
        extra_vars: Mapping[str, Any] | None = None,
        *,
        check: bool = False,
        diff: bool = False,
        verbosity: int = 0,
        environment: Mapping[str, str] | None = None,
        timeout: float = 600,
        launcher: Sequence[str] = (),
        limit: str = "",
        cwd: Path | None = None,
    ) -> PlayResult:
        """Run a play in the directory `cwd`, on the hosts of `limit` if it is not empty. Do not raise if it fails.

        `play` is its text, its file, or the name of a playbook of a collection. `launcher` is a
        command that takes the command to run as its last arguments.
        """
        directory = self.directory / f"run-{next(self._numbers)}"
        directory.mkdir()
        if isinstance(play, str) and "\n" in play:
            text, play = play, directory / "play.yml"
            play.write_text(text)
        binary = self.program or ansible_program("ansible-playbook") or Path("ansible-playbook")
        command = [os.fspath(binary), os.fspath(play), "--inventory", os.fspath(inventory)]
        if limit:
            command += ["--limit", limit]
        if extra_vars:
            (directory / "vars.json").write_text(json.dumps(extra_vars))
            command += ["--extra-vars", f"@{directory / 'vars.json'}"]
        command += (
            ["--check"] * check + ["--diff"] * diff + ["-" + "v" * verbosity] * bool(verbosity)
        )
        results = directory / "results.jsonl"
        env = {**self.environment, **(environment or {})}
        env["LOCKSTEP_TEST_RESULTS"] = os.fspath(results)
        if self.forks and not launcher and not any(map(_AT_IMPORT.match, environment or {})):
            server = _forkserver(binary, frozenset(self.environment.items()))
            options = {"cwd": os.fspath(cwd or directory), "seconds": int(timeout)}
            outcome = server.run(command[0], "", env, arguments=command[1:], **options)
            done = subprocess.CompletedProcess(command, *outcome)
        else:
            done = subprocess.run(
                [*launcher, *command],
                cwd=cwd or directory,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        (directory / "output.txt").write_text(done.stdout + done.stderr)
        return _read(done, results)

    def four_times(
        self,
        play: str | Path,
        inventory: Path,
        extra_vars: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[PlayResult]:
        """Run a play in check mode, for real, and both again. Return the four runs.

        Assert that check mode reports the real run, and that the second pair changes nothing.
        """
        runs = [
            self(play, inventory, extra_vars, check=check, **options)
            for check in (True, False, True, False)
        ]
        for check, real in (runs[:2], runs[2:]):
            _compare(check.ok(), real.ok())
        assert runs[2].changed == 0 and runs[3].changed == 0, runs[3].output
        return runs


# Variables that Python and ansible-core read when they start.
_AT_IMPORT = re.compile(r"ANSIBLE_|PYTHON|HOME$|LC_|LANG|LD_")


@functools.cache
def _forkserver(program: Path, environment: frozenset[tuple[str, str]]) -> Forkserver:
    """Return the process that runs `program`, of a line of ansible-core, in its forks."""
    return Forkserver(dict(environment), ANSIBLE_PLAYBOOK, program.with_name("python"))


def _compare(check: PlayResult, real: PlayResult) -> None:
    """Assert that a run in check mode has the results of the real one after it."""
    for said, done in itertools.zip_longest(_of_collection(check), _of_collection(real)):
        assert said and done and (said.host, said.task) == (done.host, done.task)
        # image_info only reads, so it returns the state before the change in check mode, and else after.
        looks = said.action.endswith("_info")
        for key in ["changed"] if looks else ["changed", "images", "actions", "diff"]:
            told = f"{said.host}: {said.task}: {key} is not what check mode said"
            assert said.result.get(key) == done.result.get(key), told
    for host, counters in real.recap.items():
        assert counters["changed"] == check.recap[host]["changed"], host


def _of_collection(run: PlayResult) -> list[TaskResult]:
    """Return the results of this collection's modules, ordered by host: hosts answer in any order."""
    own = [one for one in run.tasks if one.action.startswith("lockstep.images.")]
    return sorted(own, key=lambda one: one.host)


def one_task(action: str, **options: Any) -> str:
    """Return a play of one task, named like its module, on all hosts."""
    return each_task({action: (action, options)})


def each_task(tasks: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """Return a play of several tasks on all hosts: modules and their options, by the names of the tasks."""
    listed = [{"name": name, action: options} for name, (action, options) in tasks.items()]
    play = {"name": "Test", "hosts": "all", "gather_facts": False, "tasks": listed}
    return json.dumps([play], indent=2)  # JSON is YAML


def _read(done: subprocess.CompletedProcess[str], results: Path) -> PlayResult:
    """Combine the output of the process with the results that the callback wrote."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    tasks, recap = [], {}
    for line in map(json.loads, lines):
        if "recap" in line:
            recap = line["recap"]
        else:
            tasks.append(TaskResult(**line))
    return PlayResult(done.returncode, done.stdout, done.stderr, tasks, recap)


def local_host(directory: Path, **variables: Any) -> dict[str, Any]:
    """Return the variables of a host that is this machine, with its temporary files in `directory`."""
    remote = os.fspath(directory / "remote")
    return {"ansible_connection": "local", "ansible_remote_tmp": remote, **variables}


@dataclass(frozen=True)
class MeasuredPython:
    """A Python interpreter for `ansible_python_interpreter` that records peak memory."""

    interpreter: Path
    log: Path

    def peaks(self, module: str) -> list[int]:
        """Return the peak resident size in bytes of each run of a module so far, oldest first."""
        text = self.log.read_text() if self.log.exists() else ""
        return [
            int(size) * 1024
            for size, name in re.findall(r"^(\d+) .*AnsiballZ_(\w+)\.py", text, re.M)
            if name == module
        ]


def measured_python(directory: Path) -> MeasuredPython:
    """Create an interpreter in `directory` that runs this Python and records its peak memory.

    It measures with GNU time, which is small: a child process starts with the peak of its parent
    (Linux keeps it over exec), so a large parent would be measured too.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made = MeasuredPython(directory / "python3", directory / "peaks.log")
    made.interpreter.write_text(
        f"#!/bin/sh\nexec {program('time')} -q -a -o {made.log} -f '%M %C' env -u PYTHONPATH {sys.executable} \"$@\"\n"
    )
    made.interpreter.chmod(0o755)
    return made
