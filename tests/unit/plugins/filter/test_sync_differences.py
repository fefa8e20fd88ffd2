# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter sync_differences: what a lock file wanted, and what hosts had."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.sync_differences import sync_differences

SAME = {"changed": False, "differences": []}
ROW = {"name": "a:1", "wanted": "sha256:1", "found": "none", "message": "a:1 is missing"}
OTHER = {"name": "b:1", "wanted": "none", "found": "sha256:2", "message": "b:1 is not in the lock"}
DIFFERS = {"changed": True, "differences": [ROW, OTHER]}


def unknown_row(host, reason, name="*"):
    message = f"{host}: {reason}"
    return {"host": host, "name": name, "wanted": "", "found": "unknown", "message": message}


def difference_row(host, row):
    return {**row, "host": host, "message": f"{host}: {row['message']}"}


def failing(name, msg, **more):
    failures = [{"name": name, "msg": msg, "error": {"kind": "not-found"}}]
    return {
        "failed": True,
        "msg": msg,
        "error": {"kind": "not-found"},
        "failures": failures,
        **more,
    }


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        pytest.param(SAME, [], id="same"),
        pytest.param(DIFFERS, [difference_row("h", ROW), difference_row("h", OTHER)], id="differs"),
        pytest.param({}, [unknown_row("h", "no result")], id="nothing"),
        pytest.param(None, [unknown_row("h", "no result")], id="undefined"),
        pytest.param(
            {"skipped": True, "skip_reason": "Conditional result was False"},
            [unknown_row("h", "Conditional result was False")],
            id="skipped",
        ),
        pytest.param(
            {"unreachable": True, "msg": "Task failed: no route to host."},
            [{**unknown_row("h", "no route to host"), "found": "unreachable"}],
            id="F21 unreachable is a class of its own",
        ),
        pytest.param(
            {"failed": True, "msg": "index.json is no JSON", "error": {"kind": "store-corrupt"}},
            [unknown_row("h", "index.json is no JSON")],
            id="failed",
        ),
        pytest.param(
            failing("c:1", "c:1: not found", differences=[ROW]),
            [difference_row("h", ROW), unknown_row("h", "c:1: not found", "c:1")],
            id="an image failed",
        ),
        pytest.param(
            failing("a:1", "a:1: not found", differences=[ROW]),
            [unknown_row("h", "a:1: not found", "a:1")],
            id="what failed is difference_row once",
        ),
    ],
)
def test_result_of_one_host_becomes_rows(result, rows):
    assert sync_differences({"h": result}) == rows


def test_hosts_stay_in_order_and_unreachable_ones_come_last():
    found = sync_differences({"z": DIFFERS, "b": SAME, "a": DIFFERS}, lost=["gone"])
    assert [one["host"] for one in found] == ["z", "z", "a", "a", "gone"]
    assert found[-1] == unknown_row("gone", "no result, the play ended earlier for this host")


def test_no_hosts_have_no_differences():
    assert sync_differences({}) == []


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_value_that_is_not_a_mapping_of_hosts_is_an_error(value):
    with pytest.raises(AnsibleFilterError, match="expected a dictionary of results"):
        sync_differences(value)
