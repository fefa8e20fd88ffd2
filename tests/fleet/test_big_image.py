# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real image of over 500 MB and six layers: identical, in little memory, and accepted by others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import layout, services
from ansible_collections.lockstep.images.tests.support.bigimage import (
    LAYERS,
    MIN_BYTES,
    REPOSITORY,
    BigImage,
)
from ansible_collections.lockstep.images.tests.support.fleet import (
    PULL,
    Pulled,
    need_programs,
)
from ansible_collections.lockstep.images.tests.support.services_process import run

MAX_PEAK = 96 << 20

# Each takes four runs of a playbook. test_real_registry.py has the other pairs, with small images.
DOCKER, OCI = ("htpasswd", "docker"), ("tls", "oci")
EVERYWHERE = [DOCKER, OCI]
# skopeo and podman look up a name in a layout among OCI manifests and indexes only
# (containers/image, oci/layout, getIndexDescriptor), so a name of Docker schema 2, kept as it is,
# is not there for them.
BY_OCI_NAME = [
    OCI,
    pytest.param(DOCKER, marks=pytest.mark.xfail(strict=True, reason="not an OCI manifest")),
]


def by_parameter(parameters: Sequence[object]) -> pytest.MarkDecorator:
    """Run a test on these pulls."""
    return pytest.mark.parametrize("pulled", parameters, indirect=True, ids=_identify)


def _identify(parameter: object) -> str:
    return "-".join(parameter) if isinstance(parameter, tuple) else str(parameter)


@by_parameter(EVERYWHERE)
def test_the_store_holds_what_the_registry_holds(pulled: Pulled, big_image: BigImage) -> None:
    registry = pulled.registry
    said = layout.read_served_manifest(
        registry.service.url, REPOSITORY, pulled.kind, **registry.upload_options()
    )
    entry = layout.names(pulled.store)[pulled.name]
    assert entry["digest"] == said.digest == big_image.digests[pulled.kind]
    assert entry["mediaType"] == said.media_type
    assert layout.blob_path(pulled.store, said.digest).read_bytes() == said.raw
    layers = layout.read_manifest(pulled.store, said.digest)["layers"]
    assert [layer["digest"] for layer in layers] == list(big_image.layers)
    assert len(layers) == LAYERS and sum(layer["size"] for layer in layers) > MIN_BYTES
    assert layout.bad_blobs(pulled.store) == []


@by_parameter(EVERYWHERE)
def test_result_counts_the_transferred_bytes(pulled: Pulled, big_image: BigImage) -> None:
    done, again = pulled.runs[1].one(PULL), pulled.runs[3].one(PULL)
    (image,) = done["images"]
    assert image["status"] == "downloaded" and image["digest"] == big_image.digests[pulled.kind]
    assert [layer["digest"] for layer in image["layers"]] == list(big_image.layers)
    # The layers, and the few kilobytes of manifest and configuration.
    assert big_image.size <= done["stats"]["bytes_fetched"] <= big_image.size + 100_000
    assert again["images"][0]["status"] == "up_to_date"
    assert again["stats"]["bytes_fetched"] == 0


@by_parameter(EVERYWHERE)
def test_the_module_process_stays_small(pulled: Pulled) -> None:
    assert len(pulled.peaks) == len(pulled.runs)
    assert max(pulled.peaks) < MAX_PEAK


@by_parameter(BY_OCI_NAME)
def test_skopeo_inspects_the_store_by_name(pulled: Pulled, directory: Path) -> None:
    need_programs("skopeo")
    target = f"oci:{pulled.store}:{pulled.name}"
    digest = run(["skopeo", "inspect", "--format", "{{.Digest}}", target]).strip()
    assert digest == layout.names(pulled.store)[pulled.name]["digest"]
    run(["skopeo", "copy", "--quiet", "--preserve-digests", target, f"dir:{directory}/copy"])
    shutil.rmtree(directory / "copy")


@by_parameter(BY_OCI_NAME)
def test_podman_pulls_from_the_store(pulled: Pulled, directory: Path) -> None:
    need_programs("podman")
    with services.podman_env(directory / "podman") as env:
        found = run(
            ["podman", "pull", "--quiet", f"oci:{pulled.store}:{pulled.name}"], env=env
        ).strip()
        manifest = layout.read_manifest(
            pulled.store, layout.names(pulled.store)[pulled.name]["digest"]
        )
        assert f"sha256:{found}" == manifest["config"]["digest"]


@by_parameter(EVERYWHERE)
def test_containerd_imports_a_tar_of_the_store(pulled: Pulled, directory: Path) -> None:
    need_programs("containerd", "ctr")
    with services.containerd(directory / "containerd") as daemon:
        archive = directory / "store.tar"
        run(["tar", "-C", pulled.store, "--exclude=./.staging", "-cf", archive, "."])
        ctr = ["ctr", "--address", daemon.address, "images"]
        # Importing checks every digest; unpacking would only cost time.
        run([*ctr, "import", "--no-unpack", archive])
        archive.unlink()
        rows = [line.split() for line in run([*ctr, "ls"]).splitlines()[1:]]
    entry = layout.names(pulled.store)[pulled.name]
    assert [row[:3] for row in rows] == [[pulled.name, entry["mediaType"], entry["digest"]]]
