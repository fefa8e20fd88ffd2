# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three hosts on this machine, an embedded registry, and the variables of the collection's playbooks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import layout
from .images import demo_image, push
from .playbook import PlayResult, PlayRunner, local_host
from .registry import Registry

HOSTS = ["one", "two", "three"]
WEB, JOBS = "shop/web", "shop/jobs"
# A host that refuses every connection.
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


class Site:
    """Three hosts, a registry with two images, and a play of the role."""

    def __init__(self, registry: Registry, directory: Path, play: PlayRunner) -> None:
        self.registry = registry
        self.directory = directory
        self.play = play
        for repository in (WEB, JOBS):
            self.move_tag(repository, "1")
        self.names = [f"{registry.address}/{repository}:1" for repository in (JOBS, WEB)]
        self.variables: dict[str, Any] = {
            "store_lock_file": os.fspath(directory / "images.lock.yml"),
            "store_images": self.names,
            "store_platforms": ["linux/amd64"],
            "store_plain_http": True,
            "store_install_requests": False,
        }

    def move_tag(self, repository: str, version: str) -> None:
        """Point tag 1 of a repository at this version."""
        push(self.registry, repository, demo_image(repository[5:], version, size=400), "1")

    def host(self, name: str) -> dict[str, Any]:
        """Return the variables of one host."""
        own = local_host(self.directory / name)
        return {**own, "store_path": os.fspath(self.store(name))}

    def inventory(self, **more: dict[str, Any]) -> Path:
        """Write the inventory of the hosts; `more` are variables by host. Return its path."""
        known = {host: {**self.host(host), **more.get(host, {})} for host in HOSTS}
        return self.play.inventory(known)

    def store(self, host: str) -> Path:
        """Return the path of a host's store."""
        return self.directory / host / "store"

    def fingerprints(self) -> set[str]:
        """Return the fingerprints of all hosts' stores."""
        return {layout.fingerprint(self.store(host)) for host in HOSTS}

    def run(self, playbook: str, **variables: Any) -> PlayResult:
        """Run a playbook on all hosts."""
        return self.play(playbook, self.inventory(), {**self.variables, **variables})
