# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a host whose only result is that of image_sync, by the real modules."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.filter.report import report
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    layer,
    push,
)
from ansible_collections.lockstep.images.tests.support.modules import run
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import AMD64, ARM64


@pytest.mark.parametrize("platforms", [["all"], [AMD64], [AMD64, ARM64]], ids=str)
def test_sync_that_finds_no_difference_says_what_the_modules_that_read_the_store_say(
    tmp_path, platforms
):
    path, store = tmp_path / "images.lock.yml", str(tmp_path / "store")
    with Registry() as registry:
        push(registry, "demo/app", demo_image("app", "1", size=500), "1")
        push(registry, "demo/proven", demo_image("proven", "1", attestations=True, size=500), "1")
        push(registry, "demo/alone", image([layer({"a": b"b"}, compression=None)] * 2), "1")
        names = [f"{registry.address}/demo/{name}:1" for name in ("app", "proven", "alone")]
        run(
            "image_lock",
            path=str(path),
            name=names,
            platform=platforms,
            allow_platform_mismatch=True,
        )
        lock = read_lock(str(path), "images.lock.yml")
        run("image_sync", lock=lock, store=store)
    found = run("image_sync", check=True, lock=lock, store=store).result
    read = {"info": run("image_info", store=store).result}
    read["store"] = run("store_info", store=store).result
    read["store"]["file_system"]["free"] = found["stats"]["store_free"]  # others write there too
    assert len(read["info"]["images"]) >= 3
    assert report({"one": {"sync": found}}) == report({"one": {**read, "sync": found}})
    assert report({"one": {"sync": found}})["hosts"][0]["status"] == "same"
