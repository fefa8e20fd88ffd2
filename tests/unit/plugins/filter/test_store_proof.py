# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter makes of the variables that the role leaves on each host."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.store_proof import (
    FilterModule,
    store_proof,
)

APP, TOOL = "docker.io/library/app:1", "registry.example.com:5000/tool:1"
OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def synced(names: t.Mapping[str, str], fingerprint: str = "sha256:one", **more: t.Any) -> dict:
    """Return a result of image_sync or image_pull; names without platforms belong to no index."""
    images = [
        {"name": name, "digest": digest[:71], "platform": "linux/amd64", "status": "up_to_date"}
        for name, digest in names.items()
    ]
    diff = {"before": {}, "after": dict(names)}
    return {"images": images, "diff": diff, "fingerprint": fingerprint, "other_names": 0, **more}


def listed(names: t.Mapping[str, str], fingerprint: str = "sha256:one") -> dict:
    """Return a result of image_info."""
    images = [
        {"name": name, "digest": digest, "platforms": ["linux/amd64"], "complete": True}
        for name, digest in names.items()
    ]
    return {"images": images, "fingerprint": fingerprint, "store": "/store", "missing": []}


def asked(held: dict, *names: str, **more: t.Any) -> dict[str, t.Any]:
    """Return the variables that the step "proof" of the role sets."""
    return {
        "store_held": held,
        "store_asked": list(names),
        "store_promised": {},
        "store_has_engine": False,
        **more,
    }


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"store_proof": store_proof}


def test_equal_results_of_image_sync_are_one_fingerprint():
    host = {"store_synced": synced({APP: OLD, TOOL: f"{NEW} (linux/amd64)"})}
    proof = store_proof({"one": host, "two": host, "lost": {}}, ["one", "two"])
    assert proof == {
        "stores": [],
        "engines": [],
        "fingerprint": "sha256:one",
        "names": 2,
        "by_names": False,
        "unlisted": {},
        "compared_engines": 0,
    }


def test_host_with_another_lock_is_named():
    hosts = {name: {"store_synced": synced({APP: OLD})} for name in ("one", "two", "three")}
    hosts["two"] = {"store_synced": synced({APP: NEW}, "sha256:two")}
    proof = store_proof(hosts, list(hosts))
    (row,) = proof["stores"]
    assert row["message"] == (
        f"two holds {NEW} (linux/amd64) for {APP}, most hosts hold {OLD} (linux/amd64)"
    )
    assert proof["fingerprint"] == ""


def test_result_and_list_of_the_same_image_are_equal():
    one, two = asked(listed({APP: OLD}), APP), asked(synced({APP: OLD}), APP)
    assert store_proof({"one": one, "two": two}, ["one", "two"])["stores"] == []
    indexed = asked(synced({APP: f"{OLD} (linux/amd64)"}), APP)
    assert store_proof({"one": one, "two": indexed}, ["one", "two"])["stores"] == []


def test_unlisted_names_are_ignored():
    one = asked(listed({APP: OLD, TOOL: NEW}, "sha256:more"), APP)
    two = asked(synced({APP: OLD}), APP)
    proof = store_proof({"one": one, "two": two}, ["one", "two"])
    assert (proof["stores"], proof["names"], proof["by_names"]) == ([], 1, True)
    assert proof["unlisted"] == {"one": [TOOL]}


def test_check_mode_compares_what_hosts_would_hold():
    empty = listed({}, "sha256:empty")
    hosts = {
        name: asked(empty, store_promised=synced({APP: digest}, digest))
        for name, digest in (("one", OLD), ("two", OLD))
    }
    proof = store_proof(hosts, list(hosts))
    assert (proof["stores"], proof["fingerprint"], proof["names"]) == ([], "sha256:empty", 0)
    hosts["three"] = asked(empty, store_promised=synced({APP: NEW}, NEW))
    (row,) = store_proof(hosts, list(hosts))["stores"]
    assert row["host"] == "three"


def test_unknown_fingerprint_makes_no_difference():
    hosts = {
        "one": asked(listed({}), store_promised=synced({APP: OLD}, "")),
        "two": asked(listed({}), store_promised=synced({APP: OLD})),
    }
    for order in (["one", "two"], ["two", "one"]):
        assert store_proof(hosts, order)["stores"] == []


def test_engine_without_a_store_counts_alone():
    image = {"name": APP, "id": OLD, "before": None, "status": "loaded"}
    loaded = {"engine": {"kind": "docker"}, "images": [image]}
    one = asked({"skipped": True}, store_has_engine=True, store_loaded=loaded)
    two = asked(listed({}), store_loaded=loaded)
    proof = store_proof({"one": one, "two": two}, ["one", "two"])
    assert proof["compared_engines"] == 1, "a result of an earlier play does not count"
    assert [row["message"] for row in proof["engines"]] == [f"one: docker does not have {APP}"]
    alone = store_proof({"one": one}, ["one"])
    assert (alone["names"], alone["fingerprint"], alone["stores"]) == (1, "", [])


@pytest.mark.parametrize(
    ("hostvars", "hosts"),
    [
        ({}, ["one"]),
        ({"one": {}}, ["one"]),
        ({"one": {"store_synced": {}}}, ["one"]),
        (None, ["one"]),
    ],
)
def test_other_input_is_an_error(hostvars, hosts):
    with pytest.raises(AnsibleFilterError, match="store_proof: "):
        store_proof(hostvars, hosts)
