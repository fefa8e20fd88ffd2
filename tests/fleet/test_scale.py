# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Twenty hosts, twenty images, one lock file: what a registry is asked for, and who is named by the audit.

The hosts are directories of this machine, and the registry is the embedded one, since it counts.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.browser import chromium
from ansible_collections.lockstep.images.tests.support.fleet import SYNC, need_programs
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    local_host,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry

HOSTS = [f"host{number:02}" for number in range(1, 21)]
ILL = "host17"
IMAGES = 20
PLATFORM = "linux/amd64"
LOCK, PROVISION, AUDIT, REPORT = (
    f"lockstep.images.{name}" for name in ("lock", "provision", "audit", "report")
)
REF_NAME = "org.opencontainers.image.ref.name"
FAIL = "Fail when a store differs"


@dataclass(frozen=True)
class Fleet:
    """The hosts, provisioned from a lock file that carries the manifests along."""

    registry: Registry
    names: list[str]
    directory: Path
    play: PlayRunner
    variables: dict[str, Any]

    def store(self, host: str) -> Path:
        """Return the store of one host."""
        return self.directory / host / "store"

    def run(self, playbook: str, hosts: list[str] | None = None, **variables: Any) -> PlayResult:
        """Run a playbook of the collection over some hosts."""
        known = {
            host: {**local_host(self.directory / host), "store_path": os.fspath(self.store(host))}
            for host in hosts or HOSTS
        }
        given = {**self.variables, **variables}
        return self.play(playbook, self.play.inventory(known), given)

    def trees(self) -> set[int]:
        """Hashes of all files of all stores, by name and bytes."""
        return {hash(frozenset(layout.tree(self.store(host)).items())) for host in HOSTS}


@pytest.fixture(name="fleet", scope="module")
def fixture_fleet(workspace: Path, collection_env: dict[str, str]) -> Iterator[Fleet]:
    """Provide all hosts with empty stores, and a lock file."""
    directory = workspace / "scale"
    directory.mkdir()
    with Registry() as registry:
        names = []
        for number in range(IMAGES):
            push(registry, f"scale/app-{number}", demo_image(f"app-{number}", "1", size=4000), "1")
            names.append(f"{registry.address}/scale/app-{number}:1")
        variables = {
            "store_lock_file": os.fspath(directory / "images.lock.yml"),
            "store_images": names,
            "store_platforms": [PLATFORM],
            "store_lock_manifests": "embed",
            "store_plain_http": True,
            "store_install_requests": False,
        }
        play = PlayRunner(directory, {**collection_env, "ANSIBLE_FORKS": "10"}, forks=True)
        yield Fleet(registry, names, directory, play, variables)


def kinds(registry: Registry) -> Counter[str]:
    """Return how many requests there were, by method and by what was asked for."""
    found: Counter[str] = Counter()
    for request in registry.requests:
        found[f"{request.method} {request.path.split('/')[-2]}"] += 1
    registry.clear()
    return found


def test_a_fleet_costs_a_registry_the_manifests_once(fleet: Fleet) -> None:
    fleet.run(LOCK, HOSTS[:1]).ok()
    # Of each image its index, under the tag, and the manifest of one platform.
    assert kinds(fleet.registry) == {"GET manifests": 2 * IMAGES}

    done = fleet.run(PROVISION).ok()
    told = done.of(SYNC)
    assert sorted(told) == HOSTS
    first = told[HOSTS[0]]["stats"]
    store = fleet.store(HOSTS[0])
    blobs = {
        path.name: path.stat().st_size for name in fleet.names for path in _blobs_of(store, name)
    }
    configs = {image["id"] for image in told[HOSTS[0]]["images"]}
    for host in HOSTS:
        stats = told[host]["stats"]
        assert stats["requests"] == {"GET": len(blobs) + len(configs)}, host
        assert stats["bytes_fetched"] == first["bytes_fetched"] >= sum(blobs.values()), host
    assert kinds(fleet.registry) == {"GET blobs": len(HOSTS) * (len(blobs) + len(configs))}

    fingerprints = {layout.fingerprint(fleet.store(host)) for host in HOSTS}
    assert fingerprints == {told[HOSTS[0]]["fingerprint"]}
    assert len(fleet.trees()) == 1


def test_converged_fleet_sends_no_request(fleet: Fleet) -> None:
    assert fleet.run(AUDIT).ok().changed == 0
    assert fleet.registry.requests == []


def _rename(store: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the names of a store behind its back."""
    path = store / "index.json"
    index = json.loads(path.read_text())
    change(index["manifests"])
    path.write_text(json.dumps(index))


def _blobs_of(store: Path, name: str) -> list[Path]:
    """Return the layers of one image."""
    index = layout.read_manifest(store, layout.names(store)[name]["digest"])
    digest = next(
        one["digest"] for one in index["manifests"] if one["platform"]["architecture"] == "amd64"
    )
    layers = layout.read_manifest(store, digest)["layers"]
    return [layout.blob_path(store, one["digest"]) for one in layers]


def test_audit_names_host_and_image_of_every_tampered_file(fleet: Fleet) -> None:
    store = fleet.store(ILL)
    lost, flipped, moved, other = fleet.names[3], fleet.names[7], fleet.names[11], fleet.names[12]
    extra = f"{fleet.registry.address}/scale/extra:1"
    _blobs_of(store, lost)[-1].unlink()
    blob = _blobs_of(store, flipped)[-1]
    blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])

    def change(entries: list[dict[str, Any]]) -> None:
        by_name = {entry["annotations"][REF_NAME]: entry for entry in entries}
        by_name[moved].update(digest=by_name[other]["digest"], size=by_name[other]["size"])
        entries.append({**by_name[other], "annotations": {REF_NAME: extra}})

    _rename(store, change)
    done = fleet.run(AUDIT)
    assert done.returncode != 0
    message = next(one.result["msg"] for one in done.failures if one.task == FAIL)
    assert message.startswith("1 of 20 hosts differs")
    lines = [line for line in done.output.splitlines() if ILL in line and "sha256:" in line]
    for name in (lost, flipped, moved, extra):
        assert f"{ILL}: {name} " in message
        assert any(f"{name} " in line for line in lines), done.output
    assert not [
        name for name in fleet.names if f"{name} " in message and name not in (lost, flipped, moved)
    ]
    assert not [host for host in HOSTS if f"{host}:" in message and host != ILL]


def test_the_report_shows_the_host_that_was_tampered_with_first(fleet: Fleet) -> None:
    need_programs("chromium", "chromedriver")
    path = fleet.directory / "report.html"
    some = HOSTS[HOSTS.index(ILL) - 9 :]
    fleet.run(REPORT, some, report_path=os.fspath(path)).ok()
    first = "return document.querySelector('#matrix tbody tr').cells[0].textContent"
    with chromium(fleet.directory / "browser") as browser:
        browser.open(path)
        assert browser.run(first) == ILL
        assert browser.run("return document.querySelectorAll('#matrix tbody tr').length") == len(
            some
        )
    hosts = json.loads(path.with_suffix(".json").read_text())["hosts"]
    assert [host["name"] for host in hosts if host["status"] != "same"] == [ILL]


def test_full_provision_makes_all_hosts_the_same_again(fleet: Fleet) -> None:
    done = fleet.run(PROVISION, [HOSTS[0], ILL], store_verify="full").ok()
    assert {host for host, one in done.recap.items() if one["changed"]} == {ILL}
    assert kinds(fleet.registry) == {"GET blobs": 2}
    assert len(fleet.trees()) == 1
