# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand hosts with 20 images each, from one lock file: what the controller, the registry and the report cost.

These tests take half an hour on two cores, so they are not part of ./dev test. LOCKSTEP_TEST_HOSTS sets another number.
Two of them may run at a time: each process has a lab of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.browser import chromium
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.images import image, layer, push
from ansible_collections.lockstep.images.tests.support.largefleet import (
    Cost,
    copy_store,
    replayed_host,
    run_playbook,
    save_answer,
)
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner, local_host
from ansible_collections.lockstep.images.tests.support.registry import Registry

HOSTS = int(os.environ.get("LOCKSTEP_TEST_HOSTS", "1000"))
SIZES = (HOSTS // 10, HOSTS * 3 // 10, HOSTS)
IMAGES = 20
# Each playbook with its variables.
PLAYBOOKS: dict[str, dict[str, Any]] = {
    "provision": {},
    "audit": {},
    "report": {"store_verify": "full"},
}
FORKS = "10"
# Hosts that run modules for the report. The others replay what a module returned on a host like them.
REAL = 30
NEW = 10


@dataclass(frozen=True)
class Lab:
    """A lock file of 20 images, a store that holds them, and what each module returned for that store."""

    registry: Registry
    directory: Path
    play: PlayRunner
    variables: dict[str, Any]

    @property
    def model(self) -> Path:
        return self.directory / "model" / "store"

    def replayed(self, playbook: str, name: str, store: str) -> dict[str, Any]:
        """Return the variables of a host on which the modules of a playbook find what they found in the model."""
        directory = self.directory / "replayed" / playbook / name
        return replayed_host(directory, self.directory / playbook, store)

    def run(self, name: str, playbook: str, hosts: dict[str, Any], **variables: Any) -> Cost:
        """Run a playbook over hosts and print what it cost."""
        given = {**self.variables, **PLAYBOOKS[playbook], **variables}
        environment = {**self.play.environment, "ANSIBLE_FORKS": FORKS}
        cost = run_playbook(
            self.directory / name, f"lockstep.images.{playbook}", hosts, given, environment
        )
        print(
            f"{name}: {len(hosts)} hosts, {cost.cpu:.0f} s CPU, {1000 * cost.cpu / len(hosts):.0f} ms per host,"
            f" largest process {cost.peak / 1e6:.0f} MB"
        )
        return cost


@pytest.fixture(name="lab", scope="module")
def fixture_lab(workspace: Path, collection_env: dict[str, str]) -> Iterator[Lab]:
    """Lock 20 images, provision one host, and record what the modules return there."""
    directory = workspace / "thousand"
    directory.mkdir()
    play = PlayRunner(directory, collection_env)
    with Registry() as registry:
        names = []
        base = layer({"srv/base": b"b" * 4000})
        for number in range(IMAGES):
            own = [
                base,
                layer({f"srv/{number}": os.urandom(2000)}),
                layer({"srv/x": b"%d" % number}),
            ]
            push(registry, f"scale/app-{number}", image(own), "1")
            names.append(f"{registry.address}/scale/app-{number}:1")
        variables = {
            "store_lock_file": os.fspath(directory / "images.lock.yml"),
            "store_platforms": ["linux/amd64"],
            "store_install_requests": False,
        }
        lab = Lab(registry, directory, play, variables)
        host = {**local_host(directory / "model"), "store_path": os.fspath(lab.model)}
        inventory = play.inventory({"model": host})
        embed = {"store_images": names, "store_lock_manifests": "embed"}
        play("lockstep.images.lock", inventory, {**variables, **embed}).ok()
        play("lockstep.images.provision", inventory, variables).ok()
        for playbook, own in PLAYBOOKS.items():
            given = {**variables, **own, "report_path": os.fspath(directory / "model.html")}
            for one in play(f"lockstep.images.{playbook}", inventory, given).ok().tasks:
                if one.action.startswith("lockstep.images.") and one.status == "ok":
                    module = one.action.rpartition(".")[2]
                    save_answer(directory / playbook, module, one.result, os.fspath(lab.model))
        yield lab


@pytest.fixture(name="hosts", scope="module")
def fixture_hosts(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return the hosts, each with a store of its own. In one of them, a byte is not as it was."""
    hosts = {}
    for number in range(HOSTS):
        name = f"host{number:04}"
        store = lab.directory / "hosts" / name / "store"
        copy_store(lab.model, store)
        hosts[name] = {**local_host(store.parent), "store_path": os.fspath(store)}
    manifest = layout.read_manifest(
        lab.model, next(iter(layout.names(lab.model).values()))["digest"]
    )
    blob = layout.blob_path(Path(hosts[tampered()]["store_path"]), manifest["layers"][-1]["digest"])
    content = blob.read_bytes()
    blob.unlink()  # the other stores have the same file
    blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return hosts


def tampered() -> str:
    return f"host{HOSTS * 7 // 10:04}"


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_cost_of_the_controller_is_linear(lab: Lab, playbook: str) -> None:
    costs, sizes = {}, {}
    for count in SIZES:
        names = (f"host{number:04}" for number in range(count))
        hosts = {name: lab.replayed(playbook, name, f"/srv/{name}/store") for name in names}
        path = lab.directory / f"{playbook}-{count}.html"
        cost = lab.run(f"{playbook}-{count}", playbook, hosts, report_path=os.fspath(path))
        assert cost.status == 0, cost.output[-2000:]
        costs[count] = cost
        if path.exists():
            sizes[count] = (path.stat().st_size, path.with_suffix(".json").stat().st_size)
    few, _some, many = SIZES
    assert costs[many].cpu / many <= 1.2 * costs[few].cpu / few
    _assert_linear({count: cost.peak for count, cost in costs.items()})
    for number in range(2) if sizes else ():
        _assert_linear({count: size[number] for count, size in sizes.items()})
    print(f"{playbook}: bytes of the report: {sizes}")


def _assert_linear(values: dict[int, int]) -> None:
    """Assert that the largest value is at most a fifth above the line through the two others."""
    few, some, many = sorted(values)
    slope = (values[some] - values[few]) / (some - few)
    assert values[many] <= 1.2 * (values[some] + max(0.0, slope) * (many - some))


def test_registry_gets_each_manifest_request_once(lab: Lab, hosts: dict[str, Any]) -> None:
    names = (f"new{number:02}" for number in range(NEW))
    new = {
        name: {
            **local_host(lab.directory / "new"),
            "store_path": os.fspath(lab.directory / "new" / name),
        }
        for name in names
    }
    assert lab.run("provision", "provision", {**hosts, **new}).status == 0
    asked = [one for one in lab.registry.requests if "/manifests/" in one.path]
    assert sum(one.method == "GET" for one in asked) == IMAGES


def test_audit_names_the_host_that_was_tampered_with(lab: Lab, hosts: dict[str, Any]) -> None:
    done = lab.run("audit", "audit", hosts)
    assert done.status != 0
    assert f"1 of {HOSTS} hosts differs from the lock file" in done.output
    assert f"{tampered()}: " in done.output


def test_report_shows_the_tampered_host_first_and_answers_at_once(
    lab: Lab, hosts: dict[str, Any]
) -> None:
    need_programs("chromium", "chromedriver")
    path = lab.directory / "report.html"
    real = {*list(hosts)[:REAL], tampered()}
    known = {
        name: host if name in real else lab.replayed("report", name, host["store_path"])
        for name, host in hosts.items()
    }
    done = lab.run("report", "report", known, report_path=os.fspath(path))
    assert done.status == 0, done.output[-2000:]
    rows = json.loads(path.with_suffix(".json").read_text())["hosts"]
    assert [row["name"] for row in rows if row["status"] != "same"] == [rows[0]["name"]]
    assert rows[0]["name"] == tampered()
    with chromium(lab.directory / "browser") as browser:
        browser.open(path)
        first = "return document.querySelector('#matrix tbody tr').cells[0].textContent"
        assert browser.run(first) == tampered()
        assert browser.run("return document.getElementById('shown').textContent").startswith(
            f"{HOSTS} of {HOSTS} hosts"
        )
        # The script has run when the page is interactive: it registers all handlers.
        taken = browser.run(
            "const [page] = performance.getEntriesByType('navigation'); return Math.round(page.domInteractive)"
        )
    print(f"report: {path.stat().st_size} bytes, interactive after {taken} ms")
