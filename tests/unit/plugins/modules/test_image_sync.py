# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_sync, as Ansible runs it."""

from __future__ import annotations

import base64

import pytest
import yaml
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
    documented_values,
)
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.layout import (
    blob_path,
    fingerprint,
    names,
    tree,
)
from ansible_collections.lockstep.images.tests.support.modules import (
    finish,
    four_times,
    run,
    start,
)
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    blobs,
    leftovers,
    statuses,
    whole_tree,
)

USER, PASSWORD = "robot", "correct-horse-battery"
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
FAMILY = demo_image("app", "1", size=500)
EXTRA_IMAGE = image([layer({"extra": b"e" * 700})])


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry(auth="bearer", users={USER: PASSWORD}) as registry:
        push(registry, "demo/app", FAMILY, "1")
        push(registry, "demo/tool", demo_image("tool", "1", size=500), "1")
        push(registry, "demo/extra", EXTRA_IMAGE, "1")
        yield registry


@pytest.fixture(name="login")
def fixture_login():
    return {"username": USER, "password": PASSWORD, "retries": 0}


@pytest.fixture(name="app")
def fixture_app(registry):
    return f"{registry.address}/demo/app:1"


@pytest.fixture(name="tool")
def fixture_tool(registry):
    return f"{registry.address}/demo/tool:1"


@pytest.fixture(name="extra")
def fixture_extra(registry):
    return f"{registry.address}/demo/extra:1"


@pytest.fixture(name="lock_file")
def fixture_lock_file(app, tool, login, tmp_path):
    path = tmp_path / "images.lock.yml"
    how = {"platform": [AMD64, ARM64], **login}
    locked = run("image_lock", path=str(path), name=[app, tool], **how)
    assert locked.result.get("changed"), locked
    return path


@pytest.fixture(name="params")
def fixture_params(lock_file, login, tmp_path):
    lock = read_lock(str(lock_file), "images.lock.yml")
    return {"lock": lock, "store": str(tmp_path / "store"), **login}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


def fill(params, extra):
    """Pull ``extra`` into the store of ``params``, which adds content that the lock does not list."""
    given = {key: value for key, value in params.items() if key != "lock"}
    assert run("image_pull", name=[extra], platform=[AMD64], **given).result["changed"]


def assert_no_secret(outcome):
    assert not [secret for secret in SECRETS if secret in outcome.stdout + outcome.stderr]


def assert_proper_failure(outcome, kind):
    assert (outcome.failed, outcome.kind) == (True, kind)
    documented = documented_values("image_sync", "failure")["error"]["contains"].keys()
    assert {"kind", "hint"} <= outcome.result["error"].keys() <= documented
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert "\n" not in outcome.result["msg"]
    assert_no_secret(outcome)


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_sync", monkeypatch) == documented_options("image_sync")


@pytest.mark.parametrize("exclusive", [True, False])
def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(
    params, path, extra, exclusive
):
    fill(params, extra)
    outcomes = four_times("image_sync", exclusive=exclusive, **params)
    check, real, check_again, again = (outcome.result for outcome in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        keys = one.keys() - {"stats", "actions", "invocation"}
        assert {key: one[key] for key in keys} == {key: other[key] for key in keys}
        assert sorted(map(str, one["actions"])) == sorted(map(str, other["actions"]))
    for outcome in outcomes:
        assert_as_documented("image_sync", outcome.result)
        assert_no_secret(outcome)
    assert statuses(real) == ["downloaded"] * 4
    assert statuses(again) == ["up_to_date"] * 4
    assert [one["name"] for one in real["dropped"]] == ([extra] if exclusive else [])
    assert (extra in names(path)) is not exclusive
    assert real["fingerprint"] == again["fingerprint"] == fingerprint(path)
    assert real["store"] == str(path)
    assert_valid_store(path)


def test_check_mode_creates_no_store(params, path):
    told = run("image_sync", check=True, **params).result
    assert told["changed"]
    assert not path.exists()
    assert run("image_sync", **params).result["fingerprint"] == told["fingerprint"]


@pytest.mark.parametrize("verify", ["quick", "full"])
def test_a_converged_run_makes_no_request_and_needs_no_library(registry, params, path, verify):
    run("image_sync", **params)
    before, asked = whole_tree(path), len(registry.requests)
    for outcome in four_times("image_sync", missing=("requests", "yaml"), verify=verify, **params):
        assert (outcome.failed, outcome.result["changed"]) == (False, False)
        assert outcome.result["stats"]["requests"] == {}
    assert len(registry.requests) == asked
    assert whole_tree(path) == before


def test_tag_is_never_requested(registry, params):
    push(registry, "demo/app", demo_image("app", "2", size=500), "1")
    asked = len(registry.requests)
    result = run("image_sync", **params).result
    paths = [request.path for request in registry.requests[asked:]]
    assert result["changed"]
    assert not [one for one in paths if "/manifests/" in one and "sha256:" not in one]
    assert FAMILY.digest in {one["digest"] for one in result["images"]}
    assert run("image_sync", **params).result["changed"] is False


def test_embedded_manifests_are_not_requested(registry, params, lock_file, app, login, path):
    run("image_sync", **params)
    wanted = tree(path)
    run("image_lock", path=str(lock_file), manifests="embed", **login)
    lock = read_lock(str(lock_file), "images.lock.yml")
    assert len(lock["manifests"]) == 6
    asked = len(registry.requests)
    other = path.parent / "other"
    result = run("image_sync", **{**params, "lock": lock, "store": str(other)}).result
    assert result["changed"]
    assert not [one.path for one in registry.requests[asked:] if "/manifests/" in one.path]
    assert tree(other) == wanted


def test_a_lock_that_was_read_without_the_lookup_has_no_lines(params, lock_file, path, app):
    raw = yaml.safe_load(lock_file.read_text())
    outcome = run("image_sync", **{**params, "lock": raw})
    assert outcome.result["changed"]
    assert run("image_sync", **params).result["changed"] is False
    raw["images"][0]["platforms"][AMD64]["size"] = 1
    outcome = run("image_sync", **{**params, "lock": raw})
    assert_proper_failure(outcome, "invalid-lock")
    assert f"lock: images[0]: {app}: size for {AMD64} is 1, but" in outcome.result["msg"]


def test_full_verification_finds_and_repairs_corrupt_content(params, path):
    run("image_sync", **params)
    wanted = tree(path)
    place = blob_path(path, FAMILY.for_platform(AMD64).layers[0].digest)
    place.write_bytes(place.read_bytes()[:-1] + b"\xff")
    assert run("image_sync", **params).result["changed"] is False
    check, real, check_again, again = four_times("image_sync", verify="full", **params)
    assert [one.result["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    assert check.result["differences"] == real.result["differences"]
    (difference,) = real.result["differences"]
    assert "does not match its digest" in difference["message"]
    assert tree(path) == wanted


def test_failed_image_is_reported_and_nothing_is_removed(registry, params, path, app, tool, extra):
    fill(params, extra)
    kept = blobs(path)
    registry.remove("demo/app", FAMILY.for_platform(ARM64).layers[0].digest)
    for number, outcome in enumerate(four_times("image_sync", **params)):
        if number in (0, 2):  # that it will fail is not known before it does
            assert_as_documented("image_sync", outcome.result)
            continue
        assert_proper_failure(outcome, "not-found")
        assert_as_documented("image_sync", outcome.result, "failure")
        assert [one["name"] for one in outcome.result["failures"]] == [app]
        assert tool in outcome.result["diff"]["after"]
        changed = {one["name"] for one in outcome.result["images"]}
        assert changed == ({tool} if number == 1 else set())
        assert outcome.result["changed"] is (number == 1)
    assert set(names(path)) == {tool, extra}
    assert kept <= blobs(path)
    assert_valid_store(path)


def test_digest_missing_in_the_registry_is_reported_with_its_line(registry, params, app):
    registry.remove("demo/app", FAMILY.digest)
    outcome = run("image_sync", **params)
    assert_proper_failure(outcome, "not-found")
    assert_as_documented("image_sync", outcome.result, "failure")
    place = "images.lock.yml, line 4: "
    assert place in outcome.result["msg"]
    assert outcome.result["failures"][0]["msg"].startswith(place)
    assert FAMILY.digest in outcome.result["msg"]


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        pytest.param({"lock": {}}, "invalid-lock", "is not a lock file", id="empty"),
        pytest.param({"lock": {"images": []}}, "invalid-lock", "lockfile_version", id="version"),
        pytest.param(
            {"platform": ["linux/s390x"]}, "invalid-lock", "not locked for", id="platform"
        ),
        pytest.param({"platform": ["a/b/c/d"]}, "invalid-platform", "a/b/c/d", id="no platform"),
        pytest.param({"store": "/etc"}, "not-a-layout", "/etc", id="store"),
        pytest.param({"parallel": 0}, "invalid-input", "parallel", id="parallel"),
        pytest.param({"password": f"{PASSWORD}-not"}, "authentication-failed", "", id="password"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(params, path, change, kind, word):
    outcome = run("image_sync", **{**params, **change})
    assert_proper_failure(outcome, kind)
    assert word in outcome.result["msg"]
    assert outcome.result["changed"] is False
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lock": None}, "lock"),
        ({"lock": "images.lock.yml"}, "lock"),
        ({"verify": "deep"}, "verify"),
    ],
    ids=str,
)
def test_invalid_option_is_named(params, change, word):
    outcome = run("image_sync", **{**params, **change})
    assert outcome.failed
    assert word in outcome.result["msg"]
    assert_no_secret(outcome)


def test_missing_requests_is_reported(params, path):
    outcome = run("image_sync", missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert not path.exists()
    assert_no_secret(outcome)


def test_many_concurrent_processes_sync_a_store_to_one_lock(params, path, extra):
    fill(params, extra)
    alone = path.parent / "alone"
    run("image_sync", **{**params, "store": str(alone)})
    started = [start("image_sync", **params) for _number in range(3)]
    outcomes = [finish(process) for process in started]
    assert [outcome.result.get("msg") for outcome in outcomes] == [None] * 3
    assert {outcome.result["fingerprint"] for outcome in outcomes} == {fingerprint(alone)}
    assert tree(path) == tree(alone)
    assert leftovers(path) == []


def test_store_is_valid_after_a_concurrent_pull_and_the_next_sync_is_exact(
    params, path, extra, app
):
    """The order is unknown: the name of the pull is removed, or it is a conflict, or it stays."""
    fill(params, extra)
    given = {key: value for key, value in params.items() if key != "lock"}
    given["allow_platform_mismatch"] = True  # the extra one is for another platform
    pulling = start("image_pull", name=[extra, app], platform=[ARM64], **given)
    syncing = start("image_sync", **params)
    pulled, synced = finish(pulling), finish(syncing)
    assert pulled.kind in (None, "store-conflict")
    assert synced.kind in (None, "store-conflict")
    assert_no_secret(synced)
    assert_valid_store(path)
    result = run("image_sync", **params).result
    assert result["fingerprint"] == fingerprint(path)
    assert extra not in names(path)
    assert_valid_store(path)
