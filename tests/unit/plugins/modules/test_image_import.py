# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_import, as Ansible runs it."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.tests.support.archives import export, oci_archive
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import blobs, put

NAME = "docker.io/library/app:1"
ITEM = demo_image("app", "1", size=200)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "source", ITEM, NAME)
    export(tmp_path / "source", tmp_path / "a.tar", NAME)
    return tmp_path


def params(path, **more):
    return {"store": str(path / "store"), "src": str(path / "a.tar"), **more}


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_import", monkeypatch) == documented_options("image_import")


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(path):
    outcomes = four_times("image_import", missing=("requests",), **params(path))
    check, real, check_again, again = (one.result for one in outcomes)
    changes = [one["changed"] for one in (check, real, check_again, again)]
    assert changes == [True, True, False, False]
    for one, other in ((check, real), (check_again, again)):
        assert all(one[key] == other[key] for key in ("actions", "diff", "images", "fingerprint"))
    assert blobs(path / "store") == blobs(path / "source")
    assert real["stats"]["requests"] == {}
    for outcome in outcomes:
        assert_as_documented("image_import", outcome.result)


def test_details_can_be_left_out(path):
    result = run("image_import", details=False, **params(path)).result
    assert "actions" not in result and "layers" not in result["images"][0]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"src": "/nonexistent.tar"}, "archive-access"),
        ({"name": ["none:1"]}, "not-found"),
        ({"name": ["a b"]}, "invalid-reference"),
        ({"lock": {"images": []}}, "invalid-lock"),
        ({"store": "/etc"}, "not-a-layout"),
    ],
)
def test_failure_names_its_kind(path, options, kind):
    outcome = run("image_import", **{**params(path), **options})
    assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert outcome.result["error"].keys() <= {"kind", "hint", "path"}
    assert not (path / "store").exists()


def test_failure_of_one_image_is_documented(path):
    data = oci_archive(
        {NAME: ITEM, "docker.io/library/b:1": demo_image("b", "1", size=9)}, [ITEM.digest]
    )
    (path / "b.tar").write_bytes(data)
    outcome = run("image_import", **{**params(path), "src": str(path / "b.tar")})
    assert (outcome.kind, outcome.result["changed"]) == ("archive-incomplete", True)
    assert_as_documented("image_import", outcome.result, "failure")
    assert [one["name"] for one in outcome.result["failures"]] == [NAME]


def test_nothing_is_left_in_temporary_directories(path, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("tmp")
    (path / "a.tar").write_bytes(b"x" * 2048)
    run("image_import", env={"TMPDIR": str(temporary)}, **params(path))
    assert os.listdir(temporary) == []
