# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layouts that skopeo has written are adopted: each image gets the name it has in a registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import images, layout, modules
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.services_process import run

APP = images.demo_image("app", "1", layers=2)


@pytest.fixture(name="registry")
def fixture_registry() -> Iterator[Registry]:
    with Registry() as registry:
        images.push(registry, "demo/app", APP, "1.0")
        yield registry


@pytest.mark.parametrize("called", [":1.0", ":docker.io/library/app:1.0", ":App+final", ""])
def test_F12_a_layout_of_skopeo_is_adopted(
    registry: Registry, directory: Path, called: str
) -> None:
    need_programs("skopeo")
    store = os.fspath(directory / "store")
    source = f"docker://{registry.address}/demo/app:1.0"
    skopeo = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--all"]
    run([*skopeo, source, f"oci:{store}{called}"])
    shown = modules.run("image_info", store=store).result["images"]
    (name,) = {one["name"] for one in shown}
    assert name == (called[1:] or APP.digest) and all(one["complete"] for one in shown)
    target = f"{registry.address}/adopted/app:1.0"
    assert not modules.run("image_tag", name=name, repository=[target], store=store).failed
    assert layout.names(directory / "store")[target]["digest"] == APP.digest
    assert not modules.run("image_push", name=[target], store=store).failed
    assert registry.storage.tags("adopted/app") == ["1.0"]
    # What it was called before can go, and nothing goes with it.
    removed = modules.run("image_remove", name=[name], store=store).result
    assert [one["name"] for one in removed["removed"]] == [name]
    assert modules.run("store_verify", mode="full", store=store).result["ok"]
    run(["skopeo", "inspect", "--raw", f"oci:{store}:{target}"])
