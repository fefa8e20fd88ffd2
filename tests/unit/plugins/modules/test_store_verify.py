# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module store_verify, as Ansible runs it."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image, push
from ansible_collections.lockstep.images.tests.support.layout import blob_path, tree
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import AMD64, whole_tree

APP = demo_image("app", "1", size=2000)
MEMBER = APP.for_platform(AMD64)
LOST, FLIPPED = MEMBER.layers[0].digest, MEMBER.layers[1].digest


@pytest.fixture(name="registry")
def fixture_registry():
    with Registry() as registry:
        push(registry, "demo/app", APP, "1")
        yield registry


@pytest.fixture(name="params")
def fixture_params(registry, tmp_path):
    params = {"store": str(tmp_path / "store"), "plain_http": True, "retries": 0}
    name = [f"{registry.address}/demo/app:1"]
    assert run("image_pull", name=name, platform=[AMD64], **params).result["changed"]
    return params


@pytest.fixture(name="asked")
def fixture_asked(registry, params):
    """Return what a registry is asked after the pull."""
    before = len(registry.requests)
    return lambda: [request.path for request in registry.requests[before:]]


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


def damage(path):
    blob_path(path, LOST).unlink()
    place = blob_path(path, FLIPPED)
    place.write_bytes(place.read_bytes()[:-1] + b"\xff")


def as_documented(outcome):
    assert_as_documented("store_verify", outcome.result, "failure" if outcome.failed else "success")


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("store_verify", monkeypatch) == documented_options("store_verify")


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_intact_store_is_ok_without_a_request(asked, params, path, mode):
    before = whole_tree(path)
    for outcome in four_times("store_verify", mode=mode, missing=("requests",), **params):
        as_documented(outcome)
        assert (outcome.failed, outcome.result["ok"], outcome.result["changed"]) == (
            False,
            True,
            False,
        )
    assert asked() == []
    assert whole_tree(path) == before


def test_corrupt_content_fails_and_is_reported(asked, params, path):
    damage(path)
    before = whole_tree(path)
    for outcome in four_times("store_verify", mode="full", **params):
        as_documented(outcome)
        assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (
            True,
            "store-corrupt",
            False,
        )
        assert [one["digest"] for one in outcome.result["missing"]] == [LOST]
        assert [one["digest"] for one in outcome.result["corrupt"]] == [FLIPPED]
        assert "Traceback" not in outcome.stdout + outcome.stderr
    assert whole_tree(path) == before
    assert asked() == []


def test_check_mode_reports_the_repair_and_a_second_run_changes_nothing(asked, params, path):
    whole = tree(path)
    damage(path)
    outcomes = four_times("store_verify", mode="full", repair=True, **params)
    check, real, check_again, again = (one.result for one in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        keys = ("ok", "corrupt", "missing", "foreign", "diff")
        assert all(one[key] == other[key] for key in keys)
        assert sorted(map(str, one["actions"])) == sorted(map(str, other["actions"]))
    assert {action["digest"] for action in real["actions"]} == {LOST, FLIPPED}
    got = {path.rpartition("/")[2] for path in asked() if "/blobs/" in path}
    assert got == {LOST, FLIPPED}
    assert tree(path) == whole
    for outcome in outcomes:
        as_documented(outcome)


def test_failed_repair_is_reported_by_name(registry, params, path):
    damage(path)
    registry.storage.remove("demo/app", LOST)
    for _attempt in range(2):
        outcome = run("store_verify", mode="full", repair=True, **params)
        as_documented(outcome)
        assert (outcome.failed, outcome.kind) == (True, "not-found")
        assert [one["name"] for one in outcome.result["failures"]] == [
            f"{registry.address}/demo/app:1"
        ]
    assert [one["digest"] for one in outcome.result["missing"]] == [LOST]
    assert outcome.result["corrupt"] == []


def test_directory_that_is_not_a_store_is_left_alone(params, path):
    (path / "oci-layout").write_text("x")
    assert run("store_verify", **params).kind == "not-a-layout"
