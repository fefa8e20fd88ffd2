# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_unpack, as Ansible runs it."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import put, whole_tree

NAME = "docker.io/library/app:1"


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", demo_image("app", "1", size=200), NAME)
    return tmp_path


def params(path, **more):
    return {"store": str(path / "store"), "path": str(path / "trees"), "name": ["app:1"], **more}


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_unpack", monkeypatch) == documented_options("image_unpack")


@pytest.mark.parametrize("form", ["layers", "rootfs", "bundle"])
def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(path, form):
    more = {} if form == "layers" else {"form": form, "dest": str(path / "dest")}
    before = whole_tree(path / "store")
    outcomes = four_times("image_unpack", missing=("requests",), **params(path, **more))
    check, real, check_again, again = (one.result for one in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("actions", "diff", "images", "state_path"))
    assert [layer["status"] for layer in real["images"][0]["layers"]] == ["unpacked"] * 3
    assert (check["stats"]["layers"], real["stats"]["layers"]) == (0, 3)
    assert whole_tree(path / "store") == before
    assert stat.S_IMODE(os.stat(path / "trees").st_mode) == 0o700
    for outcome in outcomes:
        assert_as_documented("image_unpack", outcome.result)


def test_check_mode_creates_nothing(path):
    run("image_unpack", check=True, **params(path))
    run("image_unpack", check=True, form="rootfs", dest=str(path / "dest"), **params(path))
    assert os.listdir(path) == ["store"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"name": ["none:1"]}, "not-in-store"),
        ({"name": ["a b"]}, "invalid-reference"),
        ({"platform": "linux/s390x"}, "platform-not-found"),
        ({"platform": "x"}, "invalid-platform"),
        ({"parallel": 0}, "invalid-input"),
        ({"max_bytes": 10}, "too-large"),
        ({"form": "rootfs", "dest": "/proc/nothing/here"}, "tree-access"),
    ],
)
def test_failure_names_its_kind(path, options, kind):
    outcome = run("image_unpack", **{**params(path), **options})
    assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
    assert "Traceback" not in outcome.stdout + outcome.stderr
    if "images" in outcome.result:
        assert_as_documented("image_unpack", outcome.result, "failure")


def test_state_directory_that_others_can_enter_is_refused(path):
    (path / "trees").mkdir()
    os.chmod(path / "trees", 0o755)
    outcome = run("image_unpack", **params(path))
    assert outcome.kind == "tree-access"
    assert "0700" in outcome.result["error"]["hint"]
