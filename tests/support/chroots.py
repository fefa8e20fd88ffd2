# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs of another Debian, which debootstrap has put into a directory, with the same paths inside as outside."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from .services_process import program

# runc needs a mount at its root.
_ENTER = """
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
if [ "$1" ]; then mkdir -p "$0$1"; mount --bind "$1" "$0$1"; fi
shift
exec chroot "$0" "$@"
"""


def share_paths(root: Path) -> None:
    """Make every path below ``root`` valid inside, too."""
    inside = root / str(root).lstrip("/")
    if not inside.is_symlink():
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.symlink_to("/")


def daemon_command(root: Path, *command: str, shared: Path | None = None) -> list[str]:
    """Return a command that runs inside, with mounts that end with it; ``shared`` is a directory that it sees, too."""
    unshare = [program("unshare"), "--mount", "--propagation", "private"]
    return [
        *unshare,
        program("sh"),
        "-ec",
        _ENTER,
        os.fspath(root),
        os.fspath(shared or ""),
        *command,
    ]


def client(root: Path, name: str, directory: Path) -> Path:
    """Return a new program in ``directory`` that runs the program ``name`` inside, where it sees its open files."""
    path = directory / name
    unshare = [program("unshare"), "--mount", "--propagation", "private"]
    enter = 'mount -t proc proc "$0/proc"; exec chroot "$0" "$@"'
    words = [*unshare, program("sh"), "-ec", enter, os.fspath(root), name]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path
