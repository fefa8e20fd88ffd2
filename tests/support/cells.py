# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts without any network, which get their images over the connection of Ansible."""

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

from . import images, modules, services
from .fleet import SYNC, Registry, need_programs
from .playbook import local_host

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


def make_stock(directory: Path, registry: Registry, items: dict[str, images.Index]) -> Stock:
    """Return a store with images for two platforms, by their repositories."""
    store, path, names = directory / "stock", directory / "stock.lock.yml", []
    for repository, item in items.items():
        images.upload(registry.service.url, repository, item, "1")
        names.append(f"{registry.address}/{repository}:1")
    plain = {"plain_http": True, "platform": ["linux/amd64", "linux/arm64"]}
    locked = modules.run("image_lock", name=names, path=os.fspath(path), **plain)
    assert not locked.result.get("failed"), locked.result
    value = {"lockfile_version": 1, "images": locked.result["images"]}
    pulled = modules.run("image_sync", lock=value, store=os.fspath(store), **plain)
    assert not pulled.result.get("failed"), pulled.result
    return Stock(store, names, value, path)


@dataclass(frozen=True)
class Cell:
    """A host without any network. ``variables`` are those of its inventory, ``home`` is for its stores."""

    variables: dict[str, Any]
    home: Path


def make_cell(
    directory: Path, change: Callable[[str], str] = str, environment: dict[str, str] | None = None
) -> Cell:
    """Return a host that has an sshd in a network namespace without any route.

    ``change`` changes the configuration of its sshd, ``environment`` adds variables to each session.
    """
    need_programs("sshd", "ssh", "ssh-keygen", "unshare")
    with services.sshd(directory, environment=environment) as host:
        variables = host.variables()
    config = directory / "sshd_config"
    config.write_text(change(config.read_text()))
    inner = shlex.join([services.program("sshd"), "-i", "-f", os.fspath(config)])
    proxy = f"{services.program('unshare')} --net {inner}"
    variables["ansible_ssh_common_args"] += f" -o ProxyCommand={shlex.quote(proxy)}"
    return Cell(variables, directory)


def play_of(*tasks: dict[str, Any], **play: Any) -> str:
    """Return a play of these tasks on all hosts."""
    return json.dumps(
        [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks, **play}], indent=1
    )


def task_of(stock: Stock, action: str = SYNC, **options: Any) -> dict[str, Any]:
    """Return a task that syncs a host with the store of the controller, or calls another module with these options."""
    own = {
        "store": "{{ store_of_host }}",
        "source": "controller",
        "source_store": os.fspath(stock.store),
    }
    own.update({"lock": stock.lock} if action == SYNC else {})
    return {"name": "Sync", action: {**own, **options}}


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


def files_below(*directories: Path) -> list[str]:
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
