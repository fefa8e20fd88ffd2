# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs that only pass through a store: what a killed task leaves of them, and what removes it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._operations.prune import (
    plan_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.transit import (
    TransitStore,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.stores import blobs, whole_tree

WHOLE, OTHER, CUT = (blob(letter * 500) for letter in (b"w", b"o", b"c"))
DAY = 86400.0


@pytest.fixture(name="home")
def fixture_home(tmp_path):
    """A store without images, in which a killed task has left two blobs and a part of a third."""
    home = ImageStore(str(tmp_path / "store"))
    transit = TransitStore(home)
    with home.hold(), transit.hold(exclusive=True):
        home.prepare()
        transit.prepare()
        transit.write(WHOLE, [b"w" * 500])
        transit.write(OTHER, [b"o" * 500])
        with transit.open_partial(CUT) as part:
            part.write(0, b"c" * 100)
    return home


@pytest.fixture(name="transit")
def fixture_transit(home):
    return TransitStore(home)


def names(paths):
    return sorted(os.path.basename(path) for path in paths)


def make_old(transit, days):
    for directory, _directories, files in os.walk(transit.path):
        for name in files:
            when = time.time() - days * DAY
            os.utime(os.path.join(directory, name), (when, when))


ALL = sorted([WHOLE.digest.encoded, OTHER.digest.encoded, f"sha256-{CUT.digest.encoded}.part"])


def test_leftovers_are_what_is_older_than_the_age(transit):
    assert names(transit.leftovers(DAY)) == []
    make_old(transit, 2)
    assert names(transit.leftovers(DAY)) == ALL
    assert names(transit.leftovers(3 * DAY)) == []


def test_clear_leaves_no_blob(transit):
    with transit.hold(exclusive=True):
        transit.clear()
    assert names(transit.leftovers(-1)) == []
    assert transit.staging() == {"blobs": 0, "bytes": 0}


def test_keep_only_drops_other_blobs_whole_or_not(transit):
    transit.keep_only({WHOLE.digest, CUT.digest})
    assert transit.has(WHOLE)
    assert not transit.has(OTHER)
    assert transit.staged(CUT) == 100
    transit.keep_only({WHOLE.digest})
    assert transit.has(WHOLE)
    assert transit.staging() == {"blobs": 0, "bytes": 0}


def test_drop_removes_a_part_too(transit):
    transit.drop(CUT.digest)
    assert transit.staging() == {"blobs": 0, "bytes": 0}
    assert transit.has(WHOLE)


def test_bytes_of_a_part_are_those_of_its_file(transit):
    assert [transit.used_by(one) for one in (WHOLE, CUT, blob(b"n"))] == [500, 100, 0]


def test_store_that_never_had_any_has_no_leftovers(tmp_path):
    assert list(TransitStore(ImageStore(str(tmp_path / "none"))).leftovers(-1)) == []


def test_prune_removes_what_no_task_has_written_to_for_a_week(home, transit):
    def prune(staging=True):
        with home.hold(exclusive=True):
            plan = plan_prune(home, older_than=0, staging=staging)
            before = whole_tree(Path(transit.path))
            promised = dry_run(plan).result()
            assert whole_tree(Path(transit.path)) == before
            return promised, execute(plan).result()

    assert prune()[1]["staged"] == []
    make_old(transit, 8)
    assert prune(staging=False)[1]["staged"] == []
    promised, done = prune()
    assert promised == done
    assert sorted(done["staged"]) == ALL
    assert done["bytes_freed"] > 0
    assert names(transit.leftovers(-1)) == []


def test_prune_by_age_removes_what_is_older(home, transit):
    make_old(transit, 2)
    with home.hold(exclusive=True):
        assert len(execute(plan_prune(home, older_than=DAY, staging=True)).result()["staged"]) == 3
    assert blobs(Path(home.path)) == set()
