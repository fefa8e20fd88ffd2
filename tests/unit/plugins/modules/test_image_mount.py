# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules image_mount and tree_prune, as Ansible runs them. Mounts are in tests/fleet/test_unpack.py."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.trees import IS_ROOT

NAME = "docker.io/library/app:1"
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can mount")


@pytest.fixture(name="params")
def fixture_params(tmp_path):
    put(tmp_path / "store", demo_image("app", "1", size=200), NAME)
    return {"store": str(tmp_path / "store"), "path": str(tmp_path / "trees")}


@pytest.mark.parametrize("module", ["image_mount", "tree_prune"])
def test_options_are_as_documented(monkeypatch, module):
    assert argument_spec(module, monkeypatch) == documented_options(module)


@as_root
def test_check_mode_reports_a_mount_and_creates_nothing(params, tmp_path):
    outcome = run("image_mount", check=True, name="app:1", root="web", **params)
    assert outcome.result["changed"] is True
    assert [one["action"] for one in outcome.result["actions"]][-1] == "mount_root"
    assert_as_documented("image_mount", outcome.result)
    assert os.listdir(tmp_path) == ["store"]


@as_root
def test_root_that_is_absent_is_reported(params):
    for outcome in four_times("image_mount", root="web", state="absent", **params):
        assert outcome.result["changed"] is False
        assert_as_documented("image_mount", outcome.result)


@as_root
def test_many_roots_take_what_they_leave_out_from_the_task(params, tmp_path):
    roots = [{"root": "a"}, {"root": "b", "read_only": True}, {"root": "c", "state": "absent"}]
    outcome = run("image_mount", check=True, name="app:1", roots=roots, volatile=True, **params)
    assert outcome.kind == "invalid-input"
    assert [one["name"] for one in outcome.result["failures"]] == ["b"]
    assert_as_documented("image_mount", outcome.result, "failure")
    outcome = run("image_mount", check=True, name="app:1", roots=roots, **params)
    assert_as_documented("image_mount", outcome.result)
    after = outcome.result["diff"]["after"]
    assert [text.split(", ")[1:] for text in after.values()] == [
        ["writable", "mounted"],
        ["read-only", "mounted"],
        [],
    ]
    assert os.listdir(tmp_path) == ["store"]


@as_root
def test_root_is_given_once_and_in_one_way(params):
    twice = run("image_mount", name="app:1", roots=[{"root": "a"}, {"root": "a"}], **params)
    assert (twice.kind, "a occurs twice" in twice.result["msg"]) == ("invalid-input", True)
    assert (
        run("image_mount", name="app:1", roots=[{"root": "../a"}], **params).kind == "invalid-input"
    )
    assert run("image_mount", name="app:1", root=None, **params).kind == "invalid-input"
    for how in ({"root": "a", "roots": []}, {}):
        assert run("image_mount", name="app:1", **how, **params).failed
    outcome = run("image_mount", roots=[], **params)
    assert (outcome.result["changed"], outcome.result["roots"]) == (False, [])


@as_root
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"root": "../x"}, "invalid-input"),
        ({"name": "none:1"}, "not-in-store"),
        ({"name": ""}, "invalid-input"),
        ({"read_only": True, "volatile": True}, "invalid-input"),
        ({"parallel": 0}, "invalid-input"),
        ({"platform": "x"}, "invalid-platform"),
    ],
)
def test_failure_names_its_kind(params, options, kind):
    outcome = run("image_mount", **{"name": "app:1", "root": "web", **params, **options})
    assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
    assert "Traceback" not in outcome.stdout + outcome.stderr


def test_pruning_removes_layers_of_removed_images(params):
    run("image_unpack", name=["app:1"], **params)
    assert [one.result["changed"] for one in four_times("tree_prune", **params)] == [False] * 4
    run("image_remove", name=["app:1"], store=params["store"])
    outcomes = four_times("tree_prune", **params)
    assert [one.result["changed"] for one in outcomes] == [True, True, False, False]
    for outcome in outcomes:
        assert_as_documented("tree_prune", outcome.result)
