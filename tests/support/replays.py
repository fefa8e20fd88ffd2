# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record a process, and write what each cut of the power during it leaves. The fleet tests print how many these were."""

from __future__ import annotations

import os
import shutil
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from . import modules
from .powercut import FLUSHED, NAMES, Disk, calls_of, strace

# How often the task runs again after a cut: at every flush, and after so many other calls.
EVERY = 5
PROPERTY = "replayed"  # of a test: what conftest.py prints


class Replay:
    """The calls of a process, and the directory in which every cut of the power leaves its state.

    ``number`` counts the prefixes of the calls so far, each of which changes the disk, ``states`` the different states
    that were written. The test counts in ``runs`` how often the task ran again.
    """

    def __init__(
        self,
        path: Path,
        log: Path,
        run: Callable[[list[str]], None],
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a process with a launcher. ``settle`` removes what the kernel added, before the model is compared."""
        self._path = path
        self._disk, without_cut = Disk(path), Disk(path)
        run(strace(log))
        settle()
        self._calls = list(calls_of(log))
        self.number = self.states = self.runs = 0
        for call in self._calls:
            without_cut.apply(call)
        assert without_cut.shows(path), "the model has not followed the process"

    def each(self) -> Iterator[bool]:
        """Write each state once; yield whether the task must run again in it."""
        seen = set()
        for call in self._calls:
            if not self._disk.apply(call):
                continue
            self.number += 1
            for kept in (NAMES, FLUSHED):
                state = self._disk.state(kept)
                if state not in seen:
                    seen.add(state)
                    self.states += 1
                    shutil.rmtree(self._path)
                    self._disk.write(self._path, kept)
                    yield kept == FLUSHED or self.number % EVERY == 0

    def summary(self) -> str:
        """Return the counts as a text."""
        return f"{self.number} prefixes, {self.states} states, {self.runs} next runs"


def run_module(
    module: str,
    options: Mapping[str, t.Any],
    launcher: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, t.Any]:
    """Run a module that succeeds; return its result."""
    outcome = modules.run(module, launcher=launcher, env=env, **options)
    assert not outcome.failed, outcome.result
    return outcome.result


def contents(path: Path) -> dict[str, bytes | None]:
    """Return the content of each file below a directory, None for everything else."""
    return {
        os.fspath(one.relative_to(path)): one.read_bytes() if one.is_file() else None
        for one in path.rglob("*")
    }
