# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running containerd, as tests look at it."""

from __future__ import annotations

import subprocess
import typing as t
from dataclasses import dataclass

from .services_process import Service

PINNED = "io.cri-containerd.pinned"


@dataclass(frozen=True)
class Containerd:
    """A running containerd; ``executable`` is the ``ctr`` of its version."""

    address: str
    executable: str
    service: Service

    @property
    def options(self) -> dict[str, t.Any]:
        """The options by which a task finds it."""
        return {"engine": "containerd", "socket": self.address, "executable": self.executable}

    def ctr(self, namespace: str, *arguments: str, text: bool = True, **options: t.Any) -> t.Any:
        """Run ctr and return its output, as bytes unless it is ``text``; raise AssertionError if it fails."""
        command = [self.executable, "--address", self.address, "--namespace", namespace]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, timeout=60, check=False, **options
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode() if text else done.stdout

    def names(self, namespace: str) -> dict[str, str]:
        """Return what each name points at."""
        rows = [row.split() for row in self.ctr(namespace, "images", "ls").splitlines()[1:]]
        return {row[0]: row[2] for row in rows}

    def pinned(self, namespace: str) -> set[str]:
        """Return the names that the kubelet must keep."""
        rows = self.ctr(namespace, "images", "ls").splitlines()
        return {row.split()[0] for row in rows if f"{PINNED}=pinned" in row}

    def ready(self, namespace: str) -> set[str]:
        """Return the names of images for this platform that are complete and unpacked, as containerd checks it."""
        rows = self.ctr(namespace, "images", "check").splitlines()[1:]
        return {
            row.split()[0] for row in rows if " complete " in row and row.rstrip().endswith("true")
        }
