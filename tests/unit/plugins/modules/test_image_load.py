# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_load, as Ansible runs it. Its engine here is a directory; tests/fleet has real ones."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import pull, whole_tree

APP, TOOL = "docker.io/library/app:1", "registry.example/tool:2"


@pytest.fixture(name="places")
def fixture_places(tmp_path):
    """Return the options of a load from a store with two images into an empty directory."""
    sources = FakeSources()
    for name in (APP, TOOL):
        sources.publish(name, demo_image(name, "1", size=200))
    pull(ImageStore(str(tmp_path / "store")), sources, APP, TOOL)
    (tmp_path / "engine").mkdir()
    return {
        "store": str(tmp_path / "store"),
        "engine": "directory",
        "path": str(tmp_path / "engine"),
        "platform": "linux/amd64",
    }


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_load", monkeypatch) == documented_options("image_load")


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(places):
    outcomes = four_times("image_load", name=["app:1", TOOL], missing=("requests",), **places)
    check, real, check_again, again = (one.result for one in outcomes)
    changed = [one["changed"] for one in (check, real, check_again, again)]
    assert changed == [True, True, False, False]
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("images", "actions", "diff", "engine"))
    assert [entry["status"] for entry in real["images"]] == ["loaded", "loaded"]
    assert [entry["status"] for entry in again["images"]] == ["present", "present"]
    assert check["stats"]["bytes_sent"] == real["stats"]["bytes_sent"] > 0
    assert again["stats"]["bytes_sent"] == 0
    for one in (check, real, again):
        assert_as_documented("image_load", one)


def test_check_mode_writes_nothing(places, tmp_path):
    before = whole_tree(tmp_path)
    assert run("image_load", check=True, name=["app:1"], **places).result["changed"]
    assert whole_tree(tmp_path) == before


def test_an_image_that_fails_does_not_hold_back_others(places):
    outcome = run("image_load", name=["app:1", "app:missing"], **places)
    assert outcome.failed
    assert outcome.kind == "not-in-store"
    assert outcome.result["changed"]
    assert [one["name"] for one in outcome.result["failures"]] == ["docker.io/library/app:missing"]
    assert [one["name"] for one in outcome.result["images"]] == [APP]
    assert_as_documented("image_load", outcome.result, "failure")


def test_either_names_or_a_lock_are_required(places):
    outcome = run("image_load", **places)
    assert outcome.failed
    assert "name, lock" in outcome.result["msg"]


def test_a_directory_needs_a_path(places):
    del places["path"]
    outcome = run("image_load", name=["app:1"], **places)
    assert outcome.failed
    assert "path" in outcome.result["msg"]
