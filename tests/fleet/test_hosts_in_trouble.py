# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fleets in which something is wrong: the other hosts get their images, and messages name the host and the reason."""

from __future__ import annotations

import copy
import os
import subprocess
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.fleet import SYNC, need_programs
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, PlayRunner
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.site import HOSTS, UNREACHABLE, Site

LOCK, PROVISION, AUDIT = (f"lockstep.images.{name}" for name in ("lock", "provision", "audit"))
# What a client with requests needs beside it.
LIBRARIES = ("requests", "urllib3", "idna", "certifi", "charset-normalizer")
ODD_NAMES = (
    "web 1",
    "it's",
    'say "hi"',
    "b\u00fcro-\u96ea",
    "-e",
    "a/../b",
    "$(id)",
    "x" * 200,
)
RAISING = """
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "raising"

    def v2_runner_on_start(self, host, task):
        raise RuntimeError("on start")

    def v2_runner_on_ok(self, result):
        raise RuntimeError("on ok")
"""


@pytest.fixture(name="locked", scope="module")
def fixture_locked(workspace: Path, play: PlayRunner) -> Iterator[Site]:
    """Return a site whose images are locked."""
    directory = workspace / "trouble"
    directory.mkdir()
    with Registry() as registry:
        made = Site(registry, directory, play)
        made.run(LOCK).ok()
        yield made


@pytest.fixture(name="site")
def fixture_site(locked: Site, directory: Path) -> Site:
    """Return the site with stores of its own."""
    made = copy.copy(locked)
    made.directory = directory
    return made


def message(done: PlayResult, words: str) -> str:
    """Return the message of the failed task with these words."""
    return next(str(one.result["msg"]) for one in done.failures if words in str(one.result))


def shown(done: PlayResult) -> str:
    """Return what a run of provision showed in the end."""
    return str(done.one("Show what the hosts hold")["msg"])


def test_hosts_that_fail_or_do_not_answer_stop_no_other_host(site: Site) -> None:
    file = site.directory / "file"
    file.write_text("")
    trouble = {
        "two": {"store_platforms": ["linux/s390x"]},
        "four": UNREACHABLE,
        "five": {"store_path": os.fspath(file)},
    }
    known = {name: {**site.host(name), **trouble.get(name, {})} for name in [*HOSTS, *trouble]}
    inventory = site.play.inventory(known)
    # A variable of a run would override those of hosts.
    variables = {name: one for name, one in site.variables.items() if name != "store_platforms"}
    done = site.play(PROVISION, inventory, variables)
    assert done.returncode != 0
    assert "is not locked for linux/s390x, only for linux/amd64" in message(done, "s390x")
    assert os.fspath(file) in next(one.result["msg"] for one in done.failures if one.host == "five")
    assert shown(done).startswith("2 of 5 hosts, one fingerprint: ")
    assert "Not compared: five, four, two (unreachable or failed)." in shown(done)
    done = site.play(AUDIT, inventory, variables)
    assert done.returncode != 0
    text = message(done, "could not be compared")
    assert text.startswith("2 of 5 hosts could not be compared, 1 of 5 hosts could not be reached.")
    assert all(f"{name}: " in text for name in trouble) and "one: " not in text


def test_odd_names_of_hosts_are_names_only(site: Site) -> None:
    known = {name: site.host(f"odd{number}") for number, name in enumerate(ODD_NAMES)}
    inventory = site.play.inventory(known)
    done = site.play(PROVISION, inventory, site.variables).ok()
    assert shown(done).startswith(f"{len(ODD_NAMES)} hosts, one fingerprint: ")
    (site.store("odd2") / "index.json").unlink()
    text = message(site.play(AUDIT, inventory, site.variables), "could not be compared")
    assert text.startswith(f"1 of {len(ODD_NAMES)} hosts could") and f"{ODD_NAMES[2]}: " in text


def test_hosts_that_share_a_store_take_turns(site: Site) -> None:
    shared = {"store_path": os.fspath(site.store("shared"))}
    inventory = site.inventory(**dict.fromkeys(HOSTS, shared))
    done = site.play(PROVISION, inventory, site.variables).ok()
    assert shown(done).startswith("3 hosts, one fingerprint: ")
    assert layout.bad_blobs(site.store("shared")) == []


def test_host_that_loses_its_disk_fails_alone(site: Site, request: pytest.FixtureRequest) -> None:
    need_programs("mount", "umount")
    disk = site.directory / "two"
    unmount = ["umount", "--lazy", os.fspath(disk)]

    def lose(_asked: object) -> None:
        if os.path.ismount(disk) and any(disk.rglob("*.part")):
            subprocess.run(unmount, check=True)

    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.fspath(disk)], check=True)
    request.addfinalizer(lambda: subprocess.run(unmount, check=False, capture_output=True))
    site.registry.log.on_request = lose
    request.addfinalizer(lambda: setattr(site.registry.log, "on_request", None))
    done = site.run(PROVISION)
    assert not os.path.ismount(disk)
    assert [one.host for one in done.failures if one.action == SYNC] == ["two"]
    assert shown(done).startswith("2 of 3 hosts, one fingerprint: ")
    assert not (site.store("two") / "index.json").exists()


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_playbooks_work_with_every_strategy_by_default(site: Site, strategy: str) -> None:
    environment = {"ANSIBLE_STRATEGY": f"ansible.builtin.{strategy}"}
    done = site.play(PROVISION, site.inventory(), site.variables, environment=environment).ok()
    assert shown(done).startswith("3 hosts, one fingerprint: ")


def test_callback_that_raises_changes_no_result(site: Site) -> None:
    plugins = site.directory / "callbacks"
    plugins.mkdir()
    (plugins / "raising.py").write_text(RAISING)
    given = site.play.environment
    environment = {
        "ANSIBLE_CALLBACK_PLUGINS": f"{given['ANSIBLE_CALLBACK_PLUGINS']}:{plugins}",
        "ANSIBLE_CALLBACKS_ENABLED": f"{given['ANSIBLE_CALLBACKS_ENABLED']},raising",
        "LOCKSTEP_PROGRESS": "0.1",
    }
    done = site.play(PROVISION, site.inventory(), site.variables, environment=environment).ok()
    assert "on ok" in done.output
    assert shown(done).startswith("3 hosts, one fingerprint: ")


@pytest.fixture(name="bare_python")
def fixture_bare_python(directory: Path) -> Path:
    """Return a Python with pip and without requests."""
    venv.create(directory / "bare", with_pip=True)
    return directory / "bare/bin/python"


@pytest.fixture(name="wheels")
def fixture_wheels(directory: Path) -> Path:
    """Return a directory with wheels of requests and its dependencies, made of those that are installed here."""
    made = directory / "wheels"
    made.mkdir()
    for name in LIBRARIES:
        found = metadata.distribution(name)
        wheel = f"{name.replace('-', '_')}-{found.version}-py3-none-any.whl"
        with zipfile.ZipFile(made / wheel, "w") as archive:
            for path in found.files or ():
                if ".." not in path.parts and path.suffix not in (".pyc", ".so"):
                    archive.write(os.fspath(found.locate_file(path)), os.fspath(path))
    return made


def test_role_installs_requests_where_a_module_misses_it(
    site: Site, bare_python: Path, wheels: Path
) -> None:
    variables = {**site.variables, "store_install_requests": True}
    inventory = site.inventory(two={"ansible_python_interpreter": os.fspath(bare_python)})
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": os.fspath(wheels)}
    checked = site.play(PROVISION, inventory, variables, check=True, environment=offline)
    assert "lacks requests. Check mode does not install it" in checked.output
    done = site.play(PROVISION, inventory, variables, environment=offline).ok()
    assert done.one("ansible.builtin.pip")["changed"]
    assert shown(done).startswith("3 hosts, one fingerprint: ")
    again = site.play(PROVISION, inventory, variables, environment=offline).ok()
    assert again.changed == 0 and again.of("ansible.builtin.pip") == {}
