# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prune and remove while others pull, each a process of its own, from docker-registry.

Two loops pull images whose layers are partly the same, and drop one of them in between, so that
there is always something that has just become garbage and is about to be needed again.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.lockstep.images.tests.support import images, layout, modules
from ansible_collections.lockstep.images.tests.support.fleet import DEMO, Registry, need_programs

ROUNDS = 8
VERSIONS = ("1", "2")


def succeed(module: str, **options: Any) -> dict[str, Any]:
    """Run a module, which must not fail."""
    outcome = modules.run(module, **options)
    assert not outcome.failed, outcome.result
    return outcome.result


def test_pulled_images_are_complete_although_the_store_is_pruned_meantime(
    registry_plain: Registry, directory: Path
) -> None:
    common = {"store": str(directory / "store"), **registry_plain.options()}
    names = {}
    for app, version in itertools.product(("one", "two"), VERSIONS):
        repository = f"lockstep/pruned-{app}"
        # Both have the same layers, except the last one of each version.
        item = images.demo_image("pruned", version, size=300_000)
        if app == "two":
            item = images.demo_image("pruned", f"{version}-{app}", size=300_000)
        images.upload(registry_plain.service.url, repository, item, version)
        names[app, version] = f"{registry_plain.address}/{repository}:{version}"
    # A slow pull, so that a prune happens in the meantime.
    slowly = {"platform": ["linux/amd64"], "requests_per_second": 6}
    # A pull that begins before there is a lock may be refused.
    succeed("image_pull", name=[names["one", "1"]], **slowly, **common)
    ended = threading.Event()

    def pull(app: str) -> None:
        for number in range(ROUNDS):
            name = names[app, VERSIONS[number % 2]]
            other = names[app, VERSIONS[(number + 1) % 2]]
            succeed("image_pull", name=[name], **slowly, **common)
            assert succeed("store_verify", mode="full", **common)["ok"]
            succeed("image_remove", name=[other], prune=number % 3 == 0, **common)

    def prune() -> list[int]:
        removed = []
        while not ended.is_set():
            removed.append(len(succeed("store_prune", **common)["removed"]))
        return removed

    with ThreadPoolExecutor() as pool:
        pruning = pool.submit(prune)
        pulls = [pool.submit(pull, app) for app in ("one", "two")]
        try:
            for one in pulls:
                one.result()
        finally:
            ended.set()
        removed = pruning.result()
    assert sum(removed) > 0
    verified = succeed("store_verify", mode="full", **common)
    assert (verified["ok"], verified["foreign"]) == (True, [])
    left = [names[app, VERSIONS[(ROUNDS - 1) % 2]] for app in ("one", "two")]
    assert list(layout.names(directory / "store")) == left
    succeed("store_prune", **common)
    alone = {**common, "store": str(directory / "alone")}
    succeed("image_pull", name=left, platform=["linux/amd64"], **alone)
    assert layout.tree(directory / "store") == layout.tree(directory / "alone")


def test_a_store_that_skopeo_wrote_is_tagged_verified_and_pruned(
    registry_plain: Registry, directory: Path, small_images: dict[str, str]
) -> None:
    """It has no lock file and calls an image as the user likes."""
    need_programs("skopeo")
    store = directory / "store"
    for tag, name in (("v1", "latest"), ("v2", "registry.example/demo:2")):
        source = f"docker://{registry_plain.address}/{DEMO}:{tag}"
        subprocess.run(
            ["skopeo", "copy", "--src-tls-verify=false", source, f"oci:{store}:{name}"],
            check=True,
            capture_output=True,
        )
    common = {"store": str(store), **registry_plain.options()}
    verified = succeed("store_verify", mode="full", **common)
    assert (verified["ok"], verified["foreign"]) == (True, [])
    assert succeed("store_info", **common)["reclaimable"] == 0
    assert not succeed("store_prune", **common)["changed"]
    repository = ["registry.example/demo:3"]
    assert succeed("image_tag", name="registry.example/demo:2", repository=repository, **common)[
        "changed"
    ]
    removed = succeed("image_remove", name=["latest", "registry.example/demo:2"], **common)
    assert [entry["name"] for entry in removed["removed"]] == ["latest", "registry.example/demo:2"]
    assert list(layout.names(store)) == repository
    verified = succeed("store_verify", mode="full", **common)
    assert (verified["ok"], succeed("store_info", **common)["reclaimable"]) == (True, 0)
    assert succeed("image_remove", name=["registry.example/*:*"], **common)["bytes_freed"] > 0
    assert list(store.glob("blobs/*/*")) == []
