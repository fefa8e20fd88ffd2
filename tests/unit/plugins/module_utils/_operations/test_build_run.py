# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds by an engine, which is a fake here; tests/fleet/test_build.py has real ones."""

from __future__ import annotations

import fcntl
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildFailedError,
    BuildUnsupportedError,
    EngineMissingError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations import build_run
from ansible_collections.lockstep.images.tests.support import fakebuilder
from ansible_collections.lockstep.images.tests.support.building import Builds
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.layout import read_manifest
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store

BASE = "r.example/base:1"
TEXT = f"FROM {BASE}\nARG W\nRUN make\nCOPY site /site\n"
GIVEN = {"engine": "auto", "args": {"W": "s3cret"}}


@pytest.fixture(name="builds")
def fixture_builds(tmp_path, monkeypatch):
    builds = Builds(tmp_path)
    builds.sources.publish(BASE, demo_image("app", "1", size=100))
    builds.write(TEXT)
    monkeypatch.setenv("PATH", f"{fakebuilder.install(tmp_path / 'bin')}:/bin:/usr/bin")
    monkeypatch.setenv("FAKE_BUILDER", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(build_run, "_PLACES", (str(tmp_path / "work"),))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    return builds


@pytest.fixture(name="notes")
def fixture_notes(tmp_path):
    return lambda: fakebuilder.notes(tmp_path)


def run(builds, **params):
    with builds.plan(**{**GIVEN, **params}) as plan:
        outcome = execute(plan)
    if outcome.failure:
        raise outcome.failure
    assert_valid_store(builds.path)
    return outcome.result()


def test_engine_runs_once_for_the_same_inputs(builds, notes, tmp_path):
    expected = builds.check(**GIVEN)
    assert (notes(), expected["digest"], expected["status"]) == ([], None, "built")
    result = run(builds)
    again = builds.check(**GIVEN)
    assert (again["changed"], again["digest"]) == (False, result["digest"])
    assert len(notes()) == 1
    assert (result["reproducible"], result["engine"]) == (False, "buildah 1.2.3")
    for key in ("changed", "diff", "actions", "inputs", "status", "base"):
        assert expected[key] == result[key], key
    assert os.listdir(tmp_path / "work") == []


def test_engine_gets_the_context_as_a_build_reads_it(builds, notes):
    (builds.context / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    os.chmod(builds.context / "site/index.html", 0o600)
    run(builds, created=7, target="0")
    (found,) = notes()
    assert found["files"] == {"site": "755 7", "site/index.html": "644 7", "site/run": "755 7"}
    assert (found["text"], found["w"], found["umask"]) == (TEXT, "s3cret", 0o022)
    assert found["arguments"] == [
        "--pull=never", "--no-cache", "--timestamp=7", "--format=oci", "--platform=linux/amd64",
        "--tag=localhost/lockstep:built", f"--build-context={BASE}=docker-image://localhost/lockstep:base-0",
        "--build-arg=W", "--target=0",
    ]  # fmt: skip


def test_layers_of_the_base_stay_and_new_ones_get_the_compression_of_the_task(builds):
    result = run(builds, compression="none")
    base = demo_image("app", "1", size=100).images[0]
    layers = read_manifest(builds.path, result["digest"])["layers"]
    assert [one["digest"] for one in layers[:3]] == [one.digest for one in base.layers]
    assert layers[3]["digest"] == result["layers"][0]["diff_id"]
    assert result["layers"][0]["created_by"] == "|1 W=******** RUN"


@pytest.mark.parametrize(
    "change",
    [
        {"args": {"W": "other"}},
        {"created": 5},
        {"compression": "none"},
        {"target": "0"},
        {"format": "docker"},
    ],
)
def test_engine_runs_again_for_other_options(builds, change):
    run(builds)
    assert builds.check(**{**GIVEN, **change})["changed"] is True


def test_engine_runs_again_for_another_file_or_base_but_not_for_other_times(builds):
    run(builds)
    os.utime(builds.context / "site/index.html", (1, 1))
    assert builds.check(**GIVEN)["changed"] is False
    (builds.context / "site/new").write_text("")
    assert builds.check(**GIVEN)["changed"] is True
    (builds.context / "site/new").unlink()
    builds.sources.publish(BASE, demo_image("app", "2", size=100))
    assert builds.check(**GIVEN)["changed"] is False
    assert builds.check(policy="always", **GIVEN)["changed"] is True


def test_failure_of_the_engine_shows_no_argument_and_keeps_nothing(builds, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_FAIL", "1")
    with pytest.raises(BuildFailedError, match=r"status 2: the value is \*{8}") as caught:
        run(builds)
    assert caught.value.details == {"engine": "buildah 1.2.3", "status": 2}
    assert os.listdir(tmp_path / "work") == []


def test_killed_engine_leaves_nothing(builds, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_KILLED", "1")
    with pytest.raises(BuildFailedError, match="buildah build ended with status -9"):
        run(builds)
    assert builds.check(**GIVEN)["status"] == "built"
    assert (
        not (builds.path / "index.json").exists()
        or b"web" not in (builds.path / "index.json").read_bytes()
    )
    assert os.listdir(tmp_path / "work") == []


def test_layer_that_is_not_its_diff_id_is_refused(builds, monkeypatch):
    monkeypatch.setenv("FAKE_WRONG", "1")
    with pytest.raises(DigestMismatchError):
        run(builds)


def test_build_without_an_engine_is_refused(builds, monkeypatch, tmp_path):
    with pytest.raises(BuildUnsupportedError, match="Dockerfile:3: RUN"):
        builds.check(**{**GIVEN, "engine": "none"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissingError, match=r"^buildah: .*; podman: .*; docker: .*none\.sock"):
        builds.check(**GIVEN)


def test_dockerfile_that_needs_no_engine_is_built_without_one(builds, notes):
    builds.write("FROM scratch\nCOPY site /site\n")
    assert builds.run(engine="auto")["engine"] is None
    assert notes() == []


def test_directories_of_killed_tasks_are_removed_when_their_engine_has_ended(builds, tmp_path):
    abandoned, held = (tmp_path / "work" / f"lockstep-build-{name}" for name in ("a", "b"))
    abandoned.mkdir()
    held.mkdir()
    fd = os.open(held, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    run(builds)
    os.close(fd)
    assert os.listdir(tmp_path / "work") == [held.name]
