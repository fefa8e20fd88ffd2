# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people read of provision, audit and report when a host or an image is not as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.fleet import PULL
from ansible_collections.lockstep.images.tests.support.playbook import PlayResult, PlayRunner
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.site import HOSTS, UNREACHABLE, WEB, Site

LOCK, PROVISION, AUDIT, REPORT = (
    f"lockstep.images.{name}" for name in ("lock", "provision", "audit", "report")
)


@pytest.fixture(name="site")
def fixture_site(directory: Path, play: PlayRunner) -> Iterator[Site]:
    """Nothing is locked yet."""
    with Registry() as registry:
        yield Site(registry, directory, play)


def test_F24_a_wrong_name_is_short_and_the_diff_shows_what_arrived(site: Site) -> None:
    del site.variables["store_lock_file"]
    wrong = f"{site.registry.address}/shop/nothing:1"
    variables = {**site.variables, "store_images": [*site.names, wrong]}
    for check in (True, False):
        done = site.play(PROVISION, site.inventory(), variables, check=check, diff=True)
        failed = [line for line in done.stdout.splitlines() if line.startswith("fatal: ")]
        assert len(failed) == len(HOSTS)
        for line in failed:
            assert f"{wrong}: " in line
            assert len(line) < 2000, line
        for name in site.names:
            assert done.stdout.count(f'+    "{name}": "sha256:') == len(HOSTS), done.output
    assert set(layout.names(site.store("two"))) == set(site.names)

    again = site.play(PROVISION, site.inventory(), variables, diff=True)
    assert "--- before" not in again.stdout
    assert not any(name in again.output for name in site.names)


@pytest.mark.parametrize("keywords", [{"no_log": True}, {"async": 60, "poll": 1}], ids=str)
def test_F24_a_module_that_fails_keeps_what_a_task_may_say(
    site: Site, keywords: dict[str, Any]
) -> None:
    options = {"name": [site.names[0], f"{site.names[0]}-not"], "platform": ["linux/amd64"]}
    task = {
        "name": PULL,
        PULL: {**options, "store": "{{ store_path }}", "plain_http": True},
        **keywords,
    }
    text = json.dumps(
        [{"name": "Test", "hosts": "one", "gather_facts": False, "tasks": [task]}], indent=1
    )
    done = site.play(text, site.inventory(), diff=True)
    assert done.returncode == 2
    assert set(layout.names(site.store("one"))) == {site.names[0]}
    assert "sha256:" not in done.output or "no_log" not in keywords


@pytest.mark.parametrize("spelled", ["{0}", "{0},{1}", '["{0}", "{1}"]', "[{0}, {1}]"])
def test_F19_images_may_be_a_text_with_a_lock_file_and_without(site: Site, spelled: str) -> None:
    text = spelled.format(*site.names)
    wanted = {name for name in site.names if name in text}
    site.run(LOCK, store_images=text, store_platforms='["linux/amd64"]').ok()
    site.run(PROVISION, store_images=text, store_platforms="[linux/amd64]").ok()
    assert set(layout.names(site.store("one"))) == wanted
    lock = site.variables.pop("store_lock_file")
    assert site.run(PROVISION, store_images=text).ok().changed == 0
    listed = site.directory / "list.txt"
    listed.write_text("\n".join(wanted))
    files = {"store_images": "", "store_images_from": json.dumps([str(listed)])}
    assert site.run(LOCK, store_lock_file=lock, **files).ok().changed == 0


def _message(done: PlayResult, task: str) -> str:
    """Return what a task of one host said."""
    return next(one["msg"] for one in done.of(task).values() if "msg" in one)


def test_F20_images_of_an_older_list_do_not_make_hosts_differ(site: Site) -> None:
    del site.variables["store_lock_file"]
    first = {"one": site.host("one"), "two": site.host("two")}
    site.play(PROVISION, site.play.inventory(first), site.variables).ok()
    done = site.run(PROVISION, store_images=site.names[1:]).ok()
    assert _message(done, "Show what the hosts hold") == "3 hosts hold the same images (1 name)."
    left = done.of("Show the images that the list does not name")
    told = {host: one["msg"] for host, one in left.items() if "msg" in one}
    assert set(told) == {"one", "two"}
    assert all(f"does not name: {site.names[0]}. To remove" in text for text in told.values())

    only = {"store_images": site.names[1:], "store_remove_unlisted": True}
    variables = {**site.variables, **only}
    for check, changed in ((True, 2), (False, 2), (True, 0), (False, 0)):
        done = site.play(PROVISION, site.inventory(), variables, check=check).ok()
        assert done.changed == changed, done.output
    assert "3 hosts, one fingerprint: sha256:" in _message(done, "Show what the hosts hold")
    assert len(site.fingerprints()) == 1
    assert set(layout.names(site.store("one"))) == set(site.names[1:])


def test_F20_moved_tag_is_reported_with_the_list_and_the_remedy(site: Site) -> None:
    del site.variables["store_lock_file"]
    site.play(PROVISION, site.play.inventory({"one": site.host("one")}), site.variables).ok()
    site.move_tag(WEB, "2")
    done = site.run(PROVISION, store_pull="missing")
    assert done.returncode == 2
    text = _message(done, "Fail when the hosts differ")
    assert text.startswith("The stores differ. one holds sha256:"), text
    assert f"for {site.names[1]}, most hosts hold sha256:" in text
    assert "Only the names in store_images were compared." in text and "store_lock_file" in text


def test_F21_hosts_that_were_not_asked_are_named_and_counted_apart(site: Site) -> None:
    site.run(LOCK).ok()
    lost = site.inventory(three=UNREACHABLE)
    done = site.play(PROVISION, lost, site.variables)
    told = _message(done, "Show what the hosts hold")
    assert told.startswith("2 of 3 hosts, one fingerprint: sha256:"), told
    assert told.endswith("(2 names). Not compared: three (unreachable or failed).")


def test_F21_audit_distinguishes_different_hosts_from_unreachable_ones(site: Site) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION).ok()
    done = site.play(AUDIT, site.inventory(), site.variables).ok()
    assert "3 hosts match the lock file (every byte checked). Fingerprint: sha256:" in done.output
    blobs = (site.store("two") / "blobs").glob("*/*")
    largest = max(blobs, key=lambda path: path.stat().st_size)
    raw = largest.read_bytes()
    largest.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    done = site.play(AUDIT, site.inventory(three=UNREACHABLE), site.variables)
    assert done.returncode == 2
    text = _message(done, "Fail when a store differs")
    said = "1 of 3 hosts differs from the lock file, 1 of 3 hosts could not be reached. two: "
    assert text.startswith(said), text
    assert {host: one["failures"] for host, one in done.recap.items()} == {
        "one": 0,
        "two": 1,
        "three": 0,
    }
    only = site.play(AUDIT, site.inventory(one=UNREACHABLE, two=UNREACHABLE), site.variables)
    assert only.returncode == 2
    text = _message(only, "Fail when a store differs")
    assert text.startswith("2 of 3 hosts could not be reached. one: "), text
    assert "store_verify=full" not in text


def test_F21_check_mode_says_that_it_shows_the_stores_as_they_are(site: Site) -> None:
    del site.variables["store_lock_file"]
    done = site.play(PROVISION, site.inventory(), site.variables, check=True).ok()
    told = _message(done, "Show what the hosts hold")
    assert told.startswith("Check mode, current state of the stores: 3 hosts, one"), told
    assert "(0 names)" in told


def test_F21_the_audit_blames_no_store_for_a_login_that_fails(site: Site) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION).ok()
    down = {"registry_url": "127.0.0.1:1", "username": "user", "password": "wrong"}
    one = site.play.inventory({"one": site.host("one")})
    variables = {**site.variables, "store_registries": [down], "store_timeout_total": 1}
    done = site.play(AUDIT, one, variables).ok()
    assert "failed: [" not in done.output and "ignoring" not in done.output
    assert "1 host matches the lock file (every byte checked)" in done.output


@pytest.mark.parametrize("playbook", [AUDIT, LOCK])
def test_F21_missing_lock_file_is_reported_in_one_sentence(site: Site, playbook: str) -> None:
    del site.variables["store_lock_file"]
    done = site.run(playbook)
    assert done.returncode == 2
    (failed,) = {one.result["msg"] for one in done.failures}
    assert "-e store_lock_file=images.lock.yml" in failed
    assert "Conditional" not in done.output and "argument_spec_data" not in done.output


def test_F20_an_empty_list_is_named_where_the_stores_are_compared(site: Site) -> None:
    del site.variables["store_lock_file"]
    done = site.run(PROVISION, store_images=[]).ok()
    assert "(0 names). store_images is empty, so" in _message(done, "Show what the hosts hold")
    site.play(PROVISION, site.play.inventory({"one": site.host("one")}), site.variables).ok()
    done = site.run(PROVISION, store_images=[])
    text = _message(done, "Fail when the hosts differ")
    assert text.endswith("List the images in store_images, or set store_lock_file."), text


def test_F21_a_report_in_check_mode_is_not_said_to_be_there(site: Site) -> None:
    path = site.directory / "page.html"
    variables = {**site.variables, "report_path": str(path)}
    del variables["store_lock_file"]
    one = site.play.inventory({"one": site.host("one")})
    done = site.play(REPORT, one, variables, check=True).ok()
    assert not path.exists()
    assert _message(done, "Show where the report is").startswith("Check mode writes no report")
    done = site.play(REPORT, one, variables).ok()
    assert path.exists()
    assert _message(done, "Show where the report is").startswith(f"The report is in {path}, and")


def test_report_runs_one_module_on_each_host_that_holds_what_the_lock_file_says(site: Site) -> None:
    site.run(LOCK).ok()
    site.run(PROVISION).ok()
    blobs = (site.store("two") / "blobs").glob("*/*")
    max(blobs, key=lambda path: path.stat().st_size).unlink()
    path = site.directory / "page.html"
    variables = {**site.variables, "report_path": str(path)}
    done = site.play(REPORT, site.inventory(three=UNREACHABLE), variables).ok()
    ran: dict[str, list[str]] = {}
    for one in done.tasks:
        if one.action.startswith("lockstep.images."):
            ran.setdefault(one.host, []).append(one.action.rpartition(".")[2])
    assert ran == {
        "one": ["image_sync"],
        "two": ["image_sync", "image_info", "store_info"],
        "three": ["image_sync"],
    }
    model = json.loads(path.with_suffix(".json").read_text())
    two, three, one = model["hosts"]
    assert [host["status"] for host in (two, three, one)] == ["differs", "unreachable", "same"]
    assert two["fingerprint"] == one["fingerprint"] == layout.fingerprint(site.store("one"))
    assert two["bytes"] < one["bytes"] and one["free"] > 0 and one["reclaimable"] == 0
    assert [message.partition(":")[0] for message in three["messages"]] == ["image_sync"]
    assert max(layer["hosts"] for layer in model["layers"]) == 2


def test_F17_become_of_the_inventory_does_not_apply_to_the_controller(site: Site) -> None:
    hosts = {"one": {**site.host("one"), "ansible_become": False}}
    become = {"ansible_become": True, "ansible_become_user": "nobody"}
    inventory = site.play.inventory(hosts, **become, ansible_become_exe="/bin/false")
    path = site.directory / "page.html"
    site.play(LOCK, inventory, site.variables).ok()
    site.play(REPORT, inventory, {**site.variables, "report_path": str(path)}).ok()
    assert path.exists() and path.with_suffix(".json").exists()
