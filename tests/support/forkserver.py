# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Python programs in forks of a process that has imported ansible-core and other libraries.

Starting Python and importing the libraries would take most of the time of a small module, and half
of that of a small play.
"""

from __future__ import annotations

import atexit
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
COLLECTIONS = "ansible_collections"
# What ansible-playbook imports for every play. Its modules read the variables ANSIBLE_* when they are imported.
ANSIBLE_PLAYBOOK: tuple[str, ...] = (
    "ansible.cli.playbook",
    "ansible.executor.process.worker",
    "ansible.playbook.handler",
    "ansible.playbook.role.include",
    "ansible.plugins.cache.memory",
    "ansible.plugins.callback.default",
    "ansible.plugins.connection.local",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.shell.sh",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.vars.host_group_vars",
    "multiprocessing.synchronize",
    "pty",
    "requests",
    "xml.dom.minidom",
)
SECONDS = 120
REQUEST_BYTES = 1 << 16


class Forkserver:
    """The parent of the forks. Threads and forks of this process may use it concurrently."""

    def __init__(
        self,
        env: Mapping[str, str],
        libraries: tuple[str, ...] = LIBRARIES,
        python: str | os.PathLike[str] = sys.executable,
    ) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Programs must find neither this directory nor the current one in their sys.path.
            start = f"""
import sys
sys.path[0] = {os.path.dirname(os.path.abspath(__file__))!r}
from forkserver import serve
del sys.path[0]
serve({theirs.fileno()}, {libraries!r})
"""
            # The server ends when this process and all its forks have closed their end of the socket.
            self._process = subprocess.Popen(
                [os.fspath(python), "-c", start],
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
        arguments: t.Sequence[str] = (),
        cwd: str = "",
        seconds: int = SECONDS,
    ) -> tuple[int, str, str]:
        """Run a Python file as a program. Return its exit status, stdout and stderr.

        ``env`` is the whole environment; ``missing`` are packages that appear not to be installed;
        ``packages`` is a directory with packages that ansible-core finds when it is imported.
        A program that takes longer than ``seconds`` is killed.
        """
        request = {"path": path, "cwd": cwd or os.getcwd(), "env": dict(env), "missing": missing}
        request |= {"packages": packages, "arguments": list(arguments), "seconds": seconds}
        reader, writer = os.pipe()
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(os.fdopen(reader))
            files = [
                stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
                for _number in range(3)
            ]
            files[0].write(stdin)
            files[0].seek(0)
            with os.fdopen(writer, "w") as end:
                fds = [*(file.fileno() for file in files), end.fileno()]
                socket.send_fds(self._requests, [json.dumps(request).encode()], fds)
            status = int(answer.read())
            for file in files:
                file.seek(0)
            return status, files[1].read(), files[2].read()


def serve(fd: int, libraries: tuple[str, ...]) -> None:
    """Run the programs that are requested on the socket ``fd``, each in a fork."""
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    atexit._clear()  # ansible-core makes one directory for temporary files here; no fork may remove it
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
        os.write(fds[-1], str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)


def _become(request: t.Mapping[str, t.Any], fds: t.Sequence[int]) -> None:
    """Run the program of a request in this process. Exit with its exit status."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if request["missing"] or request["packages"]:  # then the collection may import other packages
        for name in [name for name in sys.modules if name.split(".")[0] == COLLECTIONS]:
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(request["missing"]))
    if request["packages"]:
        sys.path.insert(0, request["packages"])
        del sys.modules[LIBRARIES[0]]
    # Shells make background jobs, and so their children, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(request["seconds"])
    sys.argv = [request["path"], *request["arguments"]]
    runpy.run_path(request["path"], run_name="__main__")
