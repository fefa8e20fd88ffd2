# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The provision playbook over four hosts, two of them behind real SSH servers: one fingerprint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.fleet import DEMO, PULL, Registry
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    local_host,
    one_task,
)
from ansible_collections.lockstep.images.tests.support.services import SshHost

PROVISION, TAG = "lockstep.images.provision", "lockstep.images.image_tag"


@dataclass(frozen=True)
class Fleet:
    """Return four hosts with empty stores, and the variables for `provision`."""

    hosts: dict[str, dict[str, Any]]
    inventory: Path
    variables: dict[str, Any]

    def store(self, host: str) -> Path:
        """Return the store of one host."""
        return Path(self.hosts[host]["store_path"])

    def fingerprints(self) -> set[str]:
        """Return the fingerprints of all hosts; one, when they are in lockstep."""
        return {layout.fingerprint(self.store(host)) for host in self.hosts}


@pytest.fixture()
def fleet(
    play: PlayRunner,
    directory: Path,
    ssh_hosts: dict[str, SshHost],
    registry_plain: Registry,
    small_images: dict[str, str],
) -> Iterator[Fleet]:
    """Provide two local hosts and two behind SSH, with the images `v1` and `docker` wanted on each."""
    variables = {name: host.variables() for name, host in ssh_hosts.items()}
    variables.update({name: local_host(directory / name) for name in ("local1", "local2")})
    hosts = {
        name: {**own, "store_path": os.fspath(directory / name / "store")}
        for name, own in sorted(variables.items())
    }
    wanted = [f"{registry_plain.address}/{DEMO}:{tag}" for tag in ("v1", "docker")]
    yield Fleet(hosts, play.inventory(hosts), {"store_images": wanted})


def test_four_hosts_end_with_one_fingerprint_and_then_nothing_changes(
    fleet: Fleet, play: PlayRunner, small_images: dict[str, str]
) -> None:
    runs = play.four_times(PROVISION, fleet.inventory, fleet.variables, diff=True)
    assert set(runs[1].recap) == set(fleet.hosts)
    assert all(counters["changed"] for counters in runs[1].recap.values())
    assert len(fleet.fingerprints()) == 1
    for host in fleet.hosts:
        found = {entry["digest"] for entry in layout.names(fleet.store(host)).values()}
        assert found == {small_images["v1"], small_images["docker"]}
        assert layout.bad_blobs(fleet.store(host)) == []


def test_stores_of_different_hosts_are_the_same_bytes(fleet: Fleet, play: PlayRunner) -> None:
    turned = dict(fleet.variables, store_images=fleet.variables["store_images"][::-1])
    # Two of the hosts get the images in the other order.
    play(PROVISION, play.inventory(_some(fleet, "local")), fleet.variables).ok()
    play(PROVISION, play.inventory(_some(fleet, "ssh")), turned).ok()
    trees = [layout.tree(fleet.store(host)) for host in fleet.hosts]
    assert all(tree == trees[0] for tree in trees[1:])


def test_a_host_that_holds_something_else_is_named_and_does_not_differ_for_it(
    fleet: Fleet, play: PlayRunner, registry_plain: Registry
) -> None:
    play(PROVISION, fleet.inventory, fleet.variables).ok()
    extra = f"{registry_plain.address}/{DEMO}:v2"
    tamper = one_task(PULL, name=[extra], store="{{ store_path }}")
    play(tamper, play.inventory(_some(fleet, "ssh2"))).ok()

    run = play(PROVISION, fleet.inventory, fleet.variables).ok()
    told = run.of("Show the images that the list does not name")
    assert [host for host, result in told.items() if extra in result.get("msg", "")] == ["ssh2"]

    # Under a name that was asked for it does differ.
    named = fleet.variables["store_images"][0]
    tag = one_task(TAG, name=extra, repository=[named], store="{{ store_path }}")
    play(tag, play.inventory(_some(fleet, "ssh2"))).ok()
    run = play(PROVISION, fleet.inventory, {**fleet.variables, "store_pull": "missing"})
    assert run.returncode != 0
    told = "\n".join(str(failure.result["msg"]) for failure in run.failures)
    assert "ssh2" in told and named in told and "ssh1" not in told, told


def test_a_host_whose_content_was_damaged_is_repaired(fleet: Fleet, play: PlayRunner) -> None:
    two = play.inventory({name: fleet.hosts[name] for name in ("local1", "ssh1")})
    play(PROVISION, two, fleet.variables).ok()
    before = layout.tree(fleet.store("local1"))
    largest = max(before, key=lambda path: len(before[path]))
    (fleet.store("ssh1") / largest).unlink()

    runs = play.four_times(PROVISION, two, fleet.variables)
    assert {host for host, counters in runs[1].recap.items() if counters["changed"]} == {"ssh1"}
    assert layout.tree(fleet.store("ssh1")) == before


def _some(fleet: Fleet, prefix: str) -> dict[str, dict[str, Any]]:
    """Return the hosts whose names begin so."""
    return {name: own for name, own in fleet.hosts.items() if name.startswith(prefix)}
