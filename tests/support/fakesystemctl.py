# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A systemctl for hosts on which systemd does not run.

Run it with the directory of the units, and then as systemctl. It writes what changes a service into the file ``calls``.
A service with its own root gets a process that only waits in the root, or runs its command there if the directory has a
file ``chroot``. Other services run their commands.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(home: Path, verb: str, words: list[str]) -> int:
    """Do as systemctl does, as far as ansible.builtin.systemd_service needs it."""
    name = next((word for word in words if not word.startswith("-")), "")
    unit = Unit(home / name)
    if verb == "show":
        state = "active" if unit.is_active else "inactive"
        load = "loaded" if unit.path.is_file() else "not-found"
        print(f"LoadState={load}\nActiveState={state}\nSubState=running\nId={name}")
    elif verb == "is-enabled":
        enabled = (home / f"{name}.enabled").exists()
        print("enabled" if enabled else "disabled")
        return 0 if enabled else 1
    elif verb in ("start", "stop", "restart", "enable", "disable", "daemon-reload"):
        with (home / "calls").open("a", encoding="utf-8") as calls:
            calls.write(f"{verb} {name}".strip() + "\n")
        if verb in ("stop", "restart"):
            unit.stop()
        if verb in ("start", "restart"):
            unit.start()
        if verb == "enable":
            (home / f"{name}.enabled").touch()
        if verb == "disable":
            (home / f"{name}.enabled").unlink(missing_ok=True)
    return 0


class Unit:
    """A unit in the directory of units, with the number of its process beside it while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = path.with_name(f"{path.name}.pid")

    @property
    def is_active(self) -> bool:
        return self._process.exists()

    def start(self) -> None:
        """Stop what conflicts with the unit, and run its commands, if its condition holds."""
        if not Path(self._setting("ConditionPathExists", "/")).exists():
            return
        for name in self._setting("Conflicts", "").split():
            Unit(self.path.with_name(name)).stop()
        if self._setting("Type", "") == "oneshot":
            for key in ("ExecStartPre", "ExecStart", "ExecStopPost"):
                subprocess.run(self._command(key), check=True, env=self._environment())
        elif not self.is_active:
            self._process.write_text(str(self._started()))

    def _started(self) -> int:
        """Start the process, which outlives this program; return its number."""
        command, cwd = ["sleep", "600"], self._setting("RequiresMountsFor", "/").strip('"')
        root = self._setting("RootDirectory", "")
        if self.path.suffix == ".service" and not root:
            command = self._command("ExecStart")
        elif root and self.path.with_name("chroot").exists():
            ids = f"{self._setting('User', '0')}:{self._setting('Group', '0')}"
            command = ["chroot", f"--userspec={ids}", root, *self._command("ExecStart")]
        nothing = subprocess.DEVNULL
        return subprocess.Popen(
            command, cwd=cwd, env=self._environment(), stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        ).pid  # fmt: skip

    def stop(self) -> None:
        """Stop the process, and wait until it has ended."""
        if not self.is_active:
            return
        pid = int(self._process.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for _attempt in range(100):
            state = Path(f"/proc/{pid}/stat")
            if not state.exists() or ") Z " in state.read_text():
                break
            time.sleep(0.05)
        self._process.unlink()

    def _setting(self, name: str, default: str) -> str:
        found = re.search(f"^{name}=(.*)$", self.path.read_text(), re.M)
        return found.group(1) if found else default

    def _command(self, key: str) -> list[str]:
        words = shlex.split(self._setting(key, "/bin/true").lstrip("+"))
        own = [sys.executable, os.path.abspath(__file__), str(self.path.parent)]
        return [*own, *words[1:]] if words[0] == "/usr/bin/systemctl" else words

    def _environment(self) -> dict[str, str]:
        path = self._setting("EnvironmentFile", "")
        lines = Path(path).read_text().splitlines() if path else []
        return {**os.environ, **dict(line.split("=", 1) for line in lines)}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
