# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action that sets a name, and the text that diffs show for it."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import ConflictError
from ansible_collections.lockstep.images.plugins.module_utils._operations.naming import (
    SetName,
    shown,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.tests.support.fakes import FakeSink, blob

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ONE = IndexEntry(blob(b"one", MANIFEST))
TWO = IndexEntry(blob(b"two", MANIFEST), ("linux/amd64", "linux/arm64"))
FIRST, SECOND = str(ONE.target.digest), str(TWO.target.digest)


def apply(*actions):
    with Pool(1) as pool:
        return actions[0].apply_all(actions, pool)


@pytest.mark.parametrize(
    ("target", "expected", "summary"),
    [
        (ONE, None, {"action": "set_name", "digest": FIRST, "previous": None}),
        (TWO, ONE, {"action": "set_name", "digest": SECOND, "previous": FIRST}),
        (None, ONE, {"action": "drop_name", "digest": None, "previous": FIRST}),
    ],
)
def test_summary_has_both_digests_and_the_subject_is_the_name(target, expected, summary):
    action = SetName("app:1", target, expected, FakeSink())
    assert (action.summary(), action.subject) == ({**summary, "name": "app:1"}, "app:1")


def test_name_moves_only_from_where_the_plan_saw_it():
    sink = FakeSink()
    sink.names["app:1"] = TWO
    with Pool(1) as pool, pytest.raises(ConflictError):
        SetName("app:1", ONE, None, sink).apply(pool)
    assert sink.names == {"app:1": TWO}


def test_names_are_set_together():
    sink = FakeSink()
    calls = []
    set_names = sink.set_names
    sink.set_names = lambda moves: (calls.append(len(moves)), set_names(moves))
    actions = [SetName(f"app:{n}", ONE, None, sink) for n in range(3)]
    assert apply(*actions) == [None, None, None]
    assert calls == [3]


def test_conflict_of_one_name_does_not_stop_the_others():
    sink = FakeSink()
    sink.names["app:1"] = TWO
    errors = apply(*(SetName(f"app:{n}", ONE, None, sink) for n in range(3)))
    assert [type(one) for one in errors] == [type(None), ConflictError, type(None)]
    assert sink.names == {"app:0": ONE, "app:1": TWO, "app:2": ONE}


@pytest.mark.parametrize(
    ("entry", "is_incomplete", "text"),
    [
        (ONE, False, FIRST),
        (ONE, True, f"{FIRST}, incomplete"),
        (TWO, False, f"{SECOND} (linux/amd64, linux/arm64)"),
        (TWO, True, f"{SECOND} (linux/amd64, linux/arm64), incomplete"),
    ],
)
def test_text_has_digest_platforms_and_a_mark_for_missing_content(entry, is_incomplete, text):
    assert shown(entry, is_incomplete) == text
