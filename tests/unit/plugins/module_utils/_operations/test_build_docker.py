# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds by a Docker daemon, which is a fake here; tests/fleet/test_build.py has a real one."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._build.errors import (
    BuildFailedError,
    BuildUnsupportedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.errors import EngineGoneError
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
    ManifestError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._operations import build_run
from ansible_collections.lockstep.images.tests.support.building import Builds
from ansible_collections.lockstep.images.tests.support.fakedocker import (
    archive_of,
    fake_docker,
)
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.layout import read_manifest
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import assert_valid_store

BASE = "r.example/base:1"
TEXT = f"""\
FROM r.example/unused:1
RUN none
FROM {BASE} AS base
ARG W
ARG TARGETARCH
RUN make
COPY site /site
"""
GIVEN = {"engine": "docker", "args": {"W": "s3cret"}}
OTHERS = f"sha256:{'a' * 64}"


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path, monkeypatch):
    with fake_docker(tmp_path / "d.sock") as daemon:
        daemon.add(OTHERS, "r.example/other:1")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{daemon.path}")
        yield daemon


@pytest.fixture(name="builds")
def fixture_builds(tmp_path, monkeypatch, daemon):
    builds = Builds(tmp_path)
    builds.sources.publish(BASE, demo_image("app", "1", size=100))
    builds.write(TEXT)
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(build_run, "_PLACES", (str(tmp_path / "work"),))
    return builds


def run(builds, **params):
    with builds.plan(**{**GIVEN, **params}) as plan:
        outcome = execute(plan)
    if outcome.failure:
        raise outcome.failure
    assert_valid_store(builds.path)
    return outcome.result()


def nothing_is_left(builds, daemon):
    listed = [(one["Id"], one["RepoTags"]) for one in daemon.images]
    return listed == [(OTHERS, ["r.example/other:1"])] and not os.listdir(
        builds.context.parent / "work"
    )


def test_daemon_builds_once_for_the_same_inputs(builds, daemon):
    daemon.steps = [f"sha256:{'b' * 64}"]
    expected = builds.check(**GIVEN)
    assert (daemon.builds, expected["digest"], expected["engine"]) == ([], None, "docker 20.10.24")
    result = run(builds)
    again = builds.check(**GIVEN)
    assert (again["changed"], again["digest"], len(daemon.builds)) == (False, result["digest"], 1)
    assert (result["reproducible"], result["status"]) == (False, "built")
    assert nothing_is_left(builds, daemon)


def test_daemon_gets_the_context_as_a_build_reads_it(builds, daemon):
    (builds.context / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    os.chmod(builds.context / "site/index.html", 0o600)
    run(builds)
    (found,) = daemon.builds
    name = found.options["dockerfile"]
    text = found.files.pop(name)[1].decode()
    assert found.files == {
        ".dockerignore": (0o644, f".dockerignore\n{name}\n".encode()),
        "site": (0o755, b""),
        "site/index.html": (0o644, b"hello"),
        "site/run": (0o755, b"#!/bin/sh\n"),
    }
    assert text.startswith("\n\nFROM --platform=linux/amd64 localhost/lockstep-build:")
    assert text.endswith("-0 AS lockstep-1\nARG W\nARG TARGETARCH\nRUN make\nCOPY site /site\n")
    assert (found.options["target"], found.options["platform"]) == ("lockstep-1", "linux/amd64")
    args = {"W": "s3cret", "TARGETARCH": "amd64"}
    assert json.loads(found.options["buildargs"]) == args


def test_layers_of_the_base_stay_and_new_ones_get_the_compression_of_the_task(builds):
    result = run(builds, compression="none", format="docker")
    base = demo_image("app", "1", size=100).images[0]
    layers = read_manifest(builds.path, result["digest"])["layers"]
    assert [one["digest"] for one in layers[:3]] == [one.digest for one in base.layers]
    assert layers[3]["digest"] == result["layers"][0]["diff_id"]
    assert "s3cret" not in result["layers"][0]["created_by"]


def test_base_that_the_daemon_has_stays(builds, daemon):
    run(builds)
    raw = demo_image("app", "1", size=100).images[0].config
    config, diff_ids = str(Digest.of(raw)), json.loads(raw)["rootfs"]["diff_ids"]
    for names in ((), ("r.example/mine:1",)):
        daemon.images = []
        daemon.add(config, *names)
        daemon.layers = {config: diff_ids}
        daemon.loads.clear()
        run(builds, args={"W": str(names)})
        assert [(one["Id"], one["RepoTags"]) for one in daemon.images] == [(config, list(names))]
        assert daemon.loads == []


def test_failure_shows_no_argument_and_keeps_nothing(builds, daemon):
    daemon.steps = [f"sha256:{'b' * 64}"]
    text = "The command '/bin/sh -c echo s3cret' returned a non-zero code: 3"
    daemon.failure = {"errorDetail": {"code": 3, "message": text}, "error": text}
    with pytest.raises(
        BuildFailedError, match=r"docker build ended with status 3: .*echo \*{8}'"
    ) as caught:
        run(builds)
    assert caught.value.details == {"engine": "docker 20.10.24", "status": 3}
    assert nothing_is_left(builds, daemon)


def test_daemon_that_ends_in_a_build_keeps_nothing(builds, daemon, monkeypatch):
    monkeypatch.setattr(type(daemon), "build", lambda *_given: 1 / 0)
    with pytest.raises(EngineGoneError):
        run(builds)
    assert nothing_is_left(builds, daemon)
    assert builds.check(**GIVEN)["status"] == "built"


def test_layer_that_is_not_its_diff_id_is_refused(builds, daemon, monkeypatch):
    build = type(daemon).build

    def other(self, *given):
        yield from build(self, *given)
        name, *_others = self.saved
        self.saved[name] = self.saved[name].replace(b"made", b"evil")

    monkeypatch.setattr(type(daemon), "build", other)
    with pytest.raises((DigestMismatchError,)):
        run(builds)
    assert nothing_is_left(builds, daemon)


@pytest.mark.parametrize(
    ("count", "reason"),
    [(0, "has 0 images instead of one"), (1, "no image of one platform"), (2, "has 2")],
)
def test_archive_of_anything_but_one_image_is_refused(builds, daemon, monkeypatch, count, reason):
    build = type(daemon).build
    kind = "application/vnd.oci.image.index.v1+json"
    texts = [
        json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [], "n": n}) for n in (1, 2)
    ]
    blobs = {hashlib.sha256(one.encode()).hexdigest(): one.encode() for one in texts}
    entries = [
        {"mediaType": kind, "digest": f"sha256:{name}", "size": len(data)}
        for name, data in blobs.items()
    ]
    index = {"schemaVersion": 2, "manifests": entries[:count]}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
    }
    files.update({f"blobs/sha256/{name}": data for name, data in blobs.items()})

    def other(self, *given):
        yield from build(self, *given)
        self.saved = dict.fromkeys(self.saved, archive_of(files))

    monkeypatch.setattr(type(daemon), "build", other)
    with pytest.raises(ManifestError, match=reason):
        run(builds)
    assert nothing_is_left(builds, daemon)


def test_here_document_is_refused_before_the_build(builds, daemon):
    builds.write("FROM scratch\nRUN <<E\nmake\nE\n")
    with pytest.raises(BuildUnsupportedError, match="Dockerfile:2: the builder of Docker"):
        run(builds)
    assert daemon.builds == []


def test_names_of_killed_tasks_are_removed_by_the_next_one(builds, daemon):
    daemon.add(f"sha256:{'d' * 64}", "localhost/lockstep-build:dead-0")
    run(builds)
    assert nothing_is_left(builds, daemon)
