# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules in forks of a process that has imported ansible-core and requests.

Each module still imports the code of the collection itself, as on a host. Starting Python and
importing ansible-core and requests would take most of the time of a small module.
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

LIBRARIES: tuple[str, ...] = (
    "ansible.module_utils.basic",
    "concurrent.futures",
    "requests",
    "tarfile",
    "yaml",
)
LIBRARIES += ("dataclasses", "ipaddress", "secrets")
SECONDS = 120
REQUEST_BYTES = 1 << 16


class Forkserver:
    """The parent of the forks. Threads and forks of this process may use it concurrently."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            start = f"from {__name__} import serve; serve({theirs.fileno()})"
            # The server ends when this process and all its forks have closed their end of the socket.
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=env,
            )

    def run(
        self,
        path: str,
        stdin: str,
        env: Mapping[str, str],
        missing: tuple[str, ...] = (),
        packages: str = "",
    ) -> tuple[int, str, str]:
        """Run a Python file as a program. Return its exit status, stdout and stderr.

        ``env`` is the whole environment; ``missing`` are packages that appear not to be installed;
        ``packages`` is a directory with packages that ansible-core finds when it is imported.
        A program that takes longer than ``SECONDS`` is killed.
        """
        request = {"path": path, "cwd": os.getcwd(), "env": dict(env), "missing": missing}
        request["packages"] = packages
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
    """Run the programs that are requested on the socket ``fd``, each in a fork."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # without this, a garbage collection in a fork copies the memory of this process
    os.fsync = os.fstat  # type: ignore[assignment]  # fsync() only matters after a power failure
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
    """Run the program of a request in this process. Exit with its exit status."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.modules.update(dict.fromkeys(request["missing"]))
    if request["packages"]:
        sys.path.insert(0, request["packages"])
        del sys.modules[LIBRARIES[0]]
    # Shells make background jobs, and so their children, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(SECONDS)
    runpy.run_path(request["path"], run_name="__main__")
