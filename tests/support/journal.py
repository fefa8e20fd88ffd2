# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file instead of systemd's journal, for the messages that modules log."""

from __future__ import annotations

import os
from pathlib import Path

_JOURNAL = """\
import os


def sendv():
    pass


def send(*texts, **fields):
    with open(os.environ["LOCKSTEP_TEST_JOURNAL"], "a", encoding="utf-8") as log:
        log.write("".join(f"{line}\\n" for line in [*texts, *fields.values()]))
"""
_DAEMON = "def booted():\n    return True\n"


class Journal:
    """A replacement for python3-systemd, with which Ansible's modules log."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal"
        self.packages = directory / "packages"
        package = self.packages / "systemd"
        package.mkdir(parents=True)
        for name, text in (("__init__", ""), ("journal", _JOURNAL), ("daemon", _DAEMON)):
            (package / f"{name}.py").write_text(text, encoding="utf-8")

    def environment(self, pythonpath: str = "") -> dict[str, str]:
        """Return the environment variables with which a Python process finds it."""
        path = os.pathsep.join(filter(None, [os.fspath(self.packages), pythonpath]))
        return {"PYTHONPATH": path, "LOCKSTEP_TEST_JOURNAL": os.fspath(self.path)}

    def text(self) -> str:
        """Return everything that was logged."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""
