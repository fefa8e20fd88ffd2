# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No secret is shown by role, playbooks and modules, on any ansible-core that is supported.

Each run has `-vvv --diff`. Terminal, results, Ansible's log and the journal of the host are searched
for every secret: as it is, in base64, in a URL, and as JSON and Python write it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.devtools.environment import CORES
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.journal import Journal
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    core_program,
    local_host,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import key
from ansible_collections.lockstep.images.tests.support.tables import secret_forms

USER = "robot"
# Of a login, of an entry of registries, of a mirror. JSON, repr() and a URL write them in other ways.
LOGIN, ENTRY, MIRROR = (f"c4nary-{name} \"it's\\ü@+/%41" for name in ("login", "entry", "mirror"))
SECRETS = [text for secret in (LOGIN, ENTRY, MIRROR) for text in (secret, f"{USER}:{secret}")]
NOWHERE = "127.0.0.1:1"
PROVISION, LOCK, AUDIT, REPORT = (
    f"lockstep.images.{name}" for name in ("provision", "lock", "audit", "report")
)


class Site:
    """One host, and images in a registry with a login and in one with a mirror."""

    def __init__(self, directory: Path, play: PlayRunner, one: Registry, other: Registry) -> None:
        self.directory = directory
        self.play = play
        self.login = {"registry_url": one.address, "username": USER, "password": LOGIN}
        self.entry = {
            "registry": other.address,
            "username": USER,
            "password": ENTRY,
            "mirrors": [{"url": f"http://{NOWHERE}", "username": USER, "password": MIRROR}],
        }
        self.names = [f"{one.address}/app:1", f"{other.address}/tool:1"]
        self.variables: dict[str, Any] = {
            "store_images": self.names,
            "store_lock_file": os.fspath(directory / "images.lock.yml"),
            "store_path": os.fspath(directory / "store"),
            "store_config_path": os.fspath(directory / "auth.json"),
            "store_platforms": ["linux/amd64"],
            "store_registries": [self.login],
            "store_registry_settings": [self.entry],
            "store_install_requests": False,
            "store_retries": 0,
            "store_engine": "directory",
            "store_engine_path": os.fspath(directory / "archives"),
        }
        (directory / "archives").mkdir()

    def run(
        self,
        playbook: str,
        hosts: Mapping[str, Mapping[str, Any]] | None = None,
        check: bool = False,
        **variables: Any,
    ) -> PlayResult:
        """Run a playbook on hosts with their own variables, and search everything it leaves behind for secrets."""
        own = {
            host: {**more, **local_host(self.directory)}
            for host, more in (hosts or {"one": {}}).items()
        }
        inventory = self.play.inventory(own, **{**self.variables, **variables})
        log, files = self.directory / "ansible.log", self.directory / "journal"
        for left in (log, files):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(
                missing_ok=True
            )
        journal = Journal(files)
        environment = {
            **journal.environment(),
            "ANSIBLE_LOG_PATH": os.fspath(log),
            "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "1",
        }
        done = self.play(
            playbook,
            inventory,
            check=check,
            diff=True,
            verbosity=3,
            environment=environment,
        )
        results = json.dumps([dataclasses.asdict(one) for one in done.tasks])
        shown = {
            "terminal": done.output,
            "results": results,
            "log": log.read_text(encoding="utf-8"),
            "journal": journal.text(),
        }
        assert done.tasks and shown["log"]
        leaks = [
            f"{where}: {line}"
            for where, text in shown.items()
            for line in text.splitlines()
            if any(form in line for form in FORMS)
        ]
        assert leaks == []
        return done


FORMS = secret_forms(*SECRETS)


@pytest.fixture(name="site", params=CORES)
def fixture_site(
    request: pytest.FixtureRequest, directory: Path, play: PlayRunner
) -> Iterator[Site]:
    """Nothing is locked or pulled yet."""
    runner = PlayRunner(directory, play.environment, core_program(request.param))
    with (
        Registry(auth="bearer", users={USER: LOGIN}) as one,
        Registry(auth="basic", users={USER: ENTRY}) as other,
    ):
        push(one, "app", demo_image("app", "1", size=400), "1")
        push(other, "tool", demo_image("tool", "1", size=400), "1")
        yield Site(directory, runner, one, other)


def test_F01_playbooks_that_succeed_show_no_secret(site: Site) -> None:
    site.run(LOCK).ok()
    assert not (site.directory / "auth.json").exists()
    site.run(PROVISION, check=True).ok()
    site.run(PROVISION).ok()
    assert (site.directory / "auth.json").exists()
    assert len(list((site.directory / "archives").iterdir())) == len(site.names)
    site.run(AUDIT).ok()
    site.run(PROVISION, store_engine_source="registry").ok()
    site.run(REPORT, report_path=os.fspath(site.directory / "report.html")).ok()
    for page in site.directory.glob("report.*"):
        text = page.read_text(encoding="utf-8")
        assert not [form for form in FORMS if form in text]


def test_F01_logins_are_used_even_if_no_host_stores_them(site: Site) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION, store_install_logins=False).ok()
    assert not (site.directory / "auth.json").exists()


def test_F01_playbooks_that_fail_show_why_and_no_secret(site: Site) -> None:
    refused = {"store_registries": [{**site.login, "password": f"{LOGIN}."}]}
    down = {"store_registries": [{**site.login, "registry_url": NOWHERE}]}
    down_settings = {
        "store_registry_settings": [{**site.entry, "registry": NOWHERE}],
        "store_images": [f"{NOWHERE}/app:1"],
    }
    missing = {"store_images": [f"{site.login['registry_url']}/nothing:1"]}
    hosts = {"refused": refused, "down": down, "down-settings": down_settings, "missing": missing}
    del site.variables["store_lock_file"]
    said = messages(site.run(PROVISION, hosts))
    assert "authentication-failed" in said["refused"]
    assert site.login["registry_url"] in said["refused"]
    assert "Connection refused" in said["down"] and NOWHERE in said["down"]
    assert "Connection refused" in said["down-settings"]
    assert "not found" in said["missing"]
    path = os.fspath(site.directory / "images.lock.yml")
    locked = site.run(LOCK, store_lock_file=path, **refused)
    assert "authentication-failed" in messages(locked)["localhost"]


def test_F01_variables_of_the_wrong_form_are_named_without_secrets(site: Site) -> None:
    login, entry = site.login, site.entry
    logins = {
        "list": [[login]],
        "text": [f"{USER}:{LOGIN}@{login['registry_url']}"],
        "dictionary": {login["registry_url"]: login},
        "json": json.dumps([[login]]),
        "unknown": [{**login, "passwort": LOGIN}],
        "secret": [{**login, "password": [LOGIN]}],
        "verify": [{**login, "verify": LOGIN}],
    }
    settings = {
        "entry-list": [[entry]],
        "mirror-list": [{**entry, "mirrors": [entry["mirrors"]]}],
        "entry-dictionary": {"registry": entry},
    }
    hosts = {host: {"store_registries": value} for host, value in logins.items()}
    hosts.update({host: {"store_registry_settings": value} for host, value in settings.items()})
    del site.variables["store_lock_file"]
    for check in (True, False):
        done = site.run(PROVISION, hosts, check=check)
        assert messages(done).keys() == hosts.keys(), done.output


def test_F01_modules_show_no_secret_whether_they_succeed_or_fail(site: Site) -> None:
    copies = f"{NOWHERE}/copies"
    names = "{{ store_images }}"
    archive = f"{site.directory}/{{{{ inventory_hostname }}}}.tar"
    tasks: dict[str, dict[str, Any]] = {
        "registry_login": {"registry_url": "{{ store_images[0].split('/')[0] }}"},
        "registry_info": {"name": names},
        "image_pull": {"name": names},
        "image_info": {},
        "image_tag": {"name": "{{ store_images[0] }}", "repository": [f"{copies}/app:1"]},
        "image_unpack": {"name": "{{ store_images[0] }}", "path": str(site.directory / "trees")},
        "image_mount": {"root": "none", "state": "absent", "path": str(site.directory / "trees")},
        "tree_prune": {"path": str(site.directory / "trees")},
        "image_export": {"name": names, "dest": archive},
        "image_import": {"src": archive},
        "image_build": {"name": f"{copies}/new:1", "instructions": "FROM {{ store_images[0] }}"},
        "image_push": {"name": [f"{copies}/app:1"]},
        "image_copy": {"name": names, "destination": copies},
        "image_lock": {"name": names, "path": "{{ store_lock_file }}"},
        "image_sync": {"lock": "{{ lookup('lockstep.images.lock', store_lock_file) }}"},
        "image_receive": {
            "lock": "{{ lookup('lockstep.images.lock', store_lock_file) }}",
            "manifests": {},
        },
        "image_sign": {
            "name": names,
            "key": {"text": key("ed25519").encrypted(LOGIN)},
            "passphrase": "{{ login }}",
        },
        "image_verify": {"name": names, "verify": [{"match": "*", "accept": "unsigned"}]},
        "image_load": {"name": names, "engine": "docker", "socket": NO_SOCKET},
        "engine_info": {"name": names, "engine": "docker", "socket": NO_SOCKET},
        "registry_remove": {"name": [f"{NOWHERE}/app:1"]},
        "image_remove": {"name": names},
        "store_info": {},
        "store_prune": {},
        "store_verify": {},
    }
    options = {
        "username": USER,
        "password": "{{ login }}",
        "registries": "{{ reach }}",
        "store": "{{ store_path }}",
        "config_path": "{{ store_config_path }}",
        "retries": 0,
    }
    called = [
        {f"lockstep.images.{module}": {**options, **given}, "ignore_errors": True}
        for module, given in tasks.items()
    ]
    lookup = "{{ query('lockstep.images.digest', store_images, registries=reach | lockstep.images.with_logins(store_registries)) }}"
    called.append({"ansible.builtin.debug": {"msg": lookup}, "ignore_errors": True})
    play = {"name": "Run all", "hosts": "all", "gather_facts": False, "tasks": called}
    logins = {"right": {"reach": [site.entry]}, "wrong": {"reach": [[site.entry]]}}
    done = site.run(json.dumps([play], indent=2), logins, login=LOGIN).ok()
    assert len(done.tasks) == 2 * len(called)
    failed = {one.action for one in done.tasks if one.host == "right" and one.status == "failed"}
    # They ask the registry of the copies or the engine, which are not there.
    assert failed == {f"lockstep.images.{name}" for name in NOT_THERE}, messages(done)


NO_SOCKET = "/nonexistent/docker.sock"
NOT_THERE = ("image_push", "image_copy", "registry_remove", "image_load", "engine_info")


def messages(done: PlayResult) -> dict[str, str]:
    """Return what failed tasks say, by host."""
    return {one.host: json.dumps(one.result) for one in done.tasks if one.status == "failed"}
