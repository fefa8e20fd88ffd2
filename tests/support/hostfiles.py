# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Simulate a host with its own registry configuration in /etc; /etc of this machine is unchanged."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from .services_process import program

# The content of these directories on this machine is hidden.
_OWN = ("containers", "containerd", "docker")


def python_with_etc(directory: Path, files: Mapping[str, str | Path]) -> Path:
    """Return an interpreter for `ansible_python_interpreter` whose modules see `files` in /etc.

    Keys are paths below /etc/containers, /etc/containerd and /etc/docker; values are texts, or
    files to copy. The interpreter runs this Python in a mount namespace where these three
    directories hold only these files, and the rest of /etc is unchanged.
    """
    etc = directory / "etc"
    for name in _OWN:
        (etc / name).mkdir(parents=True)
    for name, content in files.items():
        path = etc / name
        if path.relative_to(etc).parts[0] not in _OWN:
            raise ValueError(f"{name}: not below {', '.join(_OWN)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else content.read_text())
    # The overlay provides the mount points, of which this machine may have none.
    mounts = [f"mount -t overlay -o ro,lowerdir={shlex.quote(f'{etc}:/etc')} overlay /etc"]
    mounts += [f"mount --bind {shlex.quote(os.fspath(etc / name))} /etc/{name}" for name in _OWN]
    inside = " && ".join([*mounts, 'exec "$0" "$@"'])
    words = [program("unshare"), "--mount", "--propagation", "private", program("sh"), "-c", inside]
    made = directory / "python3"
    made.write_text(f'#!/bin/sh\nexec {shlex.join([*words, sys.executable])} "$@"\n')
    made.chmod(0o755)
    return made
