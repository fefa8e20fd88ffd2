# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module store_prune, as Ansible runs it."""

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
from ansible_collections.lockstep.images.tests.support.modules import four_times, run
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    leftovers,
    pull,
    whole_tree,
)

APP = "registry.example/app:1"


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    """Return a store whose tag has moved, with what a dead writer left."""
    sources = FakeSources()
    for version in "12":
        sources.publish(APP, demo_image("app", version, size=200))
        pull(ImageStore(str(tmp_path / "store")), sources, APP)
    (tmp_path / "store" / ".staging" / "part-0123").write_bytes(b"half")
    return tmp_path / "store"


def test_options_are_as_documented(monkeypatch):
    assert argument_spec("store_prune", monkeypatch) == documented_options("store_prune")


@pytest.mark.parametrize("staging", [True, False])
def test_check_mode_reports_the_real_run_and_a_second_run_changes_nothing(path, staging):
    outcomes = four_times("store_prune", store=str(path), staging=staging, missing=("requests",))
    check, real, check_again, again = (one.result for one in outcomes)
    assert [one["changed"] for one in (check, real, check_again, again)] == [
        True,
        True,
        False,
        False,
    ]
    for one, other in ((check, real), (check_again, again)):
        assert all(
            one[key] == other[key]
            for key in ("removed", "staged", "bytes_freed", "actions", "diff")
        )
    # The index, the manifest, the config and the last layer of the older one.
    assert (len(real["removed"]), len(real["staged"])) == (4, int(staging))
    assert len(leftovers(path)) == 1 - int(staging)
    assert_valid_store(path)
    for outcome in outcomes:
        assert_as_documented("store_prune", outcome.result)


def test_younger_content_stays(path):
    outcome = run("store_prune", store=str(path), older_than="1h", staging=False)
    assert_as_documented("store_prune", outcome.result)
    assert outcome.result["changed"] is False


@pytest.mark.parametrize(
    ("options", "content", "kind"),
    [
        ({"older_than": "soon"}, {}, "invalid-input"),
        ({}, {"oci-layout": "x"}, "not-a-layout"),
        ({}, {"index.json": "x"}, "store-corrupt"),
        ({}, {"index.json": '{"manifests": [{}]}'}, "store-corrupt"),
    ],
)
def test_a_failure_names_its_kind_and_changes_nothing(path, options, content, kind):
    for name, text in content.items():
        (path / name).write_text(text)
    before = whole_tree(path)
    for outcome in four_times("store_prune", store=str(path), **options):
        assert (outcome.failed, outcome.kind, outcome.result["changed"]) == (True, kind, False)
        assert "Traceback" not in outcome.stdout + outcome.stderr
    assert whole_tree(path) == before
