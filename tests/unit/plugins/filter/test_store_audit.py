# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the filter sorts hosts that differ, that failed, and that did not respond."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.store_audit import (
    FilterModule,
    store_audit,
)
from ansible_collections.lockstep.images.tests.support.reports import lock_of

APP = "docker.io/library/app:1"
RIGHT = {"store_synced": {"differences": [], "fingerprint": "sha256:one"}}
ROW = {"name": APP, "wanted": "sha256:a", "found": "none", "message": f"{APP} is missing"}
DIFFERS = {"store_synced": {"differences": [ROW], "fingerprint": "sha256:one"}}
BROKEN = {"store_synced": {"failed": True, "msg": "index.json is not JSON"}}
GONE = {"store_synced": {"unreachable": True, "msg": "refused"}}
IMAGE = {"name": APP, "id": "sha256:a", "before": "sha256:a", "status": "present"}
LOADED = {"store_loaded": {"engine": {"kind": "docker"}, "images": [IMAGE]}}


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"store_audit": store_audit}


def test_hosts_that_match_have_no_differences():
    assert store_audit({"one": RIGHT, "two": RIGHT}, ["one", "two"]) == {
        "differences": [],
        "stores_differ": False,
        "hosts": {"differing": [], "unknown": [], "unreachable": []},
        "stores": 2,
        "engines": 0,
        "fingerprint": "sha256:one",
        "vouchers": [],
    }


def test_vouchers_are_counted():
    lock = lock_of("a.b/c:1", "a.b/c:2", by=["key one"])
    assert store_audit({"one": RIGHT}, ["one"], lock=lock)["vouchers"] == [
        {"by": "key one", "images": 2}
    ]
    lock["images"] += lock_of("a.b/c:3", by=None)["images"]
    lock["images"] += lock_of("a.b/c:4", by=["key one", "key two"])["images"]
    assert store_audit({"one": RIGHT}, ["one"], (), lock)["vouchers"] == [
        {"by": "key one", "images": 2},
        {"by": "key one and key two", "images": 1},
        {"by": "nobody", "images": 1},
    ]
    assert store_audit({}, [], (), lock_of("a.b/c:3", by=None))["vouchers"] == []
    with pytest.raises(AnsibleFilterError):
        store_audit({}, [], (), {"images": []})


def test_hosts_are_sorted_by_what_is_known():
    hostvars = {"one": BROKEN, "two": DIFFERS, "three": GONE, "four": RIGHT, "five": {}}
    found = store_audit(hostvars, list(hostvars), ["six"])
    assert found["hosts"] == {
        "differing": ["two"],
        "unknown": ["one", "five", "six"],
        "unreachable": ["three"],
    }
    assert [row["message"] for row in found["differences"]] == [
        "one: index.json is not JSON",
        f"two: {APP} is missing",
        "three: refused",
        "five: no result",
        "six: no result, the play ended earlier for this host",
    ]
    assert found["stores_differ"]


def test_host_without_a_store_is_compared_by_its_engine():
    lacking = {
        "store_loaded": {
            **LOADED["store_loaded"],
            "images": [{**IMAGE, "status": "loaded", "before": None}],
        }
    }
    found = store_audit(
        {"one": LOADED, "two": lacking, "three": {**RIGHT, **LOADED}}, ["one", "two", "three"]
    )
    assert (found["stores"], found["engines"], found["stores_differ"]) == (1, 3, False)
    assert [row["message"] for row in found["differences"]] == [f"two: docker does not have {APP}"]
    direct = store_audit({"one": {**LOADED, "store_synced": {"skipped": True}}}, ["one"])
    assert (direct["stores"], direct["differences"]) == (0, [])
    skipped = {**RIGHT, "store_loaded": {"skipped": True}}
    assert store_audit({"one": skipped}, ["one"])["engines"] == 0


@pytest.mark.parametrize(("hostvars", "hosts"), [({}, ["one"]), (None, ["one"])])
def test_other_input_is_an_error(hostvars, hosts):
    with pytest.raises(AnsibleFilterError, match="store_audit: "):
        store_audit(hostvars, hosts)
