# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module engine_info, as Ansible runs it."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.fakedocker import fake_docker
from ansible_collections.lockstep.images.tests.support.modules import four_times, run

ID, OTHER = (f"sha256:{char * 64}" for char in "12")
WEB = "registry.example/web:1"


@pytest.fixture(name="docker")
def fixture_docker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fake_docker(tmp_path / "s") as docker:
        docker.add(ID, WEB, digests=(f"registry.example/web@{OTHER}",))
        docker.add(OTHER, "<none>:<none>", digests=("<none>@<none>",))
        yield docker


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("engine_info", monkeypatch) == documented_options("engine_info")


def test_results_are_documented_and_nothing_is_changed(docker):
    options = {"engine": "docker", "socket": os.fspath(docker.path), "missing": ("requests",)}
    for outcome in four_times("engine_info", **options):
        assert_as_documented("engine_info", outcome.result)
        assert outcome.result["changed"] is False
        assert [one["names"] for one in outcome.result["images"]] == [[WEB], []]
        assert outcome.result["engine"]["version"] == "20.10.24"
    assert all(one.startswith("GET ") for one in docker.requests)


def test_images_are_filtered_by_name(docker):
    options = {"engine": "docker", "socket": os.fspath(docker.path)}
    result = run("engine_info", name=["registry.example/web:1", "app"], **options).result
    assert_as_documented("engine_info", result)
    assert [one["id"] for one in result["images"]] == [ID]
    assert result["missing"] == ["docker.io/library/app:latest"]


def test_failure_names_its_kind(tmp_path):
    outcome = run("engine_info", engine="docker", socket=os.fspath(tmp_path / "none"))
    assert (outcome.failed, outcome.kind) == (True, "engine-not-found")
    assert_as_documented("engine_info", outcome.result, "failure")
    assert "Traceback" not in outcome.stdout + outcome.stderr
