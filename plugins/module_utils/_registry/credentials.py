# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials for a registry, and the helper programs that keep them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass, field

from .._image import errors

# The user name by which a helper marks its secret as an identity token.
TOKEN_USER = "<token>"
BYTES = "surrogateescape"  # bytes that are not UTF-8 stay as they are
_NOT_FOUND = "credentials not found in native keychain"
_MAX_OUTPUT = 1024 * 1024


@dataclass(frozen=True)
class Credentials:
    """A login for a registry: a user with a password or an identity token, or a registry token alone."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    # For error messages: where the login is from, and the options of registry_login that remove it.
    origin: str = field(default="", compare=False)
    way_out: str = field(default="", compare=False)

    @property
    def basic(self) -> str:
        """Return the Authorization header of the scheme Basic (RFC 7617), in UTF-8; "" without a password."""
        text = f"{self.username}:{self.password}"
        try:
            pair = base64.b64encode(text.encode("utf-8", BYTES))
        except UnicodeEncodeError:  # half a character, as JSON can escape it
            pair = base64.b64encode(text.encode("utf-8", "replace"))
        return f"Basic {pair.decode('ascii')}" if self.password else ""


class CredentialHelper:
    """The program ``docker-credential-NAME`` (docker-credential-helpers v0.9), bounded in time and output.

    ``timeout`` is in seconds. Raise CredentialHelperError for a name that is more than a word.
    """

    def __init__(self, name: str, timeout: float = 30.0) -> None:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise errors.CredentialHelperError(f"credential helper {name[:60]!r}: not a valid name")
        self.program = f"docker-credential-{name}"
        self._timeout = timeout

    def get(self, server: str) -> Credentials | None:
        """Return the login that the helper has for a server, None for none; raise CredentialHelperError if it fails."""
        code, output = self.run("get", server)
        if code != 0 and _NOT_FOUND not in output:
            raise errors.CredentialHelperError(
                f"{self.program} failed for {server} with status {code}"
            )
        if code != 0:
            return None
        try:
            answer = json.loads(output)
        except (ValueError, RecursionError):
            answer = None
        user, secret = (
            (answer.get(name, "") for name in ("Username", "Secret"))
            if isinstance(answer, dict)
            else (0, 0)
        )
        if not isinstance(user, str) or not isinstance(secret, str):
            raise errors.CredentialHelperError(
                f"{self.program}: the answer for {server} is malformed"
            )
        if user == TOKEN_USER and secret:
            return Credentials(identity_token=secret)
        return Credentials(username=user, password=secret) if secret else None

    def run(self, verb: str, text: str) -> tuple[int, str]:
        """Run the helper with ``text`` as its input; return its status and its output.

        Raise MissingHelperError if it cannot be run, CredentialHelperError if it takes too long or writes too much. Its
        standard error may contain secrets, and is dropped.
        """
        # The file bounds what is read. A session of its own lets a time-out end the program's children, too.
        with tempfile.TemporaryFile() as output:
            try:
                # run_command of the module bounds neither time nor output.
                process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    [self.program, verb],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as exc:
                raise errors.MissingHelperError(
                    f"{self.program} cannot be run: {exc.strerror}"
                ) from exc
            try:
                self._wait(process, text.encode("utf-8"), output)
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if _size(output) > _MAX_OUTPUT:
                raise errors.CredentialHelperError(
                    f"{self.program}: the answer is larger than {errors.readable_size(_MAX_OUTPUT)}"
                )
            output.seek(0)
            return process.returncode, output.read().decode("utf-8", "replace")

    def _wait(
        self, process: subprocess.Popen[t.Any], data: bytes | None, output: t.IO[bytes]
    ) -> None:
        deadline = time.monotonic() + self._timeout
        while _size(output) <= _MAX_OUTPUT:
            try:
                process.communicate(data, timeout=min(0.1, self._timeout))
                return
            except subprocess.TimeoutExpired:
                data = None  # it is being written already
            if time.monotonic() >= deadline:
                raise errors.CredentialHelperError(
                    f"{self.program} did not answer in {self._timeout:.0f} s"
                )


def _size(output: t.IO[bytes]) -> int:
    return os.fstat(output.fileno()).st_size


def lookup_keys(registry: str, repository: str) -> list[str]:
    """Return the keys that a login for a repository may have, the most specific first: ``host/a/b``, ``host/a``, ``host``."""
    parts = [registry, *repository.split("/")] if repository else [registry]
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
