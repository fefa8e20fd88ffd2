# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the parsers of foreign input, guided by the code that they cover, and print what was executed and covered.

Each parser gets a process and the same time. Inputs that reach new code are kept in ``--corpus`` for the next run. A fault
leaves its input in ``--faults``: make it shorter by hand, mend the parser, and add it to ``tests/fuzz/found/TARGET``.

With ``--repeatable``, a parser gets the same inputs each time, on one machine and with one Python, so that a change fails only
for what it changed. New faults are found with ``--seconds`` and other seeds, which is part of a release.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import coverage

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[5]))

from ansible_collections.lockstep.images.tests.fuzz.targets import FOUND, PLUGINS, TARGETS, check

# One input may take this many seconds, and this many MiB: a parser that needs more is a way to stop a host.
PATIENCE, MEMORY = 10, 1024


class Outcome(t.NamedTuple):
    """How often a parser was executed; ``report`` is the output of libFuzzer if there was a fault."""

    executions: int
    report: str


def fuzz(name: str, options: argparse.Namespace) -> Outcome:
    """Fuzz a parser in a process of its own."""
    corpus, faults = Path(options.corpus) / name, Path(options.faults) / name
    for directory in (corpus, faults):
        directory.mkdir(parents=True, exist_ok=True)
    # A list has an order, which decides what follows. That of a directory depends on the machine.
    seeds = corpus.parent / f"{name}.seeds"
    seeds.mkdir(exist_ok=True)
    paths = [seeds / f"{number:03}" for number, _seed in enumerate(_seeds(name))]
    for path, seed in zip(paths, _seeds(name)):
        path.write_bytes(seed)
    listed = corpus.parent / f"{name}.list"
    listed.write_text(",".join(map(str, paths)), encoding="utf-8")
    words = corpus.parent / f"{name}.words"
    lines = {"".join(f"\\x{byte:02x}" for byte in word) for word in _words(name)}
    words.write_text("".join(f'"{line}"\n' for line in sorted(lines)), encoding="ascii")
    command = [*_fixed_addresses()] if options.repeatable else []
    command += [sys.executable, str(Path(__file__).with_name("one.py")), name, str(corpus)]
    limit = (
        f"-runs={TARGETS[name].runs}"
        if options.repeatable
        else f"-max_total_time={options.seconds}"
    )
    command += [limit, f"-seed={options.seed}", "-print_final_stats=1", "-reload=0"]
    command += [f"-timeout={PATIENCE}", f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={faults}/"]
    command += ["-max_len=8192", "-verbosity=0", f"-dict={words}", f"-seed_inputs=@{listed}"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=1200 if options.repeatable else options.seconds + 300,
        # The order of a set decides which code is reached.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    executed = re.search(r"number_of_executed_units: *([0-9]+)", done.stderr)
    # The traceback is in the standard output, what libFuzzer says in the error output.
    report = f"{done.stdout[-2000:]}\n{done.stderr[-1500:]}" if done.returncode else ""
    return Outcome(int(executed[1]) if executed else 0, report)


def _fixed_addresses() -> list[str]:
    """Return the command before another one so that it always has the same addresses, which the choices of libFuzzer depend on."""
    command = ["setarch", "-R"]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    return [] if done.returncode else command  # a container may forbid it


def covered(name: str, corpus: Path) -> float:
    """Return the percentage of lines in the functions of a parser's files that the seeds and the corpus reach."""
    files = _files(name)
    measured = coverage.Coverage(data_file=None, include=[str(file) for file in files])
    with measured.collect():
        for data in (*_seeds(name), *_read(corpus)):
            check(TARGETS[name], data)
    lines = missing = 0
    for file in files:
        inside = _lines_of_functions(file)
        _path, statements, _excluded, missed, _text = measured.analysis2(str(file))
        lines += len(inside.intersection(statements))
        missing += len(inside.intersection(missed))
    return 100.0 * (lines - missing) / lines


def _seeds(name: str) -> list[bytes]:
    """Return the inputs with which a parser begins."""
    return [*TARGETS[name].seeds, *_read(FOUND / name)]


def _files(name: str) -> list[Path]:
    return [PLUGINS / "module_utils" / file for file in TARGETS[name].files]


def _lines_of_functions(file: Path) -> set[int]:
    """Return the lines of a file that no import runs."""
    functions = [
        node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.FunctionDef)
    ]
    inside = [node for function in functions for part in function.body for node in ast.walk(part)]
    return {node.lineno for node in inside if isinstance(node, ast.stmt)}


def _words(name: str) -> t.Iterator[bytes]:
    """Yield the constants of a parser's files: keys and marks that random bytes would hardly hit."""
    for file in _files(name):
        for node in ast.walk(ast.parse(file.read_bytes())):
            value = node.value if isinstance(node, ast.Constant) else None
            word = value.encode() if isinstance(value, str) else value
            if isinstance(word, bytes) and 0 < len(word) <= 60:
                yield word


def _read(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("*"))]


def main() -> int:
    """Fuzz what the command line names, all parsers by default; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help="parsers, all by default")
    parser.add_argument("--seconds", type=int, default=5, help="for each parser (default: 5)")
    parser.add_argument(
        "--repeatable",
        action="store_true",
        help="give each parser a number of inputs instead of seconds, and begin without --corpus",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--corpus", required=True, help="directory of inputs that reach new code")
    parser.add_argument("--faults", required=True, help="directory for the inputs of faults")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.repeatable:
            options.corpus = stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-"))
        return _fuzz_all(options.target or list(TARGETS), options)


def _fuzz_all(names: t.Sequence[str], options: argparse.Namespace) -> int:
    """Fuzz parsers, and print a table and the faults; return the exit status."""
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        outcomes = dict(zip(names, pool.map(lambda name: fuzz(name, options), names)))
    print(f"{'parser':<18}{'executions':>12}{'lines covered':>16}")
    for name, outcome in outcomes.items():
        share = "" if outcome.report else f"{covered(name, Path(options.corpus) / name):.0f} %"
        print(f"{name:<18}{outcome.executions:>12,}{share or 'FAULT':>16}")
    print(
        "".join(f"\n{name}:\n{one.report}" for name, one in outcomes.items() if one.report), end=""
    )
    return any(outcome.report for outcome in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
