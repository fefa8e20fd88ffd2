# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_pull, as Ansible runs it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
    documented_values,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.layout import names
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store, statuses

USER, PASSWORD = "robot", "correct-horse-battery"
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
BOTH = ["linux/amd64", "linux/arm64"]


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry(auth="bearer", users={USER: PASSWORD}) as registry:
        push(registry, "demo/app", demo_image("app", "1", size=500), "1")
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry, tmp_path):
    return {
        "name": [f"{registry.address}/demo/app:1"],
        "store": str(tmp_path / "store"),
        "platform": BOTH,
        "username": USER,
        "password": PASSWORD,
        "retries": 0,
    }


def assert_no_secret(outcome):
    assert not [secret for secret in SECRETS if secret in outcome.stdout + outcome.stderr]


def assert_proper_failure(outcome, kind):
    assert outcome.failed
    assert outcome.kind == kind
    documented = documented_values("image_pull", "failure")["error"]["contains"].keys()
    assert {"kind", "hint"} <= outcome.result["error"].keys() <= documented
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert "\n" not in outcome.result["msg"]
    assert_no_secret(outcome)


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_pull", monkeypatch) == documented_options("image_pull")


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(params, tmp_path):
    check, real, check_again, real_again = (
        outcome.result for outcome in four_times("image_pull", **params)
    )
    assert [one["changed"] for one in (check, real, check_again, real_again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, real_again)):
        assert all(one[key] == other[key] for key in ("images", "actions", "diff"))
    assert statuses(real) == ["downloaded"] * 2
    assert statuses(real_again) == ["up_to_date"] * 2
    assert_valid_store(tmp_path / "store")


def test_check_mode_creates_no_store(params, tmp_path):
    assert run("image_pull", check=True, **params).result["changed"]
    assert not (tmp_path / "store").exists()


def test_results_are_documented_and_contain_no_secret(params):
    for outcome in four_times("image_pull", **params):
        assert_as_documented("image_pull", outcome.result)
        assert_no_secret(outcome)
        # In newer cores, the controller adds the invocation.
        arguments = outcome.result.get("invocation", {}).get("module_args", {})
        assert "VALUE_SPECIFIED_IN_NO_LOG" in arguments.get("password", "VALUE_SPECIFIED_IN_NO_LOG")


def test_one_failed_name_does_not_stop_the_others(params):
    """Check mode and the real run say the same of it, and the second run changes nothing."""
    good = params["name"][0]
    bad = f"{good.rpartition(':')[0]}:none"
    for number, outcome in enumerate(four_times("image_pull", **{**params, "name": [bad, good]})):
        assert_proper_failure(outcome, "not-found")
        assert_as_documented("image_pull", outcome.result, "failure")
        assert outcome.result["changed"] is (number < 2)
        assert outcome.result["msg"].startswith("1 of 2 images failed: ")
        assert [entry["name"] for entry in outcome.result["failures"]] == [bad]
        assert set(outcome.result["diff"]["after"]) == {good}
        changed = {entry["name"] for entry in outcome.result["images"]}
        assert changed == ({good} if number < 2 else set())
    assert_valid_store(Path(params["store"]))
    assert list(names(Path(params["store"]))) == [good]


@pytest.mark.parametrize("spelled", ['["{0}"]', "[{0}]", " {0} ,", "{0}"])
def test_F19_list_in_the_form_of_text_is_accepted(params, spelled):
    (good,) = params["name"]
    options = {**params, "name": spelled.format(good), "platform": '["linux/amd64"]'}
    (entry,) = run("image_pull", **options).result["images"]
    assert (entry["name"], entry["platform"]) == (good, "linux/amd64")


def test_the_logins_of_the_user_are_used(params, tmp_path):
    login = {"auths": {params["name"][0].split("/")[0]: {"auth": SECRETS[1]}}}
    (tmp_path / "auth.json").write_text(json.dumps(login))
    given = {**params, "username": None, "password": None}
    outcome = run("image_pull", env={"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}, **given)
    assert outcome.result["changed"]
    assert_no_secret(outcome)


def test_a_moved_tag_is_an_update(registry, params):
    run("image_pull", **params)
    push(registry, "demo/app", demo_image("app", "2", size=500), "1")
    outcome = run("image_pull", **params)
    assert statuses(outcome.result) == ["updated"] * 2
    assert_as_documented("image_pull", outcome.result)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"password": "wrong-" + PASSWORD}, "authentication-failed", id="password"),
        pytest.param({"name": ["a b"]}, "invalid-reference", id="name"),
        pytest.param({"platform": ["a/b/c/d"]}, "invalid-platform", id="platform"),
        pytest.param({"platform": ["linux/s390x"]}, "platform-not-found", id="no platform"),
        pytest.param({"pull": "never"}, "not-in-store", id="never"),
        pytest.param({"store": "/etc"}, "not-a-layout", id="store"),
        pytest.param({"all_tags": True}, "invalid-input", id="all_tags with a tag"),
        pytest.param({"parallel": 0}, "invalid-input", id="parallel 0"),
        pytest.param({"parallel": -1}, "invalid-input", id="parallel -1"),
        pytest.param({"timeout": 0}, "invalid-input", id="timeout 0"),
        pytest.param({"timeout": -2.5}, "invalid-input", id="timeout negative"),
        pytest.param({"timeout": "nan"}, "invalid-input", id="timeout nan"),
        pytest.param({"timeout": "inf"}, "invalid-input", id="timeout inf"),
        pytest.param({"timeout": 1e300}, "invalid-input", id="timeout too large"),
        pytest.param({"retries": -1}, "invalid-input", id="retries"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(params, tmp_path, change, kind):
    outcome = run("image_pull", **{**params, **change})
    assert_proper_failure(outcome, kind)
    assert outcome.result["changed"] is False
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"timeout": "soon"}, "timeout"),
        ({"parallel": "many"}, "parallel"),
        ({"pull": "sometimes"}, "pull"),
        ({"username": None}, "username"),
        ({"client_key": "/key"}, "client_cert"),
        ({"name": None}, "name"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_option_is_named(params, change, word):
    outcome = run("image_pull", **{**params, **change})
    assert outcome.failed
    assert word in outcome.result["msg"]
    assert_no_secret(outcome)


def test_failure_after_some_changes_is_reported_as_changed(registry, params):
    member = demo_image("app", "1", size=500).for_platform("linux/arm64")
    registry.remove("demo/app", member.layers[2].digest)
    outcome = run("image_pull", **params, parallel=1)
    assert_proper_failure(outcome, "not-found")
    assert outcome.result["changed"] is True


def test_missing_requests_is_reported(params, tmp_path):
    outcome = run("image_pull", missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert "Failed to import the required Python library (requests)" in outcome.result["msg"]
    assert not (tmp_path / "store").exists()
    assert_no_secret(outcome)


@pytest.fixture(name="pinned")
def fixture_pinned(params):
    """Return the options of a pull by digest that finds all in its place."""
    digest = run("image_pull", **params).result["images"][0]["digest"]
    return {**params, "name": [f"{params['name'][0]}@{digest}"]}


def test_converged_pull_by_digest_imports_no_registry_code(params, pinned):
    utils = "ansible_collections.lockstep.images.plugins.module_utils"
    outcome = run("image_pull", missing=("requests", f"{utils}._registry.client"), **pinned)
    assert (outcome.failed, outcome.result["changed"]) == (False, False)
    assert outcome.result["stats"]["requests"] == {}
    assert list(names(Path(params["store"]))) == params["name"]


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"registries": [{"registry": "https://registry.example"}]}],
    ids=["timeout", "registries"],
)
def test_invalid_options_are_an_error_even_without_a_request(pinned, wrong):
    outcome = run("image_pull", **{**pinned, **wrong})
    assert_proper_failure(outcome, "invalid-input")
    assert next(iter(wrong)) in outcome.result["msg"]


def test_stats_have_the_same_keys_without_any_request(params, pinned):
    converged = run("image_pull", **pinned).result["stats"]
    assert converged.keys() == run("image_pull", **params).result["stats"].keys()


# -- with a lock

FIRST, SECOND = demo_image("app", "1", size=500), demo_image("app", "2", size=500)


def lock_of(params, directory, platforms=tuple(BOTH), **more):
    """Return what the lookup gives for a lock file of the names."""
    path = directory / "images.lock.yml"
    given = {key: params[key] for key in ("name", "username", "password", "retries")}
    given.update(path=str(path), platform=list(platforms), **more)
    assert run("image_lock", **given).result.get("changed")
    return read_lock(str(path), "images.lock.yml")


@pytest.fixture(name="lock")
def fixture_lock(params, tmp_path):
    return lock_of(params, tmp_path)


def move_tag(registry):
    push(registry, "demo/app", SECOND, "1")


@pytest.mark.parametrize("pull", ["always", "missing"])
def test_lock_determines_the_digest_of_a_tag(registry, params, lock, pull):
    move_tag(registry)
    asked = len(registry.requests)
    outcomes = four_times("image_pull", lock=lock, pull=pull, **params)
    assert [one.result["changed"] for one in outcomes] == [True, True, False, False]
    for outcome in outcomes:
        assert_as_documented("image_pull", outcome.result)
        assert_no_secret(outcome)
        assert {one["digest"] for one in outcome.result["images"]} == {FIRST.digest}
    paths = [request.path for request in registry.requests[asked:]]
    assert not [one for one in paths if "/manifests/" in one and "sha256:" not in one]
    assert names(Path(params["store"]))[params["name"][0]]["digest"] == FIRST.digest
    assert_valid_store(Path(params["store"]))


def test_lock_moves_a_name_back_without_requests_for_existing_content(registry, params, lock):
    run("image_pull", **params)
    move_tag(registry)
    assert statuses(run("image_pull", **params).result) == ["updated"] * 2
    back = run("image_pull", lock=lock, missing=("requests",), **params)
    assert statuses(back.result) == ["updated"] * 2
    assert names(Path(params["store"]))[params["name"][0]]["digest"] == FIRST.digest
    again = run("image_pull", lock=lock, pull="never", missing=("requests",), **params)
    assert (again.failed, again.result["changed"]) == (False, False)


def test_other_names_in_the_store_stay(registry, params, lock):
    push(registry, "demo/other", SECOND, "1")
    other = params["name"][0].replace("app:1", "other:1")
    run("image_pull", **{**params, "name": [other]})
    run("image_pull", lock=lock, **params)
    assert set(names(Path(params["store"]))) == {other, params["name"][0]}


def test_name_can_include_the_locked_digest(params, lock):
    pinned = f"{params['name'][0]}@{FIRST.digest}"
    assert run("image_pull", lock=lock, **{**params, "name": [pinned]}).result["changed"]
    assert list(names(Path(params["store"]))) == params["name"]
    assert run("image_pull", lock=lock, **params).result["changed"] is False


def test_existing_platforms_stay(params, lock):
    one = {**params, "platform": BOTH[:1]}
    run("image_pull", lock=lock, **one)
    other = run("image_pull", lock=lock, **{**params, "platform": BOTH[1:]})
    assert statuses(other.result) == ["downloaded"]
    entry = names(Path(params["store"]))[params["name"][0]]
    assert entry["annotations"]["io.lockstep.platforms"] == ",".join(BOTH)
    for given in (one, params):
        assert run("image_pull", lock=lock, **given).result["changed"] is False
    assert_valid_store(Path(params["store"]))


def test_existing_platforms_outside_the_lock_stay(params, tmp_path):
    lock = lock_of(params, tmp_path, platforms=BOTH[:1])
    run("image_pull", **{**params, "platform": ["all"]})
    result = run("image_pull", lock=lock, **{**params, "platform": BOTH[:1]}).result
    assert (result["changed"], len(result["images"])) == (False, 1)
    entry = names(Path(params["store"]))[params["name"][0]]
    assert entry["annotations"]["io.lockstep.platforms"] == "all"


def test_embedded_manifests_of_a_lock_are_not_requested(registry, params, tmp_path):
    lock = lock_of(params, tmp_path, manifests="embed")
    assert len(lock["manifests"]) == 3
    asked = len(registry.requests)
    assert run("image_pull", lock=lock, **params).result["changed"]
    assert not [one.path for one in registry.requests[asked:] if "/manifests/" in one.path]
    assert_valid_store(Path(params["store"]))


def test_lock_that_was_read_without_the_lookup_is_accepted(params, lock):
    raw = {key: value for key, value in lock.items() if key != "file"}
    raw["images"] = [{key: one[key] for key in one if key != "line"} for one in lock["images"]]
    assert run("image_pull", lock=raw, **params).result["changed"]


def edited(lock, **fields):
    return {**lock, "images": [{**lock["images"][0], **fields}]}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param(
            lambda params, _lock: {"name": [params["name"][0].replace("app:1", "app:2")]},
            "is not locked",
            id="name",
        ),
        pytest.param(
            lambda params, _lock: {"name": [f"{params['name'][0]}@{SECOND.digest}"]},
            f"is locked to {FIRST.digest}, but requested as",
            id="digest",
        ),
        pytest.param(
            lambda _params, _lock: {"platform": ["linux/s390x"]},
            "is not locked for linux/s390x, only for linux/amd64, linux/arm64",
            id="platform",
        ),
        pytest.param(
            lambda _params, _lock: {"platform": ["all"]}, "is not locked for all", id="all"
        ),
        pytest.param(lambda _params, _lock: {"lock": {}}, "is not a lock file", id="empty"),
        pytest.param(
            lambda _params, lock: {"lock": edited(lock, media_type="text/plain")},
            "media_type is text/plain, but",
            id="edited",
        ),
    ],
)
def test_request_outside_the_lock_is_rejected_with_its_line(params, tmp_path, lock, change, word):
    outcome = run("image_pull", **{**params, "lock": lock, **change(params, lock)})
    assert_proper_failure(outcome, "invalid-lock")
    assert word in outcome.result["msg"]
    assert outcome.result["msg"].startswith(
        "lock: " if word == "is not a lock file" else lock["file"]
    )
    assert outcome.result["changed"] is False
    assert not (tmp_path / "store").exists()


def test_digest_missing_in_the_registry_is_reported_with_its_line(registry, params, lock):
    registry.remove("demo/app", FIRST.digest)
    outcome = run("image_pull", lock=lock, **params)
    assert_proper_failure(outcome, "not-found")
    assert_as_documented("image_pull", outcome.result, "failure")
    assert outcome.result["msg"].startswith("images.lock.yml, line 4: ")


@pytest.mark.parametrize("other", ["all_tags", "referrers"])
def test_option_that_cannot_be_combined_with_a_lock_is_rejected(params, lock, other):
    outcome = run("image_pull", lock=lock, **{**params, other: True})
    assert outcome.failed
    assert "lock" in outcome.result["msg"]
    assert other in outcome.result["msg"]
