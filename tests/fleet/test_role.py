# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role with a lock file, in plays as people write them: serial, free, by tags, with handlers."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import certificates, layout
from ansible_collections.lockstep.images.tests.support.fleet import PULL, SYNC
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayResult,
    PlayRunner,
    local_host,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.site import HOSTS, UNREACHABLE, WEB, Site

LOCK, PROVISION, AUDIT = (f"lockstep.images.{name}" for name in ("lock", "provision", "audit"))


@pytest.fixture(name="site")
def fixture_site(directory: Path, play: PlayRunner) -> Iterator[Site]:
    """Nothing is locked yet."""
    with Registry() as registry:
        yield Site(registry, directory, play)


def written(**keywords: Any) -> str:
    """Return a play of the role, with two handlers."""
    handlers = [
        {
            "name": f"Restart {name}",
            "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} restarts " + name},
            "changed_when": True,
        }
        for name in ("web", "jobs", "all")
    ]
    play = {
        "name": "Site",
        "hosts": "all",
        "gather_facts": False,
        "roles": [{"role": "lockstep.images.store"}],
        "handlers": handlers,
        **keywords,
    }
    return json.dumps([play], indent=2)


def restarted(run: PlayResult) -> dict[str, set[str]]:
    """Handler to the hosts it ran on."""
    found: dict[str, set[str]] = {}
    for one in run.tasks:
        if one.task.startswith("Restart "):
            found.setdefault(one.task, set()).add(one.host)
    return found


def test_a_handler_runs_where_its_image_has_moved_and_nowhere_else(site: Site) -> None:
    variables = {
        "store_changed_handlers": [
            {"handler": "Restart web", "images": [site.names[1]]},
            {"handler": "Restart jobs", "images": [site.names[0]]},
            {"handler": "Restart all"},
        ]
    }
    site.run(LOCK).ok()
    first = site.run(written(), **variables).ok()
    every = set(HOSTS)
    assert restarted(first) == {f"Restart {name}": every for name in ("web", "jobs", "all")}

    site.move_tag(WEB, "2")
    assert site.run(written(), **variables).ok().changed == 0
    site.run(LOCK, store_lock_update="all").ok()
    second = site.run(written(), **variables).ok()
    assert restarted(second) == {"Restart web": every, "Restart all": every}


@pytest.mark.parametrize("keywords", [{"serial": 2}, {"strategy": "free"}])
def test_hosts_end_the_same_with_every_strategy_and_batch_size(
    site: Site, keywords: dict[str, Any]
) -> None:
    site.run(LOCK).ok()
    play = written(**keywords)
    assert sorted(site.play(play, site.inventory(), site.variables).ok().of(SYNC)) == sorted(HOSTS)
    assert site.play(play, site.inventory(), site.variables, check=True).ok().changed == 0
    assert len(site.fingerprints()) == 1


@pytest.mark.parametrize("tag", ["mine", "store_images"])
def test_tags_choose_the_role_or_what_it_does_with_images(site: Site, tag: str) -> None:
    site.run(LOCK).ok()
    own = {"roles": [{"role": "lockstep.images.store", "tags": ["mine"]}]}
    tags = {"ANSIBLE_RUN_TAGS": tag}
    site.play(written(**own), site.inventory(), site.variables, environment=tags).ok()
    assert len(site.fingerprints()) == 1
    tags = {"ANSIBLE_RUN_TAGS": "store_login"}
    done = site.play(written(**own), site.inventory(), site.variables, environment=tags).ok()
    assert done.of(SYNC) == {}


def test_without_a_lock_file_the_role_pulls(site: Site) -> None:
    del site.variables["store_lock_file"]
    variables = {"store_changed_handlers": [{"handler": "Restart all"}]}
    done = site.run(written(), **variables).ok()
    assert sorted(done.of(PULL)) == sorted(HOSTS)
    assert restarted(done) == {"Restart all": set(HOSTS)}


def test_image_outside_the_lock_is_rejected_before_any_change(site: Site) -> None:
    site.run(LOCK).ok()
    other = f"{site.registry.address}/shop/other:1"
    done = site.run(PROVISION, store_images=[*site.names, other])
    assert done.returncode != 0
    assert f"{other} is not locked" in done.output
    assert not site.store("one").exists()


def test_other_names_stay_without_exclusive(site: Site) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION).ok()
    push(site.registry, "shop/extra", demo_image("extra", "1", size=400), "1")
    extra = f"{site.registry.address}/shop/extra:1"
    del site.variables["store_lock_file"]
    site.run(written(), store_images=[extra]).ok()
    site.variables["store_lock_file"] = os.fspath(site.directory / "images.lock.yml")
    assert site.run(written(), store_exclusive=False).ok().changed == 0
    assert site.run(written()).ok().changed == len(HOSTS)
    assert set(layout.names(site.store("two"))) == set(site.names)


def test_audit_names_hosts_that_return_nothing(site: Site) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION).ok()
    (site.store("two") / "index.json").write_text("{")
    done = site.play(AUDIT, site.inventory(three=UNREACHABLE), site.variables)
    assert done.returncode != 0
    message = next(one.result["msg"] for one in done.failures if "of 3 hosts" in str(one.result))
    assert message.startswith("1 of 3 hosts could not be compared, 1 of 3 hosts could not be ")
    assert "two: " in message and "index.json" in message
    assert "three: " in message and "refused" in message
    assert "one: " not in message


def test_a_lock_file_that_was_edited_is_an_error_with_its_line(site: Site) -> None:
    site.run(LOCK).ok()
    file = Path(site.variables["store_lock_file"])
    file.write_text(file.read_text().replace("size: ", "size: 1", 1))
    done = site.run(PROVISION)
    assert done.returncode != 0
    assert f"{file}, line 4: {site.names[0]}: size for linux/amd64 is 1" in done.output
    # The other image is there, and the next run does the rest.
    assert set(layout.names(site.store("one"))) == {site.names[1]}


def test_relative_path_is_resolved_in_the_working_directory(site: Site) -> None:
    done = site.run(LOCK, store_lock_file="images.lock.yml").ok()
    path = Path(done.one("lockstep.images.image_lock")["file"])
    assert path.exists()
    assert site.play.directory in path.parents


def test_playbooks_of_the_collection_have_no_handlers_to_notify(site: Site) -> None:
    site.run(LOCK).ok()
    own = {"store_changed_handlers": [{"handler": "Restart all"}]}
    inventory = site.inventory(**dict.fromkeys(HOSTS, own))
    site.play(PROVISION, inventory, site.variables).ok()
    site.move_tag(WEB, "2")
    site.run(LOCK, store_lock_update="all").ok()
    assert "3 of 3 hosts differ" in site.play(AUDIT, inventory, site.variables).output
    site.play(PROVISION, inventory, site.variables).ok()
    site.play(AUDIT, inventory, site.variables).ok()


def test_F17_the_controller_logs_in_like_the_hosts_and_the_role_brings_the_authorities(
    directory: Path, play: PlayRunner
) -> None:
    login = {"username": "robot", "password": "c4nary"}
    with Registry(tls=certificates.server(), auth="bearer", users={"robot": "c4nary"}) as registry:
        push(registry, WEB, demo_image("web", "1", size=400), "1")
        variables = {
            "store_images": [f"{registry.address}/{WEB}:1"],
            "store_registries": [{"registry_url": f"{registry.address}/shop", **login}],
            "store_ca_src": os.fspath(certificates.authority().certificate),
            "store_lock_file": os.fspath(directory / "images.lock.yml"),
            "store_path": os.fspath(directory / "store"),
            "store_config_path": os.fspath(directory / "auth.json"),
            "store_install_requests": False,
        }
        hosts = {"one": local_host(directory)}
        inventory = play.inventory(hosts, **variables)
        home = {"HOME": os.fspath(directory)}
        play(LOCK, inventory, environment=home).ok()
        assert not (directory / "auth.json").exists()
        # A path on the hosts causes no error if the controller trusts the registry anyway.
        by_path = {**variables, "store_ca_path": "/nonexistent/ca.pem", "store_lock_update": "all"}
        trusted = {**home, "REQUESTS_CA_BUNDLE": by_path.pop("store_ca_src")}
        play(LOCK, play.inventory(hosts, **by_path), environment=trusted).ok()
        # Nothing is known about the images until the certificates are in place.
        checked = play(PROVISION, inventory, check=True, environment=home).ok()
        assert {one.status for one in checked.tasks if one.action == SYNC} == {"skipped"}
        first = play(PROVISION, inventory, environment=home).ok()
        assert (directory / ".config/lockstep/ca.pem").exists() and first.of(SYNC)["one"]["changed"]
        assert play(PROVISION, inventory, environment=home).ok().changed == 0
        (directory / "auth.json").unlink()
        shutil.rmtree(directory / "store")
        # Check mode logs in, though it keeps no login.
        assert play(PROVISION, inventory, check=True, environment=home).ok().changed > 0
        assert not (directory / "auth.json").exists()


def test_F17_an_audit_needs_no_certificates_for_a_store_that_is_right(
    directory: Path, site: Site
) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION).ok()
    site.variables["store_ca_src"] = os.fspath(certificates.authority().certificate)
    home = {"HOME": os.fspath(directory)}
    site.play(AUDIT, site.inventory(), site.variables, environment=home).ok()
    assert not (directory / ".config").exists()


def test_F17_a_controller_without_requests_is_named_with_its_python(
    directory: Path, site: Site
) -> None:
    package = directory / "python/requests"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('not here')\n")
    without = {"PYTHONPATH": os.fspath(package.parent)}
    done = site.play(LOCK, site.inventory(), site.variables, environment=without)
    assert done.returncode != 0
    said = done.failures[0].result["msg"]
    assert "required Python library (requests)" in said and f"Python {sys.executable}" in said
