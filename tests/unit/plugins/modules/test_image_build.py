# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_build, as Ansible runs it."""

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

NAME = "r.example/web:1"
BASE = "docker.io/library/app:1"


@pytest.fixture(name="params")
def fixture_params(tmp_path):
    put(tmp_path / "store", demo_image("app", "1", size=200), BASE)
    context = tmp_path / "context"
    (context / "site").mkdir(parents=True)
    (context / "site/index.html").write_text("hello")
    (context / "Dockerfile").write_text("FROM app:1\nCOPY site /srv/\n")
    return {"store": str(tmp_path / "store"), "context": str(context), "name": NAME}


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_build", monkeypatch) == documented_options("image_build")


def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(params):
    outcomes = four_times("image_build", missing=("requests",), platform="linux/amd64", **params)
    check, real, check_again, again = (one.result for one in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        assert {**one, "invocation": None} == {**other, "invocation": None}
    assert real["base"]["name"] == BASE
    for outcome in outcomes:
        assert_as_documented("image_build", outcome.result)


@pytest.mark.parametrize(
    ("text", "options", "kind", "line"),
    [
        ("FROM app:1\nRUN x", {}, "build-unsupported", 2),
        ("FROM app:1\nCOPYY a b", {}, "build-syntax", 2),
        ("FROM app:1\nCOPY none /", {}, "build-context", 2),
        ("FROM app:1", {"platform": "linux/s390x"}, "platform-not-found", None),
        ("FROM app:1", {"context": "/none"}, "build-context", None),
        ("FROM none:1", {"pull": "never"}, "not-in-store", None),
        ("FROM scratch", {"platform": "x"}, "invalid-platform", None),
        ("FROM scratch", {"name": "a b"}, "invalid-reference", None),
        ("FROM scratch", {"created": -1}, "invalid-input", None),
    ],
)  # fmt: skip
def test_failure_names_its_kind_and_its_line(params, text, options, kind, line):
    given = {"instructions": text, "platform": "linux/amd64", **params, **options}
    outcome = run("image_build", **given)
    assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
    assert outcome.result["error"].get("line") == line
    assert "Traceback" not in outcome.stdout + outcome.stderr


def test_nothing_is_created_by_a_failure(params, tmp_path):
    store = str(tmp_path / "new")
    run("image_build", **{**params, "store": store, "instructions": "FROM scratch\nCOPY none /"})
    assert not os.path.exists(store)
