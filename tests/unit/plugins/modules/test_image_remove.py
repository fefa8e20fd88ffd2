# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module image_remove, as Ansible runs it."""

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
from ansible_collections.lockstep.images.tests.support.layout import blob_path, names
from ansible_collections.lockstep.images.tests.support.modules import four_times
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    blobs,
    pull,
    whole_tree,
)

NAMES = [f"registry.example/{name}:{tag}" for name in ("app", "web") for tag in "12"]


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    sources = FakeSources()
    for name in NAMES:
        sources.publish(name, demo_image(name[17:20], name[-1], size=200))
    pull(ImageStore(str(tmp_path / "store")), sources, *NAMES)
    return tmp_path / "store"


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("image_remove", monkeypatch) == documented_options("image_remove")


@pytest.mark.parametrize("prune", [True, False])
def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(path, prune):
    before = blobs(path)
    options = {"name": ["registry.example/app:*", "none:1"], "keep_newest": 1, "prune": prune}
    outcomes = four_times("image_remove", store=str(path), missing=("requests",), **options)
    check, real, check_again, again = (one.result for one in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        assert all(
            one[key] == other[key] for key in ("removed", "kept", "bytes_freed", "actions", "diff")
        )
    assert [entry["name"] for entry in real["removed"]] == NAMES[:1]
    assert real["kept"] == again["kept"] == NAMES[1:2]
    assert (real["bytes_freed"] > 0) == prune == (blobs(path) < before)
    assert set(names(path)) == set(NAMES[1:])
    assert_valid_store(path)
    for outcome in outcomes:
        assert_as_documented("image_remove", outcome.result)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"name": ["registry.example/app:*", "a b"]}, "invalid-input"),
        ({"keep_newest": -1}, "invalid-input"),
        ({}, "store-corrupt"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(path, options, kind):
    if kind == "store-corrupt":
        blob_path(path, demo_image("web", "1", size=200).digest).write_bytes(b"x")
    before = whole_tree(path)
    params = {"name": ["registry.example/app:*"], **options}
    for outcome in four_times("image_remove", store=str(path), **params):
        assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
        assert "Traceback" not in outcome.stdout + outcome.stderr
    assert whole_tree(path) == before
