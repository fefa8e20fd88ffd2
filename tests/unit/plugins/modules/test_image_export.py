# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_export, as Ansible runs it."""

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
from ansible_collections.lockstep.images.tests.support.stores import put, whole_tree


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", demo_image("app", "1", size=200), "docker.io/library/app:1")
    return tmp_path


def params(path, **more):
    return {
        "store": str(path / "store"),
        "dest": str(path / "a.tar"),
        "name": ["app:1"],
        "platform": ["linux/amd64"],
        **more,
    }


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_export", monkeypatch) == documented_options("image_export")


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(path):
    before = whole_tree(path / "store")
    outcomes = four_times("image_export", missing=("requests",), **params(path))
    check, real, check_again, again = (one.result for one in outcomes)
    changes = [one["changed"] for one in (check, real, check_again, again)]
    assert changes == [True, True, False, False]
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("actions", "diff", "images", "files"))
    assert whole_tree(path / "store") == before
    for outcome in outcomes:
        assert_as_documented("image_export", outcome.result)


def test_check_mode_creates_nothing(path):
    run("image_export", check=True, **params(path))
    assert os.listdir(path) == ["store"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"name": ["none:1"]}, "not-in-store"),
        ({"name": ["a b"]}, "invalid-reference"),
        ({"platform": ["linux/s390x"]}, "platform-not-found"),
        ({"chunk_size": "10K"}, "invalid-input"),
        ({"have": "nothing"}, "invalid-input"),
        ({"lock": {"images": []}}, "invalid-lock"),
        ({"dest": "/proc/none/a.tar"}, "archive-access"),
    ],
)
def test_failure_names_its_kind(path, options, kind):
    outcome = run("image_export", **{**params(path), **options})
    assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert_as_documented("image_export", outcome.result, "failure")
    assert os.listdir(path) == ["store"]


DESTS = {
    "directory": lambda dest: dest.mkdir(),
    "link": lambda dest: dest.symlink_to("elsewhere"),
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("kind", DESTS)
def test_dest_that_cannot_be_written_is_named(path, kind):
    DESTS[kind](path / "a.tar")
    before = whole_tree(path)
    for check in (True, False):
        outcome = run("image_export", check=check, **params(path))
        assert (outcome.kind, outcome.result["changed"]) == ("archive-access", False)
        assert outcome.result["msg"].startswith(f"{path}/a.tar: is not a regular file")
        assert "\n" not in outcome.result["msg"]
        assert whole_tree(path) == before
