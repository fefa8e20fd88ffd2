# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry messages to a host over the connection of its task, as the user that the task becomes.

The first way that a connection can take is used:

- ``copy``: the host is this machine, and its user can read the store of the controller.
- ``stream``: ssh; everything in one command, with a piece of memory at a time.
- ``chunks``: connections that take input for a command, such as those of containers.
- ``bundles``: connections that only copy files. The bundle is removed at once.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import subprocess
import tempfile
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._store.errors import (
    ConnectionUnsupportedError,
    TransferError,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.receive import ANSWER
from ansible_collections.lockstep.images.plugins.plugin_utils._outbox import (
    Outbox,
    Part,
    batches,
    message,
    message_with,
)
from ansible_collections.lockstep.images.plugins.plugin_utils._program import command, program

COPY, STREAM, CHUNKS, BUNDLES = "copy", "stream", "chunks", "bundles"
_MIB = 1024 * 1024
_BUNDLE = 64 * _MIB
_NO_MESSAGE = b"no stream\n"
_SHOWN = 300  # characters of what a host says


class HostError(errors.LockstepError):
    """An error that the program on the host has returned."""

    def __init__(self, answer: t.Mapping[str, t.Any]) -> None:
        details = dict(answer["error"])
        self.kind, hint = str(details.pop("kind")), str(details.pop("hint", ""))
        super().__init__(str(answer["msg"]), hint, **details)


class Carrier:
    """Carries messages to the host of an action.

    ``via`` is the way that the last one took, ``sent`` the bytes that it has passed to the connection so far.
    """

    def __init__(self, action: t.Any, interpreter: str, forks: int) -> None:
        environment = action._compute_environment_string()
        self._action, self._command = action, f"{environment} {command(interpreter)}".strip()
        self._limit = max(4 * _MIB, min(16 * _MIB, 512 * _MIB // max(forks, 1)))
        self.via, self.sent = way_of(action._connection), 0

    def ask(self, store: str | None, blobs: t.Sequence[t.Any]) -> list[t.Any]:
        """Return the spans of each blob that the host has staged."""
        answer = self._carry(lambda: [message("ask", store, blobs)])
        return list(answer["staged"])

    def send(self, outbox: Outbox, store: str | None, parts: t.Sequence[Part]) -> None:
        """Bring parts of blobs into the staging directory of the store of the host; raise the error of the host."""
        blobs = list({part.blob.digest: part.blob for part in parts}.values())
        if self.via == COPY:
            request = message("copy", store, blobs, origin=outbox.store.path)
            answer = self._carry(lambda: [request])
            if not answer.get("unreadable"):
                return
            self.via = CHUNKS
        if self.via == STREAM:
            if self._stream(lambda: message_with(outbox.store, store, parts)):
                return
            self.sent = 0
            self._action._display.warning(
                "This ansible-core does not stream to ssh as expected, so content is sent in chunks, which takes longer"
            )
            self.via = CHUNKS
        for batch in batches(parts, _BUNDLE if self.via == BUNDLES else self._limit):
            self._carry(functools.partial(message_with, outbox.store, store, batch))
            self.sent += sum(part.end - part.first for part in batch)

    def _carry(self, pieces: t.Callable[[], t.Iterable[bytes]]) -> dict[str, t.Any]:
        """Carry a message in memory, or in a file, and return the answer."""
        if self.via != BUNDLES:
            try:
                return self._run(self._action, b"".join([program(), *pieces()]))
            except AnsibleError as exc:
                if "pipelining" not in str(exc):
                    raise
                self.via = BUNDLES  # the connection refuses input, although it does not say so
        return self._bundle(pieces())

    def _stream(self, pieces: t.Callable[[], t.Iterator[bytes]]) -> bool:
        """Stream a message; return False if this ansible-core has not called what writes it."""
        action = _copy_of(self._action)
        failures: list[errors.LockstepError] = []

        def send(handle: t.Any, _in_data: bytes, process: t.Any) -> None:
            # Called again if Ansible retries the connection: everything is sent again, and the host skips it.
            failures.clear()
            self.sent = 0
            try:
                _write(handle, program())
                for piece in pieces():
                    _write(handle, piece)
                    self.sent += len(piece)
            except errors.LockstepError as exc:
                failures.append(exc)
            except OSError as exc:
                _require_ended(process, exc)
            finally:
                _close(handle)

        action._connection._send_initial_data = send
        answer: dict[str, t.Any] = {}
        try:
            answer = self._run(action, program() + _NO_MESSAGE)
        except errors.LockstepError:
            if not failures:  # what the controller cannot read is the cause of what the host says
                raise
        if failures:
            raise failures[0]
        return not answer.get("no_message")

    def _bundle(self, pieces: t.Iterable[bytes]) -> dict[str, t.Any]:
        """Copy a message to the host as a file that only the users of the task can read, and remove it."""
        action = _copy_of(self._action)
        action._connection._shell.tmpdir = None
        directory = action._make_tmp_path()
        try:
            path = action._connection._shell.join_path(directory, "bundle")
            with tempfile.NamedTemporaryFile(dir=C.DEFAULT_LOCAL_TMP) as file:
                file.write(program())
                file.writelines(pieces)
                file.flush()
                action._transfer_file(file.name, path)
            action._fixup_perms2((directory, path), execute=False)
            return self._run(action, None, f" < {action._connection._shell.quote(path)}")
        finally:
            action._remove_tmp_path(directory, force=True)

    def _run(self, action: t.Any, in_data: bytes | None, more: str = "") -> dict[str, t.Any]:
        result = action._low_level_execute_command(self._command + more, in_data=in_data)
        for line in reversed(result["stdout"].splitlines()):
            if line.startswith(ANSWER):
                answer: dict[str, t.Any] = json.loads(line[len(ANSWER) :])
                if "error" in answer:
                    raise HostError(answer)
                return answer
        said = " ".join(f"{result['stderr']} {result['stdout']}".split())[-_SHOWN:]
        hint = ""
        if "tty" in said:
            hint = "Remove requiretty from the sudoers file of the host: content cannot pass a terminal."
        raise TransferError(
            f"the host did not receive the content (rc {result['rc']}): {said}", hint
        )


def way_of(connection: t.Any) -> str:
    """Return the way that content takes over a connection; raise ConnectionUnsupportedError if there is none."""
    if connection.transport == "local":
        return COPY
    if getattr(connection._shell, "SHELL_FAMILY", "") in ("powershell", "cmd") or getattr(
        connection, "_remote_is_local", False
    ):
        raise ConnectionUnsupportedError(
            f"the connection {connection.transport} cannot carry content to a host"
        )
    if not getattr(connection, "has_pipelining", False):
        return BUNDLES
    return STREAM if hasattr(connection, "_send_initial_data") else CHUNKS


def _copy_of(action: t.Any) -> t.Any:
    """Return a copy of an action with a connection of its own, which keeps the session of the original."""
    action = copy.copy(action)
    connection = action._connection = copy.copy(action._connection)
    connection._shell = copy.copy(connection._shell)
    if connection.become:
        connection.become = copy.copy(connection.become)
    return action


def _write(handle: t.Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[handle.write(view) :]


def _close(handle: t.Any) -> None:
    with contextlib.suppress(OSError):  # the host has ended, and says why
        handle.close()


def _require_ended(process: t.Any, exc: OSError) -> None:
    """Raise AnsibleConnectionFailure unless the client has ended, which then says why."""
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        raise AnsibleConnectionFailure("The connection does not take the content") from exc
