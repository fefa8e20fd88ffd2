# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has imported the libraries of the modules, and forks for each module that runs.

Each module imports the code of the collection itself, as on a host. It does not start Python and
import ansible-core and requests, which takes most of the time of a small module.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Mapping

LIBRARIES = ("ansible.module_utils.basic", "concurrent.futures", "requests", "tarfile", "yaml")
SECONDS = 120
REQUEST_BYTES = 1 << 16


class Forkserver:
    """The process. Threads, and forks of this process, may use it at the same time."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            start = f"from {__name__} import serve; serve({theirs.fileno()})"
            # It ends when this process and all forks of it have ended.
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=env,
            )

    def run(
        self, path: str, stdin: str, env: Mapping[str, str], missing: tuple[str, ...] = ()
    ) -> tuple[int, str, str]:
        """Run a Python file as a program, and return its exit status, its stdout and its stderr.

        ``env`` is the whole environment; ``missing`` are packages that seem not to be installed.
        A program that takes longer than ``SECONDS`` is killed.
        """
        request = {"path": path, "cwd": os.getcwd(), "env": dict(env), "missing": missing}
        reader, writer = os.pipe()
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(os.fdopen(reader))
            files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _number in range(3)]
            files[0].write(stdin)
            files[0].seek(0)
            with os.fdopen(writer, "w") as end:
                fds = [*(file.fileno() for file in files), end.fileno()]
                socket.send_fds(self._requests, [json.dumps(request).encode()], fds)
            status = int(answer.read())
            for file in files:
                file.seek(0)
            return status, files[1].read(), files[2].read()


def serve(fd: int) -> None:
    """Run what is requested at the socket ``fd``, each in a process that waits for it."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # or else a collection in a fork copies all of this process
    os.fsync = os.fstat  # type: ignore[assignment]  # what only a power failure shows is not waited for
    requests = socket.socket(fileno=fd)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        raw, fds, _flags, _address = socket.recv_fds(requests, REQUEST_BYTES, 4)
        if not raw:
            return
        if os.fork() == 0:
            requests.close()
            break
        for one in fds:
            os.close(one)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(fds.pop())
        _become(json.loads(raw), fds)
    else:
        _dummy, status = os.waitpid(child, 0)
        os.write(fds[-1], str(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1).encode())
        os._exit(0)


def _become(request: t.Mapping[str, t.Any], fds: t.Sequence[int]) -> None:
    """Be the program of a request; end as it ends."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.modules.update(dict.fromkeys(request["missing"]))
    # A shell makes its background jobs ignore SIGINT, and so everything that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(SECONDS)
    runpy.run_path(request["path"], run_name="__main__")
