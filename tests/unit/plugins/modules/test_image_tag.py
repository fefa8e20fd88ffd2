# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_tag, as Ansible runs it."""

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
from ansible_collections.lockstep.images.tests.support.layout import names
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    pull,
    whole_tree,
)

APP, OTHER = "docker.io/library/app:1", "docker.io/library/app:2"
NEW = "registry.example/app:latest"
FIRST, SECOND = (demo_image("app", version, size=200) for version in "12")


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    sources = FakeSources()
    sources.publish(APP, FIRST)
    sources.publish(OTHER, SECOND)
    pull(ImageStore(str(tmp_path / "store")), sources, APP, OTHER)
    return tmp_path / "store"


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_tag", monkeypatch) == documented_options("image_tag")


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(path):
    outcomes = four_times(
        "image_tag",
        store=str(path),
        name="app:1",
        repository=["registry.example/app", "app:2"],
        missing=("requests",),
    )
    check, real, check_again, again = (one.result for one in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("images", "actions", "diff"))
    assert [entry["status"] for entry in real["images"]] == ["tagged", "tagged"]
    assert real["diff"] == {
        "before": {OTHER: SECOND.digest},
        "after": {NEW: FIRST.digest, OTHER: FIRST.digest},
    }
    assert {entry["digest"] for entry in names(path).values()} == {FIRST.digest}
    assert_valid_store(path)
    for outcome in outcomes:
        assert_as_documented("image_tag", outcome.result)


def test_kept_name_is_reported_as_documented(path):
    outcomes = four_times(
        "image_tag", store=str(path), name="app:1", repository=["app:2"], existing="keep"
    )
    for outcome in outcomes:
        assert_as_documented("image_tag", outcome.result)
        assert outcome.result["changed"] is False
        assert [entry["status"] for entry in outcome.result["images"]] == ["kept"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"name": "none:1"}, "not-in-store"),
        ({"name": "a b"}, "invalid-reference"),
        ({"repository": ["a b"]}, "invalid-reference"),
        ({"repository": [f"x@{FIRST.digest}"]}, "invalid-input"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(path, options, kind):
    before = whole_tree(path)
    params = {"name": "app:1", "repository": [NEW], **options}
    for outcome in four_times("image_tag", store=str(path), **params):
        assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
        assert "Traceback" not in outcome.stdout + outcome.stderr
    assert whole_tree(path) == before


def test_directory_that_is_not_a_store_is_left_alone(path):
    (path / "oci-layout").write_text("x")
    outcome = run("image_tag", store=str(path), name="app:1", repository=[NEW])
    assert outcome.kind == "not-a-layout"
