# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked verdicts: an image is verified when it is locked, and hosts take only what is vouched for."""

from __future__ import annotations

import os

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockError
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.tests.support.documented import assert_as_documented
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.signing import (
    key,
    payload,
    sig_manifest,
    sig_tag,
    signed,
)
from ansible_collections.lockstep.images.tests.support.stores import whole_tree
from ansible_collections.lockstep.images.tests.support.verifying import REPOSITORY, rule

AMD64, ARM64 = "linux/amd64", "linux/arm64"
APP = demo_image("app", "1", (AMD64, ARM64), size=100)
NEXT = demo_image("app", "2", (AMD64, ARM64), size=100)


def sign(registry, item, by=None):
    """Sign an image, or only one for a platform."""
    data = payload(item.digest, f"{registry.address}/{REPOSITORY}")
    push(registry, REPOSITORY, sig_manifest([signed(data, by or key())]), sig_tag(item.digest))


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, REPOSITORY, APP, "1")
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry, tmp_path):
    return {
        "path": os.fspath(tmp_path / "images.lock.yml"),
        "name": [f"{registry.address}/{REPOSITORY}:1"],
        "platform": [AMD64],
        "verify": [rule(registry.address)],
        "retries": 0,
    }


def lock(params, **changes):
    outcome = run("image_lock", **{**params, **changes})
    assert not outcome.failed, outcome.result
    return outcome.result


def entry_of(params):
    with open(params["path"], encoding="utf-8") as file:
        (entry,) = yaml.safe_load(file)["images"]
    return entry


def bytes_of(params):
    with open(params["path"], "rb") as file:
        return file.read()


def signature_requests(registry):
    return [one for one in registry.requests if ".sig" in one.path or "/referrers/" in one.path]


def test_unsigned_image_is_not_locked(params):
    for outcome in four_times("image_lock", **params):
        assert outcome.kind == "signature-missing"
        assert not os.path.exists(params["path"])


def test_entry_says_who_vouches_for_it(registry, params):
    sign(registry, APP)
    first, second, *rest = four_times("image_lock", **params)
    assert (first.result["changed"], second.result["changed"]) == (True, True)
    assert [one.result["changed"] for one in rest] == [False, False]
    verified = entry_of(params)["verified"]
    assert verified["digest"] == APP.digest
    assert (verified["rule"], verified["covers"]) == (registry.address, "index")
    assert verified["by"][0].startswith("key sha256:")
    (image,) = second.result["images"]
    assert image["verified"] == {name: verified[name] for name in ("rule", "by", "covers")}
    assert_as_documented("image_lock", second.result)


def test_locking_again_requests_no_signature_and_writes_the_same_bytes(registry, params):
    sign(registry, APP)
    lock(params)
    before = bytes_of(params)
    registry.clear()
    assert lock(params)["changed"] is False
    assert bytes_of(params) == before
    assert signature_requests(registry) == []


def test_verdict_without_a_policy_stays_while_the_image_does(registry, params):
    sign(registry, APP)
    lock(params)
    before = bytes_of(params)
    assert lock(params, verify=None, update=["all"])["changed"] is False
    assert bytes_of(params) == before
    push(registry, REPOSITORY, NEXT, "1")
    lock(params, verify=None, update=["all"])
    assert "verified" not in entry_of(params)


@pytest.mark.parametrize("update", ["all", "{registry}/demo/app:1"])
def test_updated_name_is_verified_again(registry, params, update):
    sign(registry, APP)
    lock(params)
    registry.untag(REPOSITORY, sig_tag(APP.digest))
    assert lock(params)["changed"] is False
    names = [update.format(registry=registry.address)]
    assert run("image_lock", **{**params, "update": names}).kind == "signature-missing"


def test_another_rule_verifies_again(registry, params):
    sign(registry, APP)
    lock(params)
    other = [rule(registry.address, key("rsa"))]
    assert run("image_lock", **{**params, "verify": other}).kind == "signature-invalid"
    both = [rule(registry.address, key("rsa"), key())]
    changed = lock(params, verify=both)
    assert [one["change"] for one in changed["changes"]] == ["verdict"]
    assert run("image_lock", **{**params, "verify": [rule("a.b")]}).kind == "policy-rejected"


def test_digest_that_the_policy_rejects_is_not_locked(registry, params):
    sign(registry, APP)
    lock(params)
    name = f"{registry.address}/{REPOSITORY}@{APP.digest}"
    wrong = [*params["verify"], {"match": name, "reject": True}]
    assert run("image_lock", **{**params, "verify": wrong}).kind == "policy-rejected"


def test_moved_image_must_be_signed_too(registry, params):
    sign(registry, APP)
    lock(params)
    before = bytes_of(params)
    push(registry, REPOSITORY, NEXT, "1")
    assert run("image_lock", **{**params, "update": ["all"]}).kind == "signature-missing"
    assert bytes_of(params) == before
    sign(registry, NEXT)
    lock(params, update=["all"])
    assert entry_of(params)["verified"]["digest"] == NEXT.digest


def test_platform_that_is_added_must_be_signed_too(registry, params):
    sign(registry, APP.for_platform(AMD64))
    lock(params)
    assert entry_of(params)["verified"]["covers"] == AMD64
    both = {**params, "platform": [AMD64, ARM64]}
    assert run("image_lock", **both).kind == "signature-missing"
    sign(registry, APP.for_platform(ARM64))
    lock(both)
    assert entry_of(params)["verified"]["covers"] == f"{AMD64} {ARM64}"


def test_accepted_image_is_locked_as_unsigned(registry, params):
    lock(params, verify=[{"match": registry.address, "accept": "unsigned"}])
    verified = entry_of(params)["verified"]
    assert (verified["by"], verified["covers"]) == (["unsigned"], "unsigned")


def test_imgpkg_has_no_place_for_verdicts(params):
    assert run("image_lock", **{**params, "format": "imgpkg"}).kind == "invalid-input"


# Hosts


def value_of(params):
    with open(params["path"], encoding="utf-8") as file:
        return yaml.safe_load(file)


def host(params, tmp_path, module, **changes):
    given = {"lock": value_of(params), "store": os.fspath(tmp_path / "store"), "retries": 0}
    given["platform"] = [AMD64]
    if module == "image_pull":
        given["name"] = params["name"]
    return run(module, **{**given, "verified": True, **changes})


@pytest.mark.parametrize("module", ["image_sync", "image_pull"])
def test_hosts_request_no_signature(registry, params, tmp_path, module):
    sign(registry, APP)
    lock(params)
    registry.clear()
    outcome = host(params, tmp_path, module, missing=("cryptography",))
    assert not outcome.failed, outcome.result
    assert signature_requests(registry) == []


def forged(change):
    """Return a lock whose only entry is changed."""

    def of(value):
        change(value["images"][0])
        return value

    return of


FORGED = {
    "no verdict": forged(lambda entry: entry.pop("verified")),
    "null": forged(lambda entry: entry.update(verified=None)),
    "another digest": forged(lambda entry: entry.update(digest=NEXT.digest)),
    "verdict on another digest": forged(lambda entry: entry["verified"].update(digest=NEXT.digest)),
    "verdict on another platform": forged(lambda entry: entry["verified"].update(covers=ARM64)),
    "verdict on nothing": forged(lambda entry: entry["verified"].update(covers="")),
    "verdict on a number": forged(lambda entry: entry["verified"].update(covers=7)),
    "verdict by nobody": forged(lambda entry: entry["verified"].update(by=[])),
    "no rule": forged(lambda entry: entry["verified"].pop("rule")),
    "unknown key": forged(lambda entry: entry["verified"].update(more=1)),
    "a text": forged(lambda entry: entry.update(verified="yes")),
    "an empty verdict": forged(lambda entry: entry.update(verified={})),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("module", ["image_sync", "image_pull"])
def test_entry_without_its_own_verdict_is_an_error(registry, params, tmp_path, module, forge):
    sign(registry, APP)
    lock(params)
    registry.clear()
    wrong = forge(value_of(params))
    outcome = host(params, tmp_path, module, lock=wrong)
    assert (outcome.kind, outcome.result["changed"]) == ("invalid-lock", False)
    assert registry.requests == []
    assert not os.path.exists(tmp_path / "store")
    assert not host(params, tmp_path, module).failed


@pytest.mark.parametrize("module", ["image_sync", "image_pull"])
def test_verdict_is_not_needed_unless_it_is_asked_for(params, tmp_path, module):
    lock(params, verify=None)
    assert host(params, tmp_path, module).kind == "invalid-lock"
    assert not host(params, tmp_path, module, verified=False).failed
    assert whole_tree(tmp_path / "store")


def test_verified_needs_a_lock(params, tmp_path):
    store = os.fspath(tmp_path / "store")
    assert run("image_pull", name=params["name"], verified=True, store=store).failed


@pytest.mark.parametrize(
    "change",
    [
        {"by": []},
        {"by": "key"},
        {"by": [1]},
        {"rule": 1},
        {"policy": None},
        {"policy": "1"},
        {"covers": "index\n    more: 1"},
        {"covers": ["index"]},
        {"covers": ["an index too"]},
    ],
)
def test_malformed_verdict_is_not_carried_over(registry, params, change):
    sign(registry, APP)
    lock(params)
    value = value_of(params)
    value["images"][0]["verified"].update(change)
    with open(params["path"], "w", encoding="utf-8") as file:
        yaml.safe_dump(value, file)
    assert run("image_lock", **{**params, "verify": None}).kind == "invalid-lock"


def test_verdict_of_a_lock_is_read():
    entry = {
        "name": "a.b/c:1",
        "digest": APP.digest,
        "media_type": "x/y",
        "platforms": {AMD64: {"manifest": APP.digest, "config": None, "size": 1}},
        "verified": {
            "digest": APP.digest,
            "rule": "*",
            "policy": "p",
            "by": ["x"],
            "covers": AMD64,
        },
    }
    value = {"lockfile_version": 1, "images": [entry]}
    assert Lock.parse(value, verified=True).images[0].verified == entry["verified"]
    del entry["verified"]
    assert Lock.parse(value).images[0].verified is None
    with pytest.raises(LockError, match="is not verified"):
        Lock.parse(value, verified=True)
