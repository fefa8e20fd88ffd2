# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same image, pulled by dockerd and by image_pull from one registry: both report the same.

docs/from-docker.md lists where they differ. All of that is here, so that a new difference is noticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lockstep.images.tests.support import images, services
from ansible_collections.lockstep.images.tests.support.fleet import (
    INFO,
    PULL,
    Registry,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.playbook import (
    PlayRunner,
    local_host,
    one_task,
)
from ansible_collections.lockstep.images.tests.support.services_process import run

REPOSITORY = "lockstep/like-docker"
CONFIG = {
    "Cmd": ["/opt/sample/run"],
    "Entrypoint": ["/bin/sh", "-c"],
    "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"version": "1"},
    "User": "nobody",
    "WorkingDir": "/opt",
}
# Docker makes these up or measures them otherwise; image_info has them too.
OTHER_VALUES = {"Size"}
# Docker reports nothing, or something that only a daemon knows.
DOCKER_ALONE = {
    "Container", "ContainerConfig", "GraphDriver", "Metadata", "Parent", "VirtualSize", "Descriptor",
    "Identity",
}  # fmt: skip


@dataclass(frozen=True)
class Both:
    """The data of one image, from Docker and from image_info."""

    name: str
    digest: str
    inspect: dict[str, Any]
    history: list[dict[str, Any]]
    rows: list[list[str]]
    layer_directories: set[str]
    told: dict[str, Any]


@pytest.fixture(scope="module", params=["oci", "docker"])
def both(
    request: pytest.FixtureRequest, workspace: Path, play: PlayRunner, registry_plain: Registry
) -> Iterator[Both]:
    """Provide one image of three layers and a history, in the media types of OCI and of Docker."""
    need_programs("docker", "dockerd", "containerd")
    kind = request.param
    directory = workspace / f"like-docker-{kind}"
    item = images.image(
        [images.layer({f"opt/part-{number}": b"%d" % number * 4096}) for number in range(3)],
        config={"author": "somebody", "config": CONFIG, "history": _history()},
        docker=kind == "docker",
    )
    images.upload(registry_plain.service.url, REPOSITORY, item, kind)
    name = f"{registry_plain.address}/{REPOSITORY}:{kind}"
    store = os.fspath(directory / "store")
    inventory = play.inventory({"one": local_host(directory, store=store)})
    play(one_task(PULL, name=[name], store=store), inventory).ok()
    (told,) = play(one_task(INFO, name=[name], store=store), inventory).ok().one(INFO)["images"]
    with (
        services.containerd(directory / "c") as runtime,
        services.dockerd(directory / "d", runtime.address) as daemon,
    ):
        env = services.docker_env(daemon, directory / "client")
        run(["docker", "pull", "--quiet", name], env=env)
        yield Both(
            name,
            item.digest,
            json.loads(run(["docker", "image", "inspect", name], env=env))[0],
            _json_lines(
                run(["docker", "image", "history", *AS_JSON, "--human=false", name], env=env)
            ),
            [
                line.split()
                for line in run(["docker", "image", "ls", *AS_ROWS], env=env).splitlines()
            ],
            {one.name for one in (directory / "d/data/image").glob("*/layerdb/sha256/*")},
            told,
        )


AS_JSON = ["--no-trunc", "--format", "{{json .}}"]
AS_ROWS = ["--no-trunc", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}"]


def _history() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [
        {"created": images.CREATED, "created_by": f"COPY part-{number} /opt/"}
        for number in range(3)
    ]
    steps[1]["comment"] = "the second"
    empty = {"created": images.CREATED, "created_by": "CMD run", "empty_layer": True}
    return [steps[0], empty, *steps[1:]]


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_field_of_inspect_is_dockers_or_a_known_difference(both: Both) -> None:
    ours, theirs = both.told["inspect"], both.inspect
    for key in sorted(set(ours) - OTHER_VALUES - {"Config"}):
        # A field that is empty is missing in some versions of Docker, and empty in others.
        assert (ours[key] or None) == (theirs.get(key) or None), key
    assert set(theirs) - set(ours) <= DOCKER_ALONE | {"LastTagTime"}


def test_container_configuration_matches_docker_without_empty_fields(both: Both) -> None:
    theirs = {
        key: value
        for key, value in both.inspect["Config"].items()
        if value not in ("", None, False)
    }
    # Old versions of Docker put the ID of an image here.
    theirs.pop("Image", None)
    assert theirs == both.told["inspect"]["Config"] == CONFIG


def test_the_list_of_images_has_the_same_name_digest_and_id(both: Both) -> None:
    assert both.rows == [[both.told["name"], both.told["digest"], both.told["id"]]]
    assert both.told["digest"] == both.digest


def test_size_is_the_size_of_the_stored_content(both: Both) -> None:
    assert both.told["inspect"]["Size"] == both.told["size"] != both.inspect["Size"]


def test_the_history_has_the_same_steps_in_reverse(both: Both) -> None:
    ours = [
        (step["created_by"], step["comment"], step["empty_layer"])
        for step in reversed(both.told["history"])
    ]
    theirs = [(step["CreatedBy"], step["Comment"], int(step["Size"]) == 0) for step in both.history]
    assert ours == theirs
    assert len(ours) == 4


def test_the_chain_ids_are_the_names_of_the_layer_directories(both: Both) -> None:
    assert {layer["chain_id"] for layer in both.told["layers"]} == {
        f"sha256:{name}" for name in both.layer_directories
    }
    assert len(both.layer_directories) == 3
