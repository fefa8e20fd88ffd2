# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The services that other tests stand on start by hand, do their work, and leave nothing behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import layout, services
from ansible_collections.lockstep.images.tests.support.fleet import DEMO, Registry, need_programs
from ansible_collections.lockstep.images.tests.support.services_process import (
    ServiceError,
    kill_leftovers,
    program,
    run,
    running,
    unmount_below,
)


def test_docker_builds_and_pushes_with_daemons_of_its_own(
    directory: Path, registry_plain: Registry
) -> None:
    need_programs("containerd", "dockerd", "docker")
    context = directory / "context"
    context.mkdir()
    (context / "hello").write_text("hello\n")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY hello /\n")
    name = f"{registry_plain.address}/lockstep/built:1"
    with contextlib.ExitStack() as stack:
        runtime = stack.enter_context(services.containerd(directory / "c"))
        daemon = stack.enter_context(services.dockerd(directory / "d", runtime.address))
        env = services.docker_env(daemon, directory / "client")
        docker = program("docker")
        run([docker, "build", "--network", "host", "--tag", name, context], env=env)
        run([docker, "push", name], env=env)
        told = run([docker, "image", "inspect", "--format", "{{.RepoDigests}}", name], env=env)
    said = layout.read_served_manifest(registry_plain.service.url, "lockstep/built", "1")
    assert said.digest in told
    assert said.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert kill_leftovers(directory) == [] and unmount_below(directory) == []


def test_a_mirror_serves_what_its_origin_holds(
    directory: Path, registry_plain: Registry, small_images: dict[str, str]
) -> None:
    origin = registry_plain.service.url
    with services.docker_registry(directory / "mirror", proxy_of=origin) as mirror:
        assert layout.read_served_manifest(mirror.url, DEMO, "v1").digest == small_images["v1"]


def test_a_service_that_cannot_start_shows_its_log(directory: Path) -> None:
    log = directory / "service.log"
    command = [program("sh"), "-c", "echo out of order; exit 3"]
    service = running(command, directory=directory, log=log, ready=lambda: False)
    with pytest.raises(ServiceError, match=r"(?s)status 3.*out of order"), service:
        pass
