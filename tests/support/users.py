# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run code as an ordinary user, for tests that run as root."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NOBODY = 65534
# A command that runs its last arguments as the ordinary user.
LAUNCHER = (
    ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if os.geteuid() == 0
    else []
)


def as_ordinary_user(
    function: Callable[[], Any], prepare: Callable[[], None] = lambda: None, **env: str
) -> Any:
    """Call a function in a process that has dropped root. Return its result, or raise its error.

    ``prepare`` is called in the same process, as root.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            os.environ.update(env)
            prepare()
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            writer.send((function(), None))
        except BaseException as exc:
            writer.send((None, exc))
        finally:
            os._exit(0)
    writer.close()
    answer, error = reader.recv()
    os.waitpid(child, 0)
    if error is not None:
        raise error
    return answer


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Drop root inside the block, because root is never refused anything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextlib.contextmanager
def public_directory() -> Iterator[Path]:
    """Provide a directory that every user can reach, owned by the ordinary user."""
    path = Path(tempfile.mkdtemp()).resolve()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    try:
        yield path
    finally:
        for root, directories, _files in os.walk(path):
            for name in directories:
                os.chmod(os.path.join(root, name), 0o755)
        shutil.rmtree(path)
