# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one entry for developers. It needs Python 3.10 or later with pip, and nothing else.

    ./dev quickstart         the main job, on an embedded registry and three hosts of this machine
    ./dev test [-k]          everything below but bench; stops after a stage that fails, unless -k
    ./dev lint               ruff, mypy, reuse, ansible-lint, changelog and documentation linters
    ./dev unit               unit tests: oldest Python and requests, newest Python and requests
    ./dev slow               unit tests that kill processes at every system call
    ./dev sanity             ansible-test sanity on each ansible-core of the matrix
    ./dev integration        ansible-test integration
    ./dev fleet              playbooks on several hosts against real registries and engines
    ./dev docs               the HTML documentation
    ./dev galaxy             build, import and install the artifact; the execution environment
    ./dev bench [SCENARIO]   benchmarks; they print numbers and are no tests; --help names them
    ./dev run CMD...         run CMD in the mirrored tree, with the private environment
    ./dev sync               only bring the mirrored tree up to date, and print where it is
    ./dev clean              remove .dev

docs/contributing/development.md says more.
"""

from __future__ import annotations

import difflib
import shutil
import signal
import subprocess
import sys

from devtools import environment, system
from devtools.parts import run_waves
from devtools.plan import HOSTS, QUICKSTART, STAGES, WAVES

# The commands that run in the mirrored tree, with the private environment.
BENCH = ["python", "tests/bench/run.py", "--docs", str(environment.ROOT / "docs")]
BENCH_PACKAGES = ["curl", "docker-registry", "nginx-light", "time"]


NEXT = f"""\
The three hosts' stores stay in {environment.QUICKSTART.relative_to(environment.ROOT)} until the next run or ./dev clean.

What next?
  See what a host holds:      ./dev run ansible -i {HOSTS} host1 -m lockstep.images.image_info -a 'store={{{{ store_path }}}}'
  Write a report of all:      ./dev run ansible-playbook -i {HOSTS} lockstep.images.report -e report_path=$PWD/report.html
  Provision your own hosts:   "Use it" in README.md
  Read how it works:          docs/index.md
"""


def run(command):
    """Run COMMAND in the mirrored tree and return its exit status."""
    env = environment.environ()
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        raise environment.DevError(f"{command[0]}: no such command")
    done = subprocess.run([program, *command[1:]], cwd=environment.TREE, env=env, check=False)
    return done.returncode


def quickstart(args):
    """Run the main job on the embedded registry, and say what to do next."""
    environment.prepare(tools=False)
    status = run([*QUICKSTART, *args])
    if status == 0:
        print(NEXT)
    return status


def bench(args):
    """Run the benchmarks; what they compare with is not installed for them."""
    system.ensure(BENCH_PACKAGES)
    environment.prepare()
    return run([*BENCH, *args])


def run_command(args):
    """Run any command inside."""
    if not args:
        raise environment.DevError("usage: ./dev run CMD...")
    environment.prepare()
    return run(args)


def sync(args):
    """Bring the mirrored tree up to date."""
    print(environment.sync())
    return 0


def clean(args):
    """Remove all that this made."""
    shutil.rmtree(environment.DEV, ignore_errors=True)
    return 0


def test(args):
    """Run everything."""
    return stages(WAVES, keep_going="-k" in args)


def stages(waves, keep_going=False):
    """Run the parts of the stages that WAVES name."""
    system.ensure(["git"])
    environment.prepare()
    return run_waves(
        [[part for name in wave for part in STAGES[name]] for wave in waves], keep_going
    )


COMMANDS = {
    "quickstart": quickstart,
    "test": test,
    "bench": bench,
    "run": run_command,
    "sync": sync,
    "clean": clean,
}


def main(argv):
    """Do what the command line says."""
    name, args = (argv[0] if argv else "help"), argv[1:]
    if sys.version_info < (3, 10):
        raise environment.DevError("Python 3.10 or later is needed here (hosts: 3.9)")
    if name in COMMANDS:
        return COMMANDS[name](args)
    if name in STAGES:
        return stages([[name]])
    if name in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    near = difflib.get_close_matches(name, [*COMMANDS, *STAGES], n=1)
    meant = f"; did you mean ./dev {near[0]}?" if near else ""
    raise environment.DevError(f"{name}: no such command{meant} (./dev help lists the commands)")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except environment.DevError as exc:
        sys.exit(f"./dev: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
