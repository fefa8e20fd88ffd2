# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules image_push and image_copy, as Ansible runs them: what they have in common, and what not."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
    documented_values,
)
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.pushing import held
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import pull, statuses, whole_tree

USER, PASSWORD = "robot", "correct-horse-battery"
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
APP, NEXT = demo_image("app", "1", size=500), demo_image("app", "2", size=500)
MODULES = ("image_push", "image_copy")


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry(auth="bearer", users={USER: PASSWORD}) as registry:
        yield registry
    assert registry.errors == []


@pytest.fixture(name="source")
def fixture_source():
    with Registry() as registry:
        push(registry, "demo/app", APP, "1")
        push(registry, "demo/app", NEXT, "2")
        yield registry


@pytest.fixture(name="module", params=MODULES)
def fixture_module(request):
    return request.param


@pytest.fixture(name="params")
def fixture_params(module, registry, source, tmp_path):
    """Both bring ``demo/app:1`` to the registry: one from a store, one from another registry."""
    shared = {
        "name": [f"{source.address}/demo/app:1"],
        "username": USER,
        "password": PASSWORD,
        "retries": 0,
    }
    if module == "image_copy":
        return {**shared, "destination": registry.address}
    sources = FakeSources()
    for tag, item in (("1", APP), ("2", NEXT)):
        sources.publish(f"{source.address}/demo/app:{tag}", item)
    store = ImageStore(str(tmp_path / "store"))
    pull(store, sources, *sorted(f"{source.address}/demo/app:{n}" for n in (1, 2)), platforms=None)
    repository = [f"{registry.address}/demo/app"]
    return {**shared, "store": store.path, "repository": repository}


def assert_no_secret(outcome):
    assert not [secret for secret in SECRETS if secret in outcome.stdout + outcome.stderr]


def assert_proper_failure(module, outcome, kind):
    assert (outcome.failed, outcome.kind) == (True, kind)
    known = documented_values(module, "failure")["error"]["contains"].keys()
    assert {"kind", "hint"} <= outcome.result["error"].keys() <= known
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert "\n" not in outcome.result["msg"]
    assert_no_secret(outcome)


@pytest.mark.parametrize("name", MODULES)
def test_options_are_as_documented(monkeypatch, name):
    assert argument_spec(name, monkeypatch) == documented_options(name)


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(
    module, params, registry, source, tmp_path
):
    before = whole_tree(tmp_path / "store")
    outcomes = four_times(module, **params)
    assert [one.result["changed"] for one in outcomes] == [True, True, False, False]
    check, real, check_again, again = (one.result for one in outcomes)
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("images", "actions", "diff"))
        assert one["stats"]["bytes_to_send"] == other["stats"]["bytes_to_send"]
    assert (statuses(real), statuses(again)) == (["uploaded"], ["up_to_date"])
    assert real["images"][0] == {
        "name": f"{registry.address}/demo/app:1",
        "source": params["name"][0],
        "digest": APP.digest,
        "status": "uploaded",
    }
    assert registry.manifest("demo/app", "1") == APP.raw
    assert whole_tree(tmp_path / "store") == before
    for outcome in outcomes:
        assert_as_documented(module, outcome.result)
        assert_no_secret(outcome)


def test_check_mode_sends_nothing(module, params, registry):
    assert run(module, check=True, **params).result["changed"]
    assert set(registry.requests_by_method()) <= {"HEAD", "GET"}
    assert registry.storage.repositories() == []


def test_a_tag_that_moves_is_an_update(module, params, registry):
    push(registry, "demo/app", NEXT, "1")
    outcome = run(module, **params)
    assert statuses(outcome.result) == ["updated"]
    assert outcome.result["actions"][-1]["previous"] == NEXT.digest
    assert_as_documented(module, outcome.result)


def test_the_image_for_one_platform_is_chosen(module, params, registry):
    for outcome in four_times(module, platform="linux/arm64", **params):
        assert_as_documented(module, outcome.result)
    assert registry.manifest("demo/app", "1") == APP.for_platform("linux/arm64").raw


def test_chunks_force_and_referrers_do_not_change_the_pushed_content(module, params, registry):
    more = {"chunk_size": "100", "force": True, "referrers": True, "parallel": 2}
    changed = [one.result["changed"] for one in four_times(module, **params, **more)]
    assert changed == [True, True, False, False]
    assert registry.requests_by_method()["PATCH"] > 0
    assert registry.manifest("demo/app", "1") == APP.raw


def test_one_refused_name_does_not_stop_the_others(module, params, registry):
    registry.faults.append(
        Fault(method="PUT", path="/manifests/2$", status=400, times=None, body=b"")
    )
    names = [params["name"][0], f"{params['name'][0][:-1]}2"]
    outcome = run(module, **{**params, "name": names})
    assert_proper_failure(module, outcome, "registry-error")
    assert_as_documented(module, outcome.result, "failure")
    assert outcome.result["changed"] is True
    assert [one["name"] for one in outcome.result["failures"]] == [f"{registry.address}/demo/app:2"]
    assert [one["name"] for one in outcome.result["images"]] == [f"{registry.address}/demo/app:1"]
    assert registry.storage.tags("demo/app") == ["1"]


def test_one_missing_name_does_not_stop_the_others(module, params, registry):
    names = [f"{params['name'][0][:-1]}none", params["name"][0]]
    kind = {"image_push": "not-in-store", "image_copy": "not-found"}[module]
    outcomes = four_times(module, **{**params, "name": names})
    for number, outcome in enumerate(outcomes):
        assert_proper_failure(module, outcome, kind)
        assert_as_documented(module, outcome.result, "failure")
        assert outcome.result["changed"] is (number < 2)
        assert outcome.result["msg"].startswith("1 of 2 images failed: ")
    assert registry.storage.tags("demo/app") == ["1"]


CHANGES = {
    "password": ({"password": "wrong-" + PASSWORD}, "authentication-failed"),
    "name": ({"name": ["a b"]}, "invalid-reference"),
    "platform": ({"platform": "a/b/c/d"}, "invalid-platform"),
    "no platform": ({"platform": "linux/s390x"}, "platform-not-found"),
    "parallel": ({"parallel": 0}, "invalid-input"),
    "retries": ({"retries": -1}, "invalid-input"),
}


@pytest.mark.parametrize(("change", "kind"), CHANGES.values(), ids=CHANGES)
def test_a_failure_names_its_kind_and_changes_nothing(module, params, registry, change, kind):
    outcome = run(module, **{**params, **change})
    assert_proper_failure(module, outcome, kind)
    assert outcome.result["changed"] is False
    assert registry.storage.repositories() == []


OWN = {
    "to a digest": ("image_push", {"repository": [f"b.example/x@{APP.digest}"]}, "invalid-input"),
    "no repository": ("image_push", {"repository": ["B C"]}, "invalid-reference"),
    "an empty store": ("image_push", {"store": "/nonexistent/store"}, "not-in-store"),
    "all_tags with a tag": ("image_copy", {"all_tags": True}, "invalid-input"),
    "newest": ("image_copy", {"newest": 0}, "invalid-input"),
    "tags_matching": ("image_copy", {"tags_matching": "("}, "invalid-input"),
    "rewrite": ("image_copy", {"rewrite": [{"match": "(", "replace": ""}]}, "invalid-input"),
    "rewritten to nothing": (
        "image_copy",
        {"rewrite": [{"match": ".*", "replace": ""}]},
        "invalid-input",
    ),
}


@pytest.mark.parametrize(("own", "change", "kind"), OWN.values(), ids=OWN)
def test_invalid_options_of_one_module_are_reported(module, params, own, change, kind):
    if module == own:
        outcome = run(module, **{**params, **change})
        assert_proper_failure(module, outcome, kind)


def test_missing_requests_is_reported(module, params):
    outcome = run(module, missing=("requests",), **params)
    assert outcome.kind == "missing-dependency"
    assert outcome.result["changed"] is False
    assert_no_secret(outcome)


@pytest.mark.parametrize("module", ["image_copy"])
def test_tags_of_a_repository_are_copied_under_a_prefix(module, params, registry, source):
    given = {
        "name": [f"{source.address}/demo/app"],
        "destination": f"{registry.address}/mirror",
        "tags_matching": "^[12]$",
        "newest": 5,
        "rewrite": [{"match": "^demo/", "replace": ""}],
    }
    for outcome in four_times(module, **{**params, **given}):
        assert_as_documented(module, outcome.result)
    assert held(registry)["tags"] == {"mirror/app": held(source)["tags"]["demo/app"]}


@pytest.mark.parametrize("module", ["image_copy"])
def test_copy_of_a_name_to_itself_is_an_error(module, params, source):
    outcome = run(module, **{**params, "destination": source.address})
    assert_proper_failure(module, outcome, "invalid-input")
