# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role and the playbooks with a policy: only what is signed is locked, and only what is locked with a verdict is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import layout
from ansible_collections.lockstep.images.tests.support.fleet import PULL
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    key,
    payload,
    sig_manifest,
    sig_tag,
    signed,
)
from ansible_collections.lockstep.images.tests.support.site import HOSTS, JOBS, WEB, Site
from ansible_collections.lockstep.images.tests.support.verifying import rule

LOCK, PROVISION, AUDIT, REPORT = (
    f"lockstep.images.{name}" for name in ("lock", "provision", "audit", "report")
)


@pytest.fixture(name="site")
def fixture_site(directory: Path, play: PlayRunner) -> Iterator[Site]:
    """One image is signed, and the policy requires a signature of every image."""
    with Registry() as registry:
        site = Site(registry, directory, play)
        site.variables["store_verify_policy"] = [rule()]
        sign(site, WEB)
        yield site


def sign(site: Site, repository: str) -> None:
    item = demo_image(repository[5:], "1", size=400)
    made = signed(payload(item.digest, f"{site.registry.address}/{repository}"), key())
    push(site.registry, repository, sig_manifest([made]), sig_tag(item.digest))


def stores(site: Site) -> list[Path]:
    return [site.store(host) for host in HOSTS if site.store(host).exists()]


def test_playbooks_lock_provision_audit_and_report_what_is_signed(site: Site) -> None:
    unsigned = site.run(LOCK)
    assert unsigned.one("lockstep.images.image_lock")["error"]["kind"] == "signature-missing"
    lock = Path(site.variables["store_lock_file"])
    assert not lock.exists()
    sign(site, JOBS)
    site.run(LOCK).ok()
    written = lock.read_bytes()
    site.registry.clear()
    assert site.run(LOCK).ok().changed == 0
    assert lock.read_bytes() == written
    # On hosts, the policy is not read: it could not be.
    policy = "{{ undefined_variable }}"
    site.run(PROVISION, store_verify_policy=policy).ok()
    assert len(site.fingerprints()) == 1
    asked = [one.path for one in site.registry.requests]
    assert not [one for one in asked if ".sig" in one or "/referrers/" in one]
    audit = site.run(AUDIT, store_verify_policy=policy).ok()
    assert "Vouched for by key sha256:" in audit.output and " (2)" in audit.output
    page = site.directory / "report.html"
    more = {"report_path": str(page), "report_attached": True}
    site.run(REPORT, store_verify_policy=policy, **more).ok()
    model = json.loads(page.with_suffix(".json").read_text())
    assert all(one["vouched_for_by"][0].startswith("key sha256:") for one in model["images"])
    kinds = [[one["kind"] for one in image["attached"]] for image in model["images"]]
    assert (kinds, model["attached_error"]) == ([["signature"]] * 2, None)
    assert "Vouched for by" in page.read_text()
    assert "Attached to the images: present, not verified" in page.read_text()


def test_lock_without_verdicts_is_refused_before_anything_is_written(site: Site) -> None:
    policy = site.variables.pop("store_verify_policy")
    site.run(LOCK).ok()
    for playbook in (PROVISION, AUDIT):
        done = site.run(playbook, store_verify_policy=policy)
        assert done.returncode != 0
        assert f"{site.names[0]} is not verified" in done.output
    assert stores(site) == []
    engine = {"store_engine": "directory", "store_engine_path": str(site.directory / "archives")}
    done = site.run(PROVISION, store_verify_policy=policy, store_engine_source="registry", **engine)
    assert f"{site.names[0]} is not verified" in done.output
    assert not (site.directory / "archives").exists()
    site.run(PROVISION).ok()


def test_hosts_without_a_lock_verify_what_they_pull(site: Site) -> None:
    del site.variables["store_lock_file"]
    done = site.run(PROVISION)
    assert {one["error"]["kind"] for one in done.of(PULL).values()} == {"signature-missing"}
    assert {tuple(layout.names(site.store(host))) for host in HOSTS} == {(site.names[1],)}
    sign(site, JOBS)
    site.run(PROVISION).ok()
    assert len(site.fingerprints()) == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"store_verify_policy": []}, "the policy"),
        ({"store_verify_policy": None}, "the policy"),
        ({"store_verify_policy": "{{ misspelled }}"}, "misspelled"),
        (
            {
                "store_engine": "directory",
                "store_engine_path": "/nonexistent/archives",
                "store_engine_source": "registry",
            },
            "store_verify_policy is set, but",
        ),
    ],
)
def test_policy_that_cannot_be_used_is_not_the_same_as_none(
    site: Site, more: dict[str, object], told: str
) -> None:
    del site.variables["store_lock_file"]
    done = site.run(PROVISION, **more)
    assert done.returncode != 0
    assert told in done.output
    assert stores(site) == []
