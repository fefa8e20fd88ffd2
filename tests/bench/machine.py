# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine, and the versions of the programs on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from ansible_collections.lockstep.images.tests.support.services_process import find_program

from .by_ansible import PEER, peer_version
from .content import MB

# Name -> the command that prints its version.
_PROGRAMS = {
    "skopeo": ["skopeo", "--version"],
    "docker, the client": ["docker", "--version"],
    "dockerd": ["dockerd", "--version"],
    "containerd and ctr": ["containerd", "--version"],
    "podman": ["podman", "--version"],
    "docker-registry": ["docker-registry", "--version"],
    "nginx": ["nginx", "-v"],
    "curl": ["curl", "--version"],
    "openssl": ["openssl", "version"],
    "coreutils": ["sha256sum", "--version"],
}


def machine(directory: Path) -> dict[str, str]:
    """Describe the machine, and the file system of `directory`."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    kind = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "-T", directory],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        "processor": f"{os.cpu_count()} cores, {found.group(1) if found else platform.machine()}",
        "memory": f"{memory / (1000 * MB):.0f} GB",
        "kernel": f"Linux {re.split('[-+]', platform.release())[0]}",
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "file system": kind,
    }


def versions(cache: Path) -> dict[str, str]:
    """Return the versions of the installed programs, by name."""
    found = {
        "Python": platform.python_version(),
        "ansible-core": metadata.version("ansible-core"),
        "requests": metadata.version("requests"),
    }
    peer = peer_version(cache)
    if peer:
        found[PEER] = peer
    for name, command in _PROGRAMS.items():
        path = find_program(command[0])
        if path:
            found[name] = _version([path, *command[1:]])
    return found


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    number = re.search(r"\d+\.\d+(\.\d+)?[\w.~+-]*", done.stdout + done.stderr)
    return number.group(0).rstrip(".") if number else "?"
