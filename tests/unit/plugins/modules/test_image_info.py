# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_info, as Ansible runs it."""

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
from ansible_collections.lockstep.images.tests.support.layout import blob_path, fingerprint
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import AMD64, ARM64, pull, whole_tree

APP = "docker.io/library/app:1"


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    """Return a store with an image for two platforms."""
    sources = FakeSources()
    sources.publish(APP, demo_image("app", "1", size=200))
    pull(ImageStore(str(tmp_path / "store")), sources, APP, platforms=[AMD64, ARM64])
    return tmp_path / "store"


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_info", monkeypatch) == documented_options("image_info")


def test_results_are_documented_and_nothing_is_changed(path):
    before = whole_tree(path)
    for outcome in four_times("image_info", store=str(path), name=["app:1", "none"]):
        assert_as_documented("image_info", outcome.result)
        assert outcome.result["changed"] is False
        assert [entry["platform"] for entry in outcome.result["images"]] == [AMD64, ARM64]
        assert outcome.result["missing"] == ["docker.io/library/none:latest"]
        assert outcome.result["fingerprint"] == fingerprint(path)
    assert whole_tree(path) == before


def test_incomplete_image_is_reported_as_documented(path):
    blob_path(path, demo_image("app", "1", size=200).digest).unlink()
    result = run("image_info", store=str(path)).result
    assert_as_documented("image_info", {**result, "images": []})
    (entry,) = result["images"]
    assert (entry["name"], entry["complete"], entry["inspect"]) == (APP, False, {})


def test_missing_store_counts_as_empty(tmp_path):
    outcome = run("image_info", store=str(tmp_path / "none"), missing=("requests",))
    assert_as_documented("image_info", outcome.result)
    assert outcome.result["images"] == []
    assert not (tmp_path / "none").exists()


def test_tilde_in_the_path_of_the_store_is_expanded(path):
    outcome = run("image_info", store="~/store", env={"HOME": str(path.parent)})
    assert outcome.result["store"] == str(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [({"oci-layout": b"x"}, "not-a-layout"), ({"index.json": b"x"}, "store-corrupt")],
    ids=["not-a-layout", "store-corrupt"],
)
def test_a_failure_names_its_kind(path, content, kind):
    for name, data in content.items():
        (path / name).write_bytes(data)
    outcome = run("image_info", store=str(path))
    assert (outcome.failed, outcome.kind) == (True, kind)
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert str(path) in outcome.result["msg"]


def test_invalid_name_is_an_error(path):
    assert run("image_info", store=str(path), name=["a b"]).kind == "invalid-reference"
