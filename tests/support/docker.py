# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Docker daemon, as tests look at it."""

from __future__ import annotations

import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .services_process import Service


@dataclass(frozen=True)
class Docker:
    """A running Docker daemon on a containerd of its own; ``store`` is how it keeps images."""

    service: Service
    store: str

    @property
    def address(self) -> str:
        """The path of its socket."""
        return self.service.address

    @property
    def options(self) -> dict[str, t.Any]:
        """The options by which a task finds it."""
        return {"engine": "docker", "socket": self.address}

    def __call__(self, *arguments: str) -> str:
        """Run docker and return its output; raise AssertionError with its messages if it fails."""
        command = ["docker", "--host", f"unix://{self.address}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def names(self) -> dict[str, str]:
        """Return what each name points at, without those of digests."""
        rows = self("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").split(
            "\n"
        )
        pairs = [row.split() for row in rows if row and "<none>" not in row]
        return {row[0]: row[1] for row in pairs}

    def ids(self) -> set[str]:
        """Return the ids of all images, also of those without a name."""
        return set(self("images", "--all", "--no-trunc", "--quiet").split())

    def clear(self) -> None:
        """Remove all containers and images."""
        for kind in ("container", "image"):
            found = self(kind, "ls", "--all", "--quiet").split()
            if found:
                self(kind, "rm", "--force", *dict.fromkeys(found))

    def remove_blob(self, digest: str) -> None:
        """Remove a blob from the containerd image store."""
        address = f"{Path(self.address).parent}/exec/containerd/containerd.sock"
        command = ["ctr", "--address", address, "--namespace", "moby", "content", "rm", digest]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
