# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report over hosts, one of which cannot be reached and one of which lies, in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import layout, reports
from ansible_collections.lockstep.images.tests.support.browser import (
    ENTER,
    SPACE,
    TAB,
    Browser,
    chromium,
)
from ansible_collections.lockstep.images.tests.support.fleet import (
    DEMO,
    PULL,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    local_host,
    one_task,
)
from ansible_collections.lockstep.images.tests.support.services_process import run, unmount_below

REPORT = "lockstep.images.report"
# What would run in a browser, and what would be filled in by Ansible.
EVIL = "</script></td><img src=x onerror=\"document.title='owned'\"><!--{{ 6 * 7 }}"


@pytest.fixture()
def stores(directory: Path) -> Iterator[Path]:
    """A file system of its own, as nobody else's writing may change how much of it is free."""
    made = directory / "stores"
    made.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", made])
    yield made
    unmount_below(made)


@pytest.fixture()
def fleet(
    play: PlayRunner,
    directory: Path,
    stores: Path,
    registry_plain: Registry,
    small_images: dict[str, str],
) -> Path:
    """An inventory: two hosts are alike, `odd` holds more, under a bad name, and `gone` does not answer."""
    assert small_images
    names = {host: local_host(directory / host) for host in ("alike1", "alike2", "odd")}
    hosts: dict[str, dict[str, Any]] = {
        host: {**own, "store_path": os.fspath(stores / host)} for host, own in names.items()
    }
    name = f"{registry_plain.address}/{DEMO}"
    for host, tags in {"alike1": ["v1"], "alike2": ["v1"], "odd": ["v1", "v2"]}.items():
        task = one_task(PULL, name=[f"{name}:{tag}" for tag in tags], store="{{ store_path }}")
        play(task, play.inventory({host: hosts[host]})).ok()
    index = stores / "odd" / "index.json"
    index.write_text(index.read_text().replace(f"{name}:v2", json.dumps(EVIL)[1:-1]))
    assert EVIL in layout.names(index.parent)
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    return play.inventory({**hosts, "gone": {**gone, "store_path": "/nowhere"}})


def _run(play: PlayRunner, fleet: Path, path: Path, **options: Any) -> PlayResult:
    return play(REPORT, fleet, {"report_path": os.fspath(path)}, **options)


def test_the_report_tells_of_every_host_and_is_written_once(
    play: PlayRunner, fleet: Path, directory: Path
) -> None:
    path = directory / "images.html"
    twin = path.with_suffix(".json")
    assert _run(play, fleet, path, check=True).ok().changed == 2
    assert not path.exists()
    assert _run(play, fleet, path).ok().changed == 2
    written = path.read_bytes(), twin.read_bytes()
    assert _run(play, fleet, path).ok().changed == 0
    assert (path.read_bytes(), twin.read_bytes()) == written
    assert path.stat().st_mode & 0o777 == twin.stat().st_mode & 0o777 == 0o644

    model = json.loads(twin.read_text())
    assert {host["name"]: host["status"] for host in model["hosts"]} == {
        "odd": "differs",
        "gone": "unreachable",
        "alike1": "same",
        "alike2": "same",
    }
    assert model["hosts"][0]["states"] == {EVIL: "extra"}
    assert EVIL not in path.read_text() and "42" not in EVIL
