# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two reports are compared: what is wanted now, which hosts moved, and which are behind."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lockstep.images.plugins.plugin_utils._report import report
from ansible_collections.lockstep.images.plugins.plugin_utils._snapshot import snapshot
from ansible_collections.lockstep.images.tests.support.reports import (
    holds,
    image,
    image_text,
    synced,
)

MONDAY, TUESDAY, FRIDAY = "2026-11-23", "2026-11-24", "2026-11-27"
APP, NEXT, ODD, TOOL = image("app"), image("app", "2"), image("app", "odd"), image("tool")
LOST = {"info": {"unreachable": True, "msg": "no route to host"}}
FAILED = {"info": {"failed": True, "msg": "not an image layout"}}
HOSTS = dict.fromkeys("abcd", (APP,))


def fleet(held: t.Mapping[str, t.Any], *wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the data of hosts with these images, compared with a lock file of `wanted`."""
    said = {}
    for host, images in held.items():
        if isinstance(images, dict):
            said[host] = {**images, "sync": images["info"]}
            continue
        found = {one["name"]: image_text(one) for one in images}
        asked = {one["name"]: image_text(one) for one in wanted}
        rows = [
            (name, asked.get(name, "none"), found.get(name, "none"))
            for name in {**found, **asked}
            if asked.get(name) != found.get(name)
        ]
        said[host] = holds(*images, sync=synced(wanted, *rows))
    return said


def since(before: t.Mapping[str, t.Any], now: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what changed from Monday to Friday."""
    return report(now, FRIDAY, snapshot(report(before, MONDAY)))["since"]


def test_report_without_an_earlier_one_has_no_changes():
    assert report(fleet(HOSTS, APP))["since"] is None


def test_equal_reports_have_no_changes():
    found = since(fleet(HOSTS, APP), fleet(HOSTS, APP))
    assert (found["date"], found["compared_with"]) == (MONDAY, "lock")
    assert found["wanted"] == found["moves"] == found["hosts"] == []
    assert found["statuses"] == [{"before": "same", "now": "same", "hosts": list("abcd")}]
    assert set(found["summary"].values()) == {0}


def test_rollout_shows_who_moved_from_what_to_what_and_who_is_behind():
    moved = {**HOSTS, "a": (NEXT,), "b": (NEXT,), "c": (ODD,)}
    found = since(fleet(HOSTS, APP), fleet(moved, NEXT))
    old, new, odd = map(image_text, (APP, NEXT, ODD))
    assert found["wanted"] == [
        {"name": "app", "before": old, "now": new, "followed": 2, "behind": ["d"]}
    ]
    rows = {(one["from"], one["to"], one["wanted"], *one["hosts"]) for one in found["moves"]}
    assert rows == {(old, new, True, "a", "b"), (old, odd, False, "c")}
    assert found["hosts"] == [
        {"name": "c", "status": "differs", "since": FRIDAY, "reasons": {"app": "drifted"}},
        {"name": "d", "status": "differs", "since": FRIDAY, "reasons": {"app": "behind"}},
    ]
    counted = {"wanted": 1, "moved": 3, "behind": 1, "drifted": 1, "unchanged": 0}
    assert counted.items() <= found["summary"].items()


# What a host holds before and now, which lock file was used before and now, and why the host differs.
REASONS = {
    "it followed": ((APP,), (NEXT,), (APP,), (NEXT,), {}),
    "it did not follow": ((APP,), (APP,), (APP,), (NEXT,), {"app": "behind"}),
    "it moved back": ((NEXT,), (APP,), (APP,), (NEXT,), {"app": "behind"}),
    "a new image is missing": ((APP,), (APP,), (APP,), (APP, TOOL), {"tool": "behind"}),
    "a removed image is still there": (
        (APP, TOOL),
        (APP, TOOL),
        (APP, TOOL),
        (APP,),
        {"tool": "behind"},
    ),
    "it drifted": ((APP,), (ODD,), (APP,), (APP,), {"app": "drifted"}),
    "it lost an image": ((APP,), (), (APP,), (APP,), {"app": "drifted"}),
    "it gained an image": ((APP,), (APP, TOOL), (APP,), (APP,), {"tool": "drifted"}),
    "it is still wrong": ((ODD,), (ODD,), (APP,), (APP,), {"app": "unchanged"}),
    "it is still wrong, and another version is wanted": (
        (ODD,),
        (ODD,),
        (APP,),
        (NEXT,),
        {"app": "unchanged"},
    ),
    "it was repaired": ((ODD,), (APP,), (APP,), (APP,), {}),
    "it is new": (None, (ODD,), (APP,), (APP,), {"app": "unclear"}),
    "it was unreachable": (LOST, (ODD,), (APP,), (APP,), {"app": "unclear"}),
    "it was unreachable and did not follow": (LOST, (APP,), (APP,), (NEXT,), {"app": "behind"}),
    "it is unreachable": ((APP,), LOST, (APP,), (NEXT,), {}),
}


@pytest.mark.parametrize(
    ("held", "holding", "lock", "new_lock", "reasons"), REASONS.values(), ids=REASONS
)
def test_reason_of_each_difference(held, holding, lock, new_lock, reasons):
    before = fleet({"right": lock, **({} if held is None else {"a": held})}, *lock)
    found = since(before, fleet({"right": new_lock, "a": holding}, *new_lock))
    shown = {host["name"]: host["reasons"] for host in found["hosts"]}
    assert shown.pop("a", {}) == reasons
    assert shown == {}
    for reason in ("behind", "drifted", "unchanged", "unclear"):
        assert found["summary"][reason] == (reason in reasons.values())


def test_new_and_gone_hosts_are_named_and_did_not_move():
    found = since(
        fleet({"a": (APP,), "gone": (ODD,)}, APP), fleet({"a": (APP,), "new": (APP,)}, APP)
    )
    assert found["statuses"] == [
        {"before": "same", "now": "same", "hosts": ["a"]},
        {"before": "differs", "now": None, "hosts": ["gone"]},
        {"before": None, "now": "same", "hosts": ["new"]},
    ]
    assert (found["summary"]["new"], found["summary"]["gone"]) == (1, 1)
    assert found["moves"] == []


def test_hosts_that_come_and_go_are_counted_by_their_status():
    before = fleet({"a": (APP,), "b": LOST, "c": FAILED, "d": (ODD,)}, APP)
    found = since(before, fleet({"a": LOST, "b": (APP,), "c": FAILED, "d": (APP,)}, APP))
    rows = {(one["before"], one["now"], *one["hosts"]) for one in found["statuses"]}
    assert rows == {
        ("same", "unreachable", "a"),
        ("unreachable", "same", "b"),
        ("failed", "failed", "c"),
        ("differs", "same", "d"),
    }
    assert {one["name"]: one["since"] for one in found["hosts"]} == {"a": FRIDAY, "c": MONDAY}


def test_status_dates_back_to_the_first_report_in_a_row():
    wrong = fleet({"a": (APP,), "b": (ODD,), "c": (ODD,)}, APP)
    repaired = fleet({"a": (APP,), "b": (ODD,), "c": (APP,)}, APP)
    monday = report(wrong, MONDAY)
    tuesday = report(repaired, TUESDAY, snapshot(monday))
    friday = report(wrong, FRIDAY, snapshot(tuesday))
    assert {one["name"]: one["since"] for one in friday["since"]["hosts"]} == {
        "b": MONDAY,
        "c": FRIDAY,
    }


def test_host_without_an_answer_of_a_registry_is_unclear():
    failures = [{"name": "app", "msg": "app: not found", "error": {}}]
    sync = {**synced([]), "failed": True, "msg": "app: not found", "failures": failures}
    found = since(fleet(HOSTS, APP), {**fleet(HOSTS, APP), "b": holds(APP, sync=sync)})
    assert {one["name"]: one["reasons"] for one in found["hosts"]} == {"b": {"app": "unclear"}}
    assert found["moves"] == found["wanted"] == []


def test_content_that_becomes_incomplete_is_a_move():
    broken = {**APP, "complete": False}
    before = {host: holds(APP) for host in "abc"}
    found = since(before, {**before, "b": holds(broken)})
    (move,) = found["moves"]
    assert (move["to"], move["wanted"]) == (f"{image_text(APP)}, incomplete", False)
    assert found["hosts"][0]["reasons"] == {"app": "drifted"}


def test_content_that_belongs_to_no_image_does_not_move():
    rows = [("blobs", "none", "2 blobs"), ("index.json", "the names of the lock", "other entries")]
    now = {"a": holds(APP, sync=synced([APP], *rows)), "b": holds(APP, sync=synced([APP]))}
    found = since(fleet({"a": (APP,), "b": (APP,)}, APP), now)
    assert found["moves"] == found["wanted"] == []
    assert found["hosts"][0]["reasons"] == {"blobs": "drifted", "index.json": "drifted"}
    again = since(now, now)
    assert again["hosts"][0]["reasons"] == {"blobs": "unchanged", "index.json": "unchanged"}


def test_most_hosts_can_be_compared_with_a_lock_file():
    before = {host: holds(APP) for host in "abc"}
    found = since(before, fleet({"a": (NEXT,), "b": (APP,), "c": (NEXT,)}, NEXT))
    assert found["compared_with"] == "most"
    assert found["wanted"][0]["behind"] == ["b"]


def test_changes_do_not_depend_on_the_order_of_the_hosts():
    before, now = fleet(HOSTS, APP), fleet({**HOSTS, "b": (ODD,), "e": (APP,)}, NEXT, TOOL)
    turned = since(dict(reversed(before.items())), dict(reversed(now.items())))
    assert turned == since(before, now)
