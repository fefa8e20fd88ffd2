# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts without any network get images through the connection of Ansible, on each line of ansible-core.

Each connection starts an sshd of its own in a network namespace without any route, so that no registry can be reached.
"""

from __future__ import annotations

import filecmp
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import images, layout, modules, services
from ansible_collections.lockstep.images.tests.support.fleet import (
    PULL,
    SYNC,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    core_program,
    local_host,
)

CORES = ["2.16", "2.19", "2.21"]
COUNT = 20
SYSTEM_PYTHON = "/usr/bin/python3"
# A connection like those of paramiko and podman, which take no input for a command.
FILES_ONLY = """
from ansible.errors import AnsibleError
from ansible.plugins.connection.ssh import Connection as Ssh, DOCUMENTATION as OF_SSH
DOCUMENTATION = OF_SSH.replace("name: ssh", "name: files_only")
class Connection(Ssh):
    transport = "files_only"
    has_pipelining = False
    def exec_command(self, cmd, in_data=None, sudoable=True):
        if in_data:
            raise AnsibleError("Internal Error: this module does not support optimized module pipelining")
        return super().exec_command(cmd, None, sudoable)
"""


@dataclass(frozen=True)
class Stock:
    """The store of the controller, and a lock of what it has."""

    store: Path
    names: list[str]
    lock: dict[str, Any]
    lock_file: Path


@pytest.fixture(scope="module")
def stock(workspace: Path, registry_plain: Registry) -> Stock:
    """The store of the controller with twenty images for two platforms."""
    store, lock, names = workspace / "stock", workspace / "stock.lock.yml", []
    for number in range(COUNT):
        repository = f"lockstep/stock-{number}"
        images.upload(
            registry_plain.service.url, repository, images.demo_image(repository, "1"), "1"
        )
        names.append(f"{registry_plain.address}/{repository}:1")
    plain = {"plain_http": True, "platform": ["linux/amd64", "linux/arm64"]}
    locked = modules.run("image_lock", name=names, path=os.fspath(lock), **plain)
    assert not locked.result.get("failed"), locked.result
    value = {"lockfile_version": 1, "images": locked.result["images"]}
    pulled = modules.run("image_sync", lock=value, store=os.fspath(store), **plain)
    assert not pulled.result.get("failed"), pulled.result
    return Stock(store, names, value, lock)


@dataclass(frozen=True)
class Cell:
    """A host without any network. ``variables`` are those of its inventory, ``home`` is for its stores."""

    variables: dict[str, Any]
    home: Path


@pytest.fixture(scope="module")
def cell(workspace: Path) -> Cell:
    """A host that has an sshd in a network namespace without any route."""
    need_programs("sshd", "ssh", "ssh-keygen", "unshare")
    with services.sshd(workspace / "cell") as host:
        variables = host.variables()
    config = workspace / "cell/sshd_config"
    inner = shlex.join([services.program("sshd"), "-i", "-f", os.fspath(config)])
    proxy = f"{services.program('unshare')} --net {inner}"
    variables["ansible_ssh_common_args"] += f" -o ProxyCommand={shlex.quote(proxy)}"
    return Cell(variables, workspace / "cell")


@pytest.fixture(scope="module")
def plugins(workspace: Path) -> Path:
    """Return a directory with a connection plugin."""
    made = workspace / "connections"
    made.mkdir()
    (made / "files_only.py").write_text(FILES_ONLY)
    return made


@pytest.fixture()
def runner(directory: Path, play: PlayRunner, plugins: Path) -> Callable[[str], PlayRunner]:
    """`runner("2.16")` runs plays with this line of ansible-core."""

    def make(line: str) -> PlayRunner:
        made = directory / f"plays-{line}"
        made.mkdir(exist_ok=True)
        environment = {**play.environment, "ANSIBLE_CONNECTION_PLUGINS": os.fspath(plugins)}
        return PlayRunner(made, environment, core_program(line), forks=True)

    return make


def play_of(*tasks: dict[str, Any]) -> str:
    """Return a play of these tasks on all hosts."""
    return json.dumps(
        [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks}], indent=1
    )


def sync_of(stock: Stock, **options: Any) -> str:
    """Return a play that syncs a host with the store of the controller."""
    own = {
        "lock": stock.lock,
        "store": "{{ store_of_host }}",
        "source": "controller",
        "source_store": os.fspath(stock.store),
    }
    return play_of({"name": "Sync", SYNC: {**own, **options}})


def differences(left: Path, right: Path) -> list[str]:
    """Return what `diff -r` reports on two stores, without their locks."""
    found = []
    todo = [filecmp.dircmp(left, right, ignore=[".staging"])]
    while todo:
        one = todo.pop()
        found += [*one.left_only, *one.right_only, *one.funny_files]
        found += [
            name
            for name in one.common_files
            if (Path(one.left) / name).read_bytes() != (Path(one.right) / name).read_bytes()
        ]
        todo += one.subdirs.values()
    return found


def leftovers(*directories: Path) -> list[str]:
    """Return the files below directories that should be empty."""
    return [os.fspath(path) for one in directories for path in one.rglob("*") if not path.is_dir()]


def of_way(way: str, cell: Cell, directory: Path) -> dict[str, Any]:
    """Return the variables of a host that gets content in one of the ways."""
    store = {"store_of_host": os.fspath(directory / "store")}
    if way == "local":
        return {**local_host(directory), **store}
    host = {**cell.variables, "ansible_remote_tmp": os.fspath(directory / "remote"), **store}
    if way == "sudo":
        (directory / "store").mkdir()
        shutil.chown(directory / "store", "nobody")
        user = {"ansible_become": True, "ansible_become_user": "nobody"}
        # The Python of the tests can be one that only root can run.
        user["ansible_python_interpreter"] = SYSTEM_PYTHON
        return {**host, **user, "ansible_become_method": "sudo"}
    if way == "files":
        return {**host, "ansible_connection": "files_only"}
    return host


WAYS = {"root": "stream", "sudo": "stream", "local": "copy", "files": "bundles"}


@pytest.mark.parametrize("line", CORES)
def test_hosts_without_network_get_the_store_of_the_controller(
    line, stock, cell, directory, runner
):
    """As root, as another user, on this machine, and over a connection that only copies files."""
    need_programs("sudo")
    for parent in (directory, directory.parent):
        parent.chmod(0o711)
    homes = {way: directory / way for way in WAYS}
    for home in homes.values():
        home.mkdir(mode=0o755)
    run = runner(line)
    inventory = run.inventory({way: of_way(way, cell, home) for way, home in homes.items()})
    checks = run(sync_of(stock), inventory, check=True).ok().of("Sync") if line == "2.19" else {}
    firsts = run(sync_of(stock), inventory).ok().of("Sync")
    seconds = run(sync_of(stock), inventory).ok().of("Sync")
    for way, home in homes.items():
        first, second = firsts[way], seconds[way]
        for key in ("changed", "images", "actions", "diff", "differences", "fingerprint"):
            assert checks.get(way, first)[key] == first[key], key
        assert first["changed"] and not second["changed"]
        assert first["stats"]["requests"] == {} and first["stats"]["via"] == WAYS[way]
        assert first["stats"]["bytes_sent"] == first["stats"]["bytes_to_fetch"] > 0
        assert second["stats"]["bytes_sent"] == 0
        assert differences(stock.store, home / "store") == []
        assert layout.bad_blobs(home / "store") == []
        assert leftovers(home / "remote") == []


def test_image_of_the_controller_is_pulled_by_its_name(stock, cell, directory, runner):
    run = runner("2.19")
    inventory = run.inventory({"one": of_way("root", cell, directory)})
    task = {
        "name": stock.names[:2],
        "store": "{{ store_of_host }}",
        "source": "controller",
        "source_store": os.fspath(stock.store),
    }
    text = play_of({"name": "Pull", PULL: task})
    first, second = (run(text, inventory).ok().one("Pull") for _run in range(2))
    assert first["changed"] and not second["changed"]
    assert first["stats"]["requests"] == {} and first["stats"]["bytes_sent"] > 0
    assert layout.bad_blobs(directory / "store") == []


PROVISION, AUDIT = "lockstep.images.provision", "lockstep.images.audit"


@pytest.mark.parametrize("source", ["controller", "bundle"])
def test_role_provisions_and_audits_without_any_registry(source, stock, directory, play):
    """Ansible itself runs in a network namespace without any route."""
    need_programs("unshare")
    bundle = directory / "site.tar"
    hosts = {
        name: {**local_host(directory), "store_path": os.fspath(directory / name)}
        for name in ("one", "two")
    }
    shared = {
        "store_lock_file": os.fspath(stock.lock_file),
        "store_source": source,
        "store_source_store": os.fspath(stock.store),
        "store_bundle": os.fspath(bundle),
    }
    if source == "bundle":
        exported = modules.run(
            "image_export", lock=stock.lock, store=os.fspath(stock.store), dest=os.fspath(bundle)
        )
        assert not exported.result.get("failed"), exported.result
    # Check mode asks no registry what an engine would get either.
    archives = directory / "archives"
    archives.mkdir()
    engine = {"store_engine": "directory", "store_engine_path": os.fspath(archives)}
    inventory = play.inventory(hosts, **shared, **(engine if source == "controller" else {}))

    def run(playbook: str, **options: Any) -> PlayResult:
        return play(playbook, inventory, launcher=["unshare", "--net"], **options)

    check = run(PROVISION, check=True).ok()
    inventory = play.inventory(hosts, **shared)
    first = run(PROVISION).ok()
    second = run(PROVISION).ok()
    assert check.changed == first.changed == 2 and second.changed == 0
    assert differences(stock.store, directory / "one") == []
    assert "2 hosts match the lock file (every byte checked)" in run(AUDIT).ok().output
    digest = layout.names(directory / "one")[stock.names[0]]["digest"]
    layout.blob_path(directory / "one", digest).unlink()
    audit = run(AUDIT)
    assert audit.returncode and stock.names[0] in audit.output
    assert "two" not in {one.host for one in audit.failures}
    assert run(PROVISION).ok().changed == 1
    run(AUDIT).ok()
