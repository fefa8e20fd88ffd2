# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left in a Docker daemon after a build, against a fake; tests/fleet/test_build.py has a real one."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import docker_build
from ansible_collections.lockstep.images.plugins.module_utils._engines.docker_build import (
    REPOSITORY,
    DockerBuilder,
    version_at,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.errors import (
    EngineTimeoutError,
)
from ansible_collections.lockstep.images.tests.support.fakedocker import (
    archive_of,
    fake_docker,
)

TOKEN = "0123456789abcdef"
OPTIONS = {"dockerfile": "Dockerfile"}
OTHERS = f"sha256:{'a' * 64}"
STEPS = [f"sha256:{digit * 64}" for digit in "bcd"]


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path):
    with fake_docker(tmp_path / "d.sock") as daemon:
        daemon.add(OTHERS)
        yield daemon


@pytest.fixture(name="builder")
def fixture_builder(daemon, monkeypatch):
    monkeypatch.setattr(docker_build, "_PAUSE", 0)
    return DockerBuilder(str(daemon.path), 60, 60, TOKEN)


def build(builder, tmp_path, text="FROM scratch\n", timeout=60, **more):
    path = tmp_path / "context.tar"
    path.write_bytes(archive_of({"Dockerfile": text.encode()}))
    return builder.build(str(path), {**OPTIONS, **more}, {"W": "value"}, timeout)


def ids(daemon):
    return [one["Id"] for one in daemon.images]


def test_nothing_is_left_but_the_images_of_others(daemon, builder, tmp_path):
    daemon.steps = STEPS
    assert build(builder, tmp_path).status is None
    assert len(ids(daemon)) == 5
    builder.close()
    assert ids(daemon) == [OTHERS]


def test_image_that_a_step_names_but_did_not_make_stays(daemon, builder, tmp_path):
    daemon.steps = [OTHERS, *STEPS]
    build(builder, tmp_path)
    daemon.point("r.example/kept:1", STEPS[1])
    builder.close()
    assert ids(daemon) == [OTHERS, STEPS[1]]


def test_error_is_the_last_line_and_has_a_status(daemon, builder, tmp_path):
    daemon.failure = {"errorDetail": {"code": 3, "message": "the command failed"}, "error": "x"}
    answer = build(builder, tmp_path)
    assert (answer.status, answer.output) == (3, "Step 1/2 : FROM base\nthe command failed\n")
    daemon.failure = {"error": "unknown instruction"}
    assert build(builder, tmp_path).status == 1


def test_image_in_use_is_removed_when_its_container_is(daemon, builder, tmp_path):
    build(builder, tmp_path)
    daemon.busy = 5
    builder.close()
    assert ids(daemon) == [OTHERS]


def test_close_of_a_builder_without_daemon_fails_not(daemon, builder, tmp_path):
    build(builder, tmp_path)
    daemon.path.unlink()
    builder.close()


@pytest.mark.parametrize(
    ("networks", "expected"), [(("bridge", "none"), "default"), (("host", "none"), "none")]
)
def test_daemon_without_a_bridge_builds_without_a_network(
    daemon, builder, tmp_path, networks, expected
):
    daemon.networks = networks
    build(builder, tmp_path)
    options = daemon.builds[0].options
    assert options["networkmode"] == expected
    assert (options["version"], options["nocache"], options["forcerm"]) == ("1", "1", "1")


def test_names_of_killed_tasks_are_removed_and_those_of_others_stay(daemon, builder):
    daemon.add(STEPS[0], f"{REPOSITORY}:dead-0")
    daemon.add(STEPS[1], f"{REPOSITORY}:alive-0", "r.example/web:1")
    builder.remove_abandoned(lambda token: token == "alive")
    assert ids(daemon) == [OTHERS, STEPS[1]]


def test_version_of_a_daemon(daemon):
    assert version_at(str(daemon.path), 60) == "20.10.24"


def test_limit_of_a_build_is_for_the_whole_answer(daemon, builder, tmp_path, monkeypatch):
    """A command that writes forever does not extend it."""
    monkeypatch.setattr(type(daemon), "build", lambda *_given: itertools.repeat({"stream": "."}))
    with pytest.raises(EngineTimeoutError):
        build(builder, tmp_path, timeout=0.2)
