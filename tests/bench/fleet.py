# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of many hosts: what the playbooks cost beside the smallest module of Ansible."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.tests.support.largefleet import copy_store, run_playbook
from ansible_collections.lockstep.images.tests.support.playbook import (
    collections_path,
    local_host,
    private_environment,
)
from ansible_collections.lockstep.images.tests.support.services_process import ServiceError

from .by_ansible import collections, lock_file
from .content import Published, publish_small
from .lab import Lab, compare
from .measure import Usage, metered
from .tables import Row, Table

HOSTS, IMAGES, FORKS = 40, 20, 5
# The line of ansible-core that controller and hosts run, such as 2.16; by default that of the benchmarks.
LINE = os.environ.get("LOCKSTEP_BENCH_CORE", "")
_SYNC = {
    "lock": "{{ lookup('lockstep.images.lock', store_lock_file) }}",
    "store": "{{ store_path }}",
    "details": False,
}


@dataclass(frozen=True)
class Site:
    """Hosts on this machine, each with a store of its own, and the lock file of their images."""

    directory: Path
    lock: str

    def store(self, host: str) -> Path:
        return self.directory / host / "store"

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Return the variables of the hosts by name."""
        own = {"ansible_python_interpreter": os.fspath(_program("python"))}
        return {
            name: {**local_host(self.directory / name, **own), "store_path": str(self.store(name))}
            for name in (f"host{number:02}" for number in range(HOSTS))
        }

    def fill(self, model: Path | None) -> None:
        """Make all stores copies of a store, or remove them."""
        for host in self.hosts():
            shutil.rmtree(self.store(host), ignore_errors=True)
            if model:
                copy_store(model, self.store(host))


class Run:
    """A playbook on all hosts; ``module`` stands for a play with one task of it."""

    def __init__(self, site: Site, label: str, module: str = "", **options: Any) -> None:
        self.site, self.label = site, label
        self.directory = site.directory / label.replace(" ", "-")
        self.directory.mkdir(parents=True)
        self.playbook = f"lockstep.images.{label}"
        if module:
            play = {"hosts": "all", "gather_facts": False, "tasks": [{module: options}]}
            path = self.directory / "play.yml"
            path.write_text(json.dumps([play]))
            self.playbook = os.fspath(path)

    def pull(self, _images: Sequence[Published] = ()) -> Usage:
        """Run it."""
        environment = private_environment(self.directory, collections())
        environment["ANSIBLE_FORKS"] = str(FORKS)
        given = {"store_lock_file": self.site.lock, "store_verify": "quick"}
        with metered(self.directory) as meter:
            done = run_playbook(
                self.directory,
                self.playbook,
                self.site.hosts(),
                given,
                environment,
                meter.launcher,
                _program("ansible-playbook"),
            )
        if done.status:
            raise ServiceError(f"{self.label}: {done.output[-2000:]}")
        return meter.usage

    def clear(self) -> None:
        """Remove the stores of all hosts."""
        self.site.fill(None)


def fleet(lab: Lab) -> Table:
    """Provision and audit many hosts."""
    images = publish_small(lab.registry, IMAGES)
    site = Site(lab.directory / "hosts", lock_file(lab.directory, images))
    ping = Run(site, "ping", "ansible.builtin.ping")
    sync = Run(site, "image_sync alone", "lockstep.images.image_sync", **_SYNC)
    provision, audit = Run(site, "provision"), Run(site, "audit")

    def cold(tool: Any) -> tuple[Usage, dict[str, Any]]:
        tool.clear()
        return tool.pull(), {}

    rows = compare([sync, provision], lab.runs, cold)
    new = _named("all images are missing", rows)
    model = site.store(next(iter(site.hosts())))
    kept = lab.directory / "model"
    copy_store(model, kept)
    site.fill(kept)
    rows = compare([ping, sync, provision, audit], lab.runs, lambda tool: (tool.pull(), {}))
    there = _named("nothing to do", rows)
    text = f"""\
{HOSTS} hosts of this machine (`connection: local`), each with a store of {IMAGES} small images from a lock file, and
{FORKS} forks. CPU is that of the controller and of all modules together. `audit` compares sizes
(`store_verify=quick`). Ratios refer to the first row of the same kind."""
    return Table("fleet", "Provision and audit many hosts", text, [*there, *new], lab.runs)


def _program(name: str) -> Path:
    """Return a program of the line of ansible-core; ``./dev fleet`` installs all lines."""
    if LINE:
        return (collections_path() or Path.cwd()) / f"core-{LINE}" / "bin" / name
    return Path(sys.executable).with_name(name)


def _named(what: str, rows: Sequence[Row]) -> list[Row]:
    """Return rows with a longer label, and with the ratio of their CPU to that of the first."""
    first: Any = rows[0].cells["cpu"]
    cells: list[Any] = [row.cells["cpu"] for row in rows]
    return [
        replace(row, label=f"{row.label}, {what}", cells={**row.cells, "cpu_ratio": cpu / first})
        for row, cpu in zip(rows, cells)
    ]
