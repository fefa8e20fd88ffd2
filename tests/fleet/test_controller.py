# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts without any network get images through the connection of Ansible, on each line of ansible-core.

Each connection starts an sshd of its own in a network namespace without any route, so that no registry can be reached.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import layout, modules
from ansible_collections.lockstep.images.tests.support.cells import (
    differences,
    files_below,
    of_way,
    play_of,
    task_of,
)
from ansible_collections.lockstep.images.tests.support.fleet import PULL, need_programs
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, local_host

CORES = ["2.16", "2.19", "2.21"]
IMPORT = "lockstep.images.image_import"
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
    checks = (
        run(play_of(task_of(stock)), inventory, check=True).ok().of("Sync")
        if line == "2.19"
        else {}
    )
    firsts = run(play_of(task_of(stock)), inventory).ok().of("Sync")
    seconds = run(play_of(task_of(stock)), inventory).ok().of("Sync")
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
        assert files_below(home / "remote") == []


@pytest.mark.parametrize("line", CORES)
def test_hosts_without_network_get_the_store_of_a_bundle(line, stock, cell, directory, runner):
    """As root, as another user, on this machine, and over a connection that only copies files."""
    need_programs("sudo")
    for parent in (directory, directory.parent):
        parent.chmod(0o711)
    bundle = directory / "site.tar"
    exported = modules.run(
        "image_export", lock=stock.lock, store=os.fspath(stock.store), dest=os.fspath(bundle)
    )
    assert not exported.result.get("failed"), exported.result
    homes = {way: directory / way for way in WAYS}
    for home in homes.values():
        home.mkdir(mode=0o755)
    run = runner(line)
    inventory = run.inventory({way: of_way(way, cell, home) for way, home in homes.items()})
    options = {"src": os.fspath(bundle), "lock": stock.lock, "store": "{{ store_of_host }}"}
    text = play_of({"name": "Import", IMPORT: options})
    firsts = run(text, inventory).ok().of("Import")
    seconds = run(text, inventory).ok().of("Import")
    for way, home in homes.items():
        first, second = firsts[way], seconds[way]
        assert first["changed"] and not second["changed"]
        assert first["stats"]["requests"] == {} and first["stats"]["bytes_fetched"] > 0
        assert second["stats"]["bytes_fetched"] == 0
        assert differences(stock.store, home / "store") == []
        assert files_below(home / "remote") == []


def test_image_of_the_controller_is_pulled_by_its_name(stock, cell, directory, runner):
    run = runner("2.19")
    inventory = run.inventory({"one": of_way("root", cell, directory)})
    text = play_of(task_of(stock, PULL, name=stock.names[:2]))
    first, second = (run(text, inventory).ok().one("Sync") for _run in range(2))
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


LOAD = "lockstep.images.image_load"


@pytest.mark.parametrize("listed", [True, False], ids=["lock-file", "list"])
def test_check_mode_of_a_bundle_shows_what_the_engine_lacks(
    listed, stock, directory, play, registry_plain
):
    """First of an empty store: only the import can say what it would get. Then of one that has the images."""
    asked = len(registry_plain.requests())
    bundle, archives = directory / "site.tar", directory / "archives"
    archives.mkdir()
    platform = "linux/amd64"
    exported = modules.run(
        "image_export",
        lock=stock.lock,
        platform=[platform],
        store=os.fspath(stock.store),
        dest=os.fspath(bundle),
    )
    assert not exported.result.get("failed"), exported.result
    images = {"store_lock_file": os.fspath(stock.lock_file)}
    variables = {
        **(images if listed else {"store_images": stock.names}),
        "store_path": os.fspath(directory / "store"),
        "store_platforms": [platform],
        "store_source": "bundle",
        "store_bundle": os.fspath(bundle),
        "store_engine": "directory",
        "store_engine_path": os.fspath(archives),
    }
    inventory = play.inventory({"one": local_host(directory)}, **variables)

    def run(playbook: str, **options: Any) -> PlayResult:
        return play(playbook, inventory, **options).ok()

    def loaded(done: PlayResult) -> dict[str, Any]:
        (result,) = [one.result for one in done.tasks if one.action == LOAD][:1]
        return result

    first = run(PROVISION, check=True)
    assert first.one(IMPORT)["changed"] and "skip_reason" in loaded(first)
    assert not (directory / "store").exists() and list(archives.iterdir()) == []
    run(PROVISION, extra_vars={"store_engine": "none"})
    second = run(PROVISION, check=True)
    assert not second.one(IMPORT)["changed"] and loaded(second)["changed"]
    assert {one["name"] for one in loaded(second)["images"]} == {*stock.names}
    assert "1 of 1 engines would get images" in second.output
    assert list(archives.iterdir()) == []
    real = run(PROVISION)
    assert loaded(real)["actions"] == loaded(second)["actions"]
    assert len(list(archives.iterdir())) == len(stock.names)
    assert run(PROVISION, check=True).changed == run(PROVISION).changed == 0
    if listed:
        run(AUDIT)
    assert len(registry_plain.requests()) == asked
