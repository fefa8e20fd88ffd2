# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one entry for developers. It needs Python 3.10 or later with pip, and git.

    ./dev quickstart         the main job, on an embedded registry and three hosts of this machine
    ./dev test [-k]          everything below but scale, soak and bench; stops after a stage that fails, unless -k
    ./dev lint               ruff, mypy, reuse, ansible-lint, changelog and documentation linters
    ./dev unit               unit tests: oldest Python and requests, newest Python and requests
    ./dev fuzz [PARSER]      inputs at random for the parsers of foreign content; --help has the options
    ./dev slow               unit tests that kill processes at every system call
    ./dev sanity             ansible-test sanity on each ansible-core of the matrix
    ./dev integration        ansible-test integration
    ./dev fleet              playbooks on several hosts against real registries and engines
    ./dev scale              playbooks on a thousand hosts, and real images; not part of ./dev test
    ./dev soak               one store under random tasks, kills and faults for an hour; not part of ./dev test
    ./dev docs               the documentation site
    ./dev galaxy             build, import and install the artifact; rehearse a release; the execution environment
    ./dev release            write the changelog of the version in galaxy.yml
    ./dev bench [SCENARIO]   benchmarks; they print numbers and test nothing; --help names them
    ./dev run CMD...         run CMD in the mirrored tree, with the private environment
    ./dev sync               only bring the mirrored tree up to date, and print where it is
    ./dev clean              remove .dev

docs/contributing/development.md says more.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
import typing as t

from devtools import environment, release
from devtools.environment import CORES, DEV, PYTHON, ROOT, TREE, DevError, Missing
from devtools.parts import Part, run_waves

HOSTS = "playbooks/inventory/quickstart.yml"
QUICKSTART = ["ansible-playbook", "-i", HOSTS, "playbooks/quickstart.yml"]
FUZZ = [
    "python",
    "tests/fuzz/run.py",
    "--corpus",
    str(DEV / "corpus"),
    "--faults",
    str(DEV / "faults"),
]
BENCH = ["python", "tests/bench/run.py", "--docs", str(ROOT / "docs")]
NEXT = f"""\
The stores, and the project of the life cycle in shop, stay in .dev/quickstart until the next run or ./dev clean.

What next?
  See what a host holds:      ./dev run ansible -i {HOSTS} host1 -m lockstep.images.image_info -a 'store={{{{ store_path }}}}'
  Write a report of all:      ./dev run ansible-playbook -i {HOSTS} lockstep.images.report -e report_path=$PWD/report.html
  Provision your own hosts:   "Use it" in README.md
  Read how it works:          docs/index.md
"""


def core(line: str) -> dict[str, str]:
    """Install ansible-core LINE, with requests for code that runs on the controller."""
    return environment.install(f"core-{line}", CORES[line], "base")


def fleet() -> dict[str, str]:
    """Install registries, engines, compose, and each ansible-core that this machine has a Python for."""
    if os.geteuid() != 0:
        raise Missing("it needs root")
    for line in CORES:
        try:
            core(line)
        except Missing as exc:
            print(f"no tests on ansible-core {line}: {exc}", flush=True)
    return {**environment.packages("fleet"), **environment.compose()}


def browser() -> dict[str, str]:
    """Install a browser if root asks; without one, the tests of the site in a browser are skipped."""
    try:
        return environment.packages("docs")
    except Missing as exc:
        print(f"no tests in a browser: {exc}", flush=True)
        return environment.environ()


def fuzzing() -> dict[str, str]:
    """Install what fuzzes the parsers."""
    return environment.install("fuzzing", PYTHON, "base", "fuzz")


def ansible_test(name: str, kind: str, line: str, *options: str) -> Part:
    """Return a part that runs ansible-test of an ansible-core LINE without containers."""
    command = ["ansible-test", kind, "--venv", "--python", CORES[line], "--color", "no", *options]
    return Part(name, command, lambda: core(line))


def nox(name: str, *sessions: str) -> Part:
    """Return a part that runs SESSIONS of antsibull-nox.toml in the main environment."""
    # -R: install nothing. A relative path, because nox replaces long ones by a hash.
    options = ["-R", "--envdir", os.path.relpath(DEV / "nox", TREE)]
    command = ["nox", *options, "--session", *sessions]
    return Part(name, command, lambda: environment.lend(*sessions))


INTEGRATION = ["ansible-test", "integration", "--venv", "--python", PYTHON]
INTEGRATION += ["--color", "no", "-v", "--continue-on-error"]
# Two processes: both parts of the stage run side by side, and each process collects all tests.
UNITS = ["pytest", "-q", "-n", "2", "tests/unit"]
# Two processes too, because the tests often wait for a daemon or a host. Each has services of its own,
# and takes whole files: their tests share hosts, and may depend on their order.
FLEET = ["pytest", "-v", "--durations=10", "-n", "2"]
FLEET += ["--dist", "loadfile", "--no-loadscope-reorder"]
OLDEST = ("unit-oldest", "3.9", "unit-oldest")
STAGES = {
    "lint": [
        nox("ruff", "formatters", "codeqa"),
        nox("mypy", "typing"),
        nox("reuse", "license-check"),
        nox("extra checks", "extra-checks", "antsibull-nox-config"),
        Part("language", ["python", "tests/language.py"]),
        Part("changelog", ["antsibull-changelog", "lint"]),
        nox("plugin documentation", "docs-check"),
        nox("ansible-lint", "ansible-lint"),
    ],
    "unit": [
        Part("units on the oldest", UNITS, lambda: environment.install(*OLDEST)),
        ansible_test("units on the newest", "units", "2.21", "--num-workers", "2"),
    ],
    # The same inputs each time, so that a change fails only for what it changed. A release looks for new faults.
    "fuzz": [Part("fuzz", [*FUZZ, "--jobs", "1", "--repeatable"], fuzzing)],
    "slow": [Part("slow units", ["pytest", "-q", "-n", "2", "tests/slow"])],
    "sanity": [ansible_test(f"sanity {line}", "sanity", line) for line in CORES],
    "main job": [Part("quickstart", QUICKSTART)],
    "docs": [Part("html", ["sh", "-eu", "tests/devtools/html.sh", str(DEV / "docs")], browser)],
    "galaxy": [
        nox("import", "build-import-check"),
        Part("artifact", ["sh", "-eux", "tests/devtools/artifact.sh", str(DEV / "dist")]),
        Part("release", release.COMMAND),
    ],
    # The two longest parts. CI ends after 3,000 s: a part that hangs in the second wave must end before.
    "integration": [
        Part("integration", INTEGRATION, lambda: environment.packages("integration"), 2200)
    ],
    # On a bare machine it first installs a browser and engines, and builds a large image.
    "fleet": [Part("fleet", [*FLEET, "tests/fleet"], fleet, 2300)],
    # Not in WAVES: a run at night. Ansible does half of its work in one process, so two playbooks run at a time.
    "scale": [Part("scale", ["pytest", "-v", "-rP", "-n", "2", "tests/scale"], fleet, 7200)],
}
# ./dev test: quick stages first. Two parts run at a time. The longest part of a wave, the fleet tests,
# starts it, so that the quick parts at its end keep both busy.
WAVES = (
    ("lint", "unit"),
    ("fleet", "integration", "sanity", "slow", "fuzz", "main job", "docs", "galaxy"),
)


def stages(*waves: t.Sequence[str], keep_going: bool = False) -> int:
    """Run the parts of the stages that WAVES name; return the exit status."""
    environment.prepare("tools")
    parts = [[part for name in wave for part in STAGES[name]] for wave in waves]
    return asyncio.run(run_waves(parts, keep_going))


def run(command: t.Sequence[str], *tools: str) -> int:
    """Run COMMAND in the mirrored tree, with TOOLS; return its exit status."""
    environment.prepare(*tools)
    return subprocess.run(command, cwd=TREE, env=environment.environ(), check=False).returncode


def bench(args: t.Sequence[str]) -> int:
    """Run the benchmarks; return the exit status."""
    environment.prepare("tools")
    environment.packages("bench")
    return run([*BENCH, *args], "tools")


def fuzz(args: t.Sequence[str]) -> int:
    """Fuzz the parsers; return the exit status."""
    environment.sync()
    return subprocess.run([*FUZZ, *args], cwd=TREE, env=fuzzing(), check=False).returncode


def soak(args: t.Sequence[str]) -> int:
    """Run random tasks on one store; return the exit status."""
    return run(["python", "tests/soak/run.py", *args])


WITH_OPTIONS = {"bench": bench, "fuzz": fuzz, "soak": soak}
# Commands that print a text at the end: their tools, the command, the text.
FINISHED: dict[str, tuple[list[str], list[str], t.Callable[[], str]]] = {
    "quickstart": ([], QUICKSTART, lambda: NEXT),
    "release": (["tools"], release.COMMAND, release.adopt),
}


def finish(
    tools: list[str], command: list[str], text: t.Callable[[], str], args: t.Sequence[str]
) -> int:
    """Run COMMAND with ARGS, and print what follows its success; return its exit status."""
    status = run([*command, *args], *tools)
    print(text() if status == 0 else "", end="")
    return status


def main(name: str = "help", *args: str) -> int:
    """Do what the command line says, and return the exit status."""
    if sys.version_info < (3, 10):
        raise DevError("Python 3.10 or later is needed here (hosts: 3.9)")
    if name in WITH_OPTIONS:
        return WITH_OPTIONS[name](args)
    if name == "test" or name in STAGES:
        return stages(*WAVES if name == "test" else [[name]], keep_going="-k" in args)
    if name in FINISHED:
        return finish(*FINISHED[name], args)
    if name == "run" and args:
        return run(args, "tools")
    if name == "sync":
        print(environment.sync())
    elif name == "clean":
        shutil.rmtree(DEV, ignore_errors=True)
    elif name in ("help", "-h", "--help"):
        print(__doc__)
    elif name == "run":
        raise DevError("usage: ./dev run CMD...")
    else:
        near = difflib.get_close_matches(name, re.findall(r"\./dev (\w+)", __doc__), n=1)
        meant = f"; did you mean ./dev {near[0]}?" if near else ""
        raise DevError(f"{name}: no such command{meant} (./dev help lists the commands)")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(*sys.argv[1:]))
    except FileNotFoundError as exc:
        sys.exit(f"./dev: {exc.filename}: no such file or command")
    except DevError as exc:
        sys.exit(f"./dev: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
