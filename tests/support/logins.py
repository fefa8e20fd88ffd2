# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with logins and helper programs, as users have them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.loginfiles import (
    AuthFile,
    AuthPlace,
)

NOT_FOUND = "credentials not found in native keychain"

# A helper that stores one login in a file beside it instead of in a keychain.
KEEPER = f"""\
kept="$0.kept"
case "$1" in
  store) cat >"$kept" ;;
  get) cat >/dev/null; cat "$kept" 2>/dev/null || {{ echo "{NOT_FOUND}"; exit 1; }} ;;
  erase) cat >/dev/null; rm "$kept" 2>/dev/null || {{ echo "{NOT_FOUND}"; exit 1; }} ;;
esac
"""


class Helpers:
    """Credential helpers in a directory that is first in PATH."""

    def __init__(self, directory: Path, monkeypatch: Any) -> None:
        directory.mkdir()
        self.directory = directory
        monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)

    def write(self, name: str, script: str, mode: int = 0o755) -> Path:
        """Install ``docker-credential-NAME``, a shell script."""
        path = self.directory / f"docker-credential-{name}"
        path.write_text("#!/bin/sh\n" + script, encoding="utf-8")
        path.chmod(mode)
        return path

    def answer(self, name: str, text: str, status: int = 0) -> Path:
        """Install a helper that prints a text for every request."""
        return self.write(name, f"cat >/dev/null\ncat <<'END'\n{text}\nEND\nexit {status}\n")


def login(username: str, password: str) -> dict[str, str]:
    """Return an entry of ``auths`` with user name and password."""
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode("ascii")}


def write_auth_file(path: Path, auths: Mapping[str, Any], **others: Any) -> str:
    """Write an auth file that only its owner can read. Return its path."""
    path.write_text(json.dumps({"auths": auths, **others}), encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def find_login(path: Path, name: str) -> Credentials | None:
    """The login a file has for a name: a registry, or a repository in one."""
    registry, _slash, repository = name.partition("/")
    return AuthFile.load(AuthPlace(str(path))).find(registry, repository)


def write_case(path: Path, case: Mapping[str, Any], host: str) -> None:
    """Write the auth file of a case of the table ``taken``, with ``host`` in place of ``HOST``."""
    path.write_bytes(case["file"].replace("HOST", host).encode(case.get("encoding", "utf-8")))
    path.chmod(0o600)
