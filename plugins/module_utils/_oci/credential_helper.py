# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's credential helpers (docker-credential-helpers v0.9, credentials/credentials.go).

``docker-credential-NAME get|store|erase`` reads standard input and answers with JSON on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.lockstep.images.plugins.module_utils._oci.challenge import Credentials
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    CredentialHelperError,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_NOT_FOUND = "credentials not found in native keychain"
_MAX_OUTPUT = 1024 * 1024
_TIMEOUT = 30.0
_LOOK_EVERY = 0.1

TOKEN_USER = "<token>"
"""The user name with which a helper says that its secret is an identity token."""


class CredentialHelper:
    """One helper program; every call is bounded in time and output, and no shell is involved."""

    def __init__(self, name: str, timeout: float = _TIMEOUT) -> None:
        if not _NAME.fullmatch(name):
            raise CredentialHelperError(f"credential helper {name[:60]!r}: the name is not allowed")
        self.program = f"docker-credential-{name}"
        self._timeout = timeout

    def get(self, server: str) -> Credentials | None:
        """What the helper knows of a server, None for nothing; raises CredentialHelperError for the rest."""
        code, output = self._run("get", server)
        if code != 0:
            if _NOT_FOUND in output:
                return None
            raise CredentialHelperError(f"{self.program} failed for {server} with status {code}")
        try:
            answer = json.loads(output)
        except (ValueError, RecursionError) as exc:
            raise CredentialHelperError(
                f"{self.program}: the answer for {server} is not JSON"
            ) from exc
        names = ("Username", "Secret")
        if not isinstance(answer, dict) or not all(
            isinstance(answer.get(name, ""), str) for name in names
        ):
            raise CredentialHelperError(
                f"{self.program}: the answer for {server} is not what the protocol says"
            )
        user, secret = (answer.get(name, "") for name in names)
        if not secret:
            return None
        if user == TOKEN_USER:
            return Credentials(identity_token=secret)
        return Credentials(username=user, password=secret)

    def store(self, server: str, who: Credentials) -> None:
        """Let the helper keep a login."""
        user = TOKEN_USER if who.identity_token else who.username
        secret = who.identity_token or who.password
        code, _output = self._run(
            "store", json.dumps({"ServerURL": server, "Username": user, "Secret": secret})
        )
        if code != 0:
            raise CredentialHelperError(
                f"{self.program} could not store the login for {server} (status {code})"
            )

    def erase(self, server: str) -> None:
        """Let the helper forget a login; one it does not have is no error."""
        code, output = self._run("erase", server)
        if code != 0 and _NOT_FOUND not in output:
            raise CredentialHelperError(
                f"{self.program} could not erase the login for {server} (status {code})"
            )

    def _run(self, verb: str, text: str) -> tuple[int, str]:
        """Run the program in a session of its own, so that a time-out ends its children too.

        Its output goes to a file, whose size bounds what is read; what it says on standard error may hold
        secrets and is dropped.
        """
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    [self.program, verb],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as exc:
                raise CredentialHelperError(
                    f"{self.program} cannot be run: {exc.strerror}"
                ) from exc
            try:
                self._wait(process, text, output)
            finally:
                _end(process)
            if _size(output) > _MAX_OUTPUT:
                raise CredentialHelperError(
                    f"{self.program}: the answer is larger than {_MAX_OUTPUT} bytes"
                )
            output.seek(0)
            return process.returncode, output.read(_MAX_OUTPUT).decode("utf-8", "replace")

    def _wait(self, process: subprocess.Popen[t.Any], text: str, output: t.IO[bytes]) -> None:
        """Until the program has ended, or has said too much: one that never stops must not fill the disk."""
        deadline = time.monotonic() + self._timeout
        data: bytes | None = text.encode("utf-8")
        while _size(output) <= _MAX_OUTPUT:
            try:
                process.communicate(data, timeout=min(_LOOK_EVERY, self._timeout))
                return
            except subprocess.TimeoutExpired:
                data = None  # it is on its way already
            if time.monotonic() >= deadline:
                raise CredentialHelperError(
                    f"{self.program} gave no answer in {self._timeout:.0f} s"
                )


def _size(output: t.IO[bytes]) -> int:
    return os.fstat(output.fileno()).st_size


def _end(process: subprocess.Popen[t.Any]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
