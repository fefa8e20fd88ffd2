# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_receive, as the action plugins run it, and what other modules say without them."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.documented import (
    argument_spec,
    assert_as_documented,
    documented_options,
)
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.modules import run
from ansible_collections.lockstep.images.tests.support.stores import pull

NAME = "docker.io/library/app:1"
IMAGE = demo_image("app", "1", platforms=("linux/amd64",), size=200)


@pytest.mark.parametrize("module", ["image_receive", "image_pull", "image_sync"])
def test_options_are_as_documented(module, monkeypatch):
    assert argument_spec(module, monkeypatch) == documented_options(module)


def test_complete_image_needs_no_registry_and_its_result_is_as_documented(tmp_path):
    sources = FakeSources()
    sources.publish(NAME, IMAGE)
    store = ImageStore(str(tmp_path / "store"))
    pull(store, sources, NAME)
    options = {
        "name": [f"{NAME}@{IMAGE.digest}"],
        "store": store.path,
        "manifests": {},
        "platform": ["linux/amd64"],
    }
    result = run("image_receive", missing=("requests",), **options).result
    assert not result["changed"] and result["stats"]["requests"] == {}
    assert_as_documented("image_receive", result)


def test_content_that_the_controller_did_not_send_is_a_documented_failure(tmp_path):
    options = {"name": [f"{NAME}@{IMAGE.digest}"], "store": str(tmp_path), "manifests": {}}
    result = run("image_receive", missing=("requests",), **options).result
    assert result["error"]["kind"] == "not-in-store"
    assert f"the controller has not sent {IMAGE.digest}" in result["msg"]
    assert_as_documented("image_receive", result, "failure")


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("image_pull", {"name": [NAME]}),
        ("image_sync", {"lock": {"lockfile_version": 1, "images": []}}),
    ],
)
def test_module_without_its_action_plugin_refuses_to_receive(tmp_path, module, options):
    store = tmp_path / "store"
    result = run(module, source="controller", store=str(store), **options).result
    assert result["msg"] == "source=controller needs the action plugin"
    assert result["error"]["kind"] == "invalid-input" and not store.exists()
