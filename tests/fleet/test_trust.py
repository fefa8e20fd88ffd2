# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify, lock and sync signed images of docker-registry, as a playbook does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support.fleet import (
    PULL,
    SYNC,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, upload
from ansible_collections.lockstep.images.tests.support.playbook import PlayRunner, one_task
from ansible_collections.lockstep.images.tests.support.signing import (
    bundle,
    fallback_index,
    key,
    payload,
    referrer,
    sig_manifest,
    sig_tag,
    signed,
    statement,
)
from ansible_collections.lockstep.images.tests.support.verifying import rule

VERIFY = "lockstep.images.image_verify"
LOCK = "lockstep.images.image_lock"
REPOSITORY = "lockstep/signed"
KINDS = ["p256", "p384", "rsa", "ed25519"]


def sign(registry: Registry, version: str, *entries: tuple[str, str]) -> str:
    """Push an image and its signatures, each of a kind of key in a form. Return its name."""
    item = demo_image("signed", version, size=200)
    url, name = registry.service.url, f"{registry.address}/{REPOSITORY}"
    upload(url, REPOSITORY, item, version)
    for kind, form in entries:
        if form == "cosign":
            made = sig_manifest([signed(payload(item.digest, name), key(kind))])
            upload(url, REPOSITORY, made, sig_tag(item.digest))
        else:
            one = referrer(bundle(statement(item.digest), key(kind)), item.descriptor())
            upload(url, REPOSITORY, one)
            upload(url, REPOSITORY, fallback_index([one]), item.digest.replace(":", "-"))
    return f"{name}:{version}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_is_verified_with_two_requests(
    kind: str, play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    name = sign(registry_plain, kind, (kind, "cosign"))
    before = len(registry_plain.requests())
    task = one_task(VERIFY, name=[name], verify=[rule(registry_plain.address, key(kind))])
    runs = play.four_times(task, local)
    asked = registry_plain.requests()[before:]
    assert len([one for one in asked if one.startswith("GET") and "/v2/lockstep" in one]) == 8
    for run in runs:
        result: dict[str, Any] = run.one(VERIFY)
        assert result["pinned"] == [f"{name}@{demo_image('signed', kind, size=200).digest}"]


def test_bundles_are_found_under_the_fallback_tag(
    play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    name = sign(registry_plain, "bundle", ("p256", "bundle"))
    task = one_task(VERIFY, name=[name], verify=[rule("*")])
    for run in play.four_times(task, local):
        assert run.one(VERIFY)["images"][0]["verified"]["signatures"][0]["form"] == "bundle"
    wrong = one_task(VERIFY, name=[name], verify=[rule("*", key("rsa"))])
    assert play(wrong, local).failures


def test_host_syncs_what_the_lock_vouches_for_and_requests_no_signature(
    play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    name, path = sign(registry_plain, "locked", ("p256", "cosign")), "{{ home }}/signed.lock.yml"
    options = {"path": path, "name": [name], "platform": ["linux/amd64"], "verify": [rule("*")]}
    play.four_times(one_task(LOCK, **options), local)
    before = len(registry_plain.requests())
    lock = "{{ lookup('lockstep.images.lock', home ~ '/signed.lock.yml') }}"
    play.four_times(one_task(SYNC, lock=lock, verified=True, store="{{ store }}"), local)
    asked = registry_plain.requests()[before:]
    assert asked and not [one for one in asked if ".sig" in one or "/referrers/" in one]


def test_task_pulls_exactly_what_it_has_verified(
    play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    good = sign(registry_plain, "pulled", ("p256", "cosign"))
    bad = sign(registry_plain, "unsigned")
    options = {"verify": [rule("*")], "store": "{{ store }}", "platform": "linux/amd64"}
    digest = demo_image("signed", "pulled", size=200).digest
    for run in play.four_times(one_task(PULL, name=[good], **options), local):
        (image,) = run.one(PULL)["images"]
        assert (image["digest"], image["verified"]["covers"]) == (digest, "index")
    run = play(one_task(PULL, name=[good, bad], **options), local, diff=True)
    result = run.one(PULL)
    assert [one["name"] for one in result["failures"]] == [bad]
    assert result["error"]["kind"] == "signature-missing"


def test_stored_signatures_are_verified_with_the_network_cut(
    play: PlayRunner, local: Path, registry_plain: Registry
) -> None:
    need_programs("unshare")
    name = sign(registry_plain, "offline", ("p256", "cosign"), ("ed25519", "bundle"))
    play(one_task(PULL, name=[name], referrers=True, store="{{ store }}"), local).ok()
    for kind in ("p256", "ed25519"):
        policy = [rule(registry_plain.address, key(kind))]
        task = one_task(VERIFY, name=[name], source="store", store="{{ store }}", verify=policy)
        result = play(task, local, launcher=["unshare", "--net"]).ok().one(VERIFY)
        assert result["pinned"] == [f"{name}@{demo_image('signed', 'offline', size=200).digest}"]
        task = one_task(PULL, name=[name], pull="never", store="{{ store }}", verify=policy)
        play(task, local, launcher=["unshare", "--net"]).ok()
    wrong = {"source": "store", "store": "{{ store }}", "verify": [rule("*", key("rsa"))]}
    run = play(one_task(VERIFY, name=[name], **wrong), local, launcher=["unshare", "--net"])
    assert run.one(VERIFY)["error"]["kind"] == "signature-invalid"
