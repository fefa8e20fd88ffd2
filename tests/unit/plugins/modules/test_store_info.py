# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module store_info, as Ansible runs it."""

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
from ansible_collections.lockstep.images.tests.support.layout import fingerprint
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    pull,
    whole_tree,
)

APP = "registry.example/app:1"


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    sources = FakeSources()
    sources.publish(APP, demo_image("app", "1", size=200))
    pull(ImageStore(str(tmp_path / "store")), sources, APP, platforms=[AMD64, ARM64])
    return tmp_path / "store"


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("store_info", monkeypatch) == documented_options("store_info")


@pytest.mark.parametrize("layers", [True, False])
def test_results_are_documented_and_nothing_is_changed(path, layers):
    before = whole_tree(path)
    for outcome in four_times("store_info", store=str(path), layers=layers, missing=("requests",)):
        result = outcome.result
        assert_as_documented("store_info", result)
        assert (result["changed"], "layers" in result) == (False, layers)
        assert (result["names"], result["images"], result["fingerprint"]) == (
            1,
            2,
            fingerprint(path),
        )
    assert whole_tree(path) == before


def test_missing_store_counts_as_empty(tmp_path):
    outcome = run("store_info", store=str(tmp_path / "none"), layers=True)
    assert_as_documented("store_info", outcome.result)
    assert (outcome.result["names"], outcome.result["layers"]) == (0, [])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "kind"), [("oci-layout", "not-a-layout"), ("index.json", "store-corrupt")]
)
def test_a_failure_names_its_kind(path, name, kind):
    (path / name).write_text("x")
    outcome = run("store_info", store=str(path))
    assert (outcome.failed, outcome.kind) == (True, kind)
    assert "Traceback" not in outcome.stdout + outcome.stderr
