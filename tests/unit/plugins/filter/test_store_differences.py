# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences between hosts with the same and with different images."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.store_differences import (
    FilterModule,
    store_differences,
)

APP, TOOL = "docker.io/library/app:1", "registry.example.com:5000/tool:1"
OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
AMD64, BOTH = ("linux/amd64",), ("linux/amd64", "linux/arm64")


def image(name: str, digest: str = OLD, platforms: t.Sequence[str] = AMD64, **other: t.Any) -> dict:
    """Return the keys of an image in the result of image_info that the filter reads."""
    return {"name": name, "digest": digest, "platforms": list(platforms), "complete": True, **other}


def holds(*images: dict, index: t.Any = None) -> dict[str, t.Any]:
    """Return what image_info returns of a store; equal images have equal fingerprints, unless ``index`` differs."""
    told = [(one["name"], one["digest"], one["platforms"]) for one in images]
    return {"fingerprint": repr((told, index)), "images": list(images), "missing": []}


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"store_differences": store_differences}


@pytest.mark.parametrize(
    "held",
    [
        {},
        {"one": holds()},
        {"one": holds(image(APP))},
        {"one": holds(image(APP), image(TOOL)), "two": holds(image(APP), image(TOOL))},
        {"one": holds(), "two": holds(), "three": holds()},
    ],
)
def test_hosts_with_the_same_images_do_not_differ(held):
    assert store_differences(held) == []


def test_host_that_differs_from_most_is_named_with_its_images():
    held = {
        "one": holds(image(APP, NEW)),
        "two": holds(image(APP, OLD)),
        "three": holds(image(APP, OLD)),
    }
    (entry,) = store_differences(held)
    assert entry == {
        "host": "one",
        "name": APP,
        "wanted": f"{OLD} (linux/amd64)",
        "found": f"{NEW} (linux/amd64)",
        "message": f"one holds {NEW} (linux/amd64) for {APP}, most hosts hold {OLD} (linux/amd64)",
    }


def test_first_of_two_hosts_is_the_reference():
    held = {"b": holds(image(APP, NEW)), "a": holds(image(APP, OLD))}
    assert [(one["host"], one["wanted"][: len(NEW)]) for one in store_differences(held)] == [
        ("a", NEW)
    ]


def test_missing_and_extra_names_are_differences():
    most = holds(image(APP))
    held = {"one": most, "two": most, "less": holds(), "more": holds(image(APP), image(TOOL))}
    assert [
        (one["host"], one["name"], one["wanted"], one["found"]) for one in store_differences(held)
    ] == [
        ("less", APP, f"{OLD} (linux/amd64)", "none"),
        ("more", TOOL, "none", f"{OLD} (linux/amd64)"),
    ]


def test_other_platforms_are_a_difference():
    held = {"one": holds(image(APP, platforms=BOTH)), "two": holds(image(APP))}
    (entry,) = store_differences(held)
    assert entry["wanted"].endswith(" (linux/amd64, linux/arm64)")
    assert entry["found"].endswith(" (linux/amd64)")


def test_missing_content_is_a_difference_between_equal_names():
    held = {"one": holds(image(APP)), "two": holds(image(APP, complete=False))}
    assert held["one"]["fingerprint"] == held["two"]["fingerprint"]
    (entry,) = store_differences(held)
    assert (entry["host"], entry["found"]) == ("two", f"{OLD} (linux/amd64), incomplete")


def test_foreign_entry_of_an_index_is_a_difference_without_a_name():
    held = {"one": holds(image(APP)), "two": holds(image(APP), index="and an entry without a name")}
    (entry,) = store_differences(held)
    assert (entry["host"], entry["name"], entry["found"]) == ("two", "index.json", "another index")


def test_names_are_sorted_and_hosts_stay_in_their_order():
    most = holds(image(TOOL), image(APP))
    held = {"z": holds(), "one": most, "two": most, "three": most, "a": holds()}
    assert [(one["host"], one["name"]) for one in store_differences(held)] == [
        ("z", APP),
        ("z", TOOL),
        ("a", APP),
        ("a", TOOL),
    ]


@pytest.mark.parametrize(
    "held",
    [
        [],
        "one",
        {"one": None},
        {"one": {}},
        {"one": {"fingerprint": "x"}},
        {"one": {"fingerprint": "x", "images": [{}]}},
        {"one": {"fingerprint": "x", "images": None}},
        {"one": {"msg": "unreachable", "unreachable": True}},
    ],
)
def test_other_value_is_an_error_that_names_the_expected_one(held):
    with pytest.raises(AnsibleFilterError, match=r"store_differences: .*, expected .*image_info"):
        store_differences(held)


@pytest.mark.parametrize("others", [["two"], ["two", "three"]])
def test_incomplete_store_is_never_the_reference(others):
    broken = holds(image(APP, complete=False))
    held = {"one": broken, **{host: holds(image(APP)) for host in others}}
    (entry,) = store_differences(held)
    assert (entry["host"], entry["wanted"]) == ("one", f"{OLD} (linux/amd64)")
    assert entry["found"].endswith(", incomplete")


def test_F20_hosts_are_compared_by_the_requested_names():
    """Images that an older list left on a host do not count against newer hosts."""
    held = {
        "old1": holds(image(APP), image(TOOL)),
        "old2": holds(image(APP), image(TOOL)),
        "new": holds(image(APP)),
    }
    asked = dict.fromkeys(held, (APP,))
    assert store_differences(held, asked) == []
    assert [one["host"] for one in store_differences(held, dict.fromkeys(held, ()))] == ["new"]
    assert [one["host"] for one in store_differences(held)] == ["new"]


def test_F20_host_is_compared_with_hosts_of_the_same_request():
    held = {
        "web1": holds(image(APP)),
        "web2": holds(image(APP, NEW)),
        "jobs": holds(image(TOOL)),
        "all": holds(image(APP), image(TOOL, NEW)),
    }
    asked = {"web1": [APP], "web2": [APP], "jobs": [TOOL], "all": [APP, TOOL]}
    told = [
        (one["host"], one["name"], one["wanted"][:10]) for one in store_differences(held, asked)
    ]
    assert told == [("web2", APP, OLD[:10]), ("all", TOOL, OLD[:10])]


def test_F20_missing_or_incomplete_image_is_never_the_reference():
    held = {
        "one": holds(),
        "two": holds({**image(APP), "complete": False}),
        "three": holds(),
        "four": holds(image(APP)),
    }
    told = store_differences(held, dict.fromkeys(held, (APP,)))
    assert [one["host"] for one in told] == ["one", "two", "three"]
    assert told[0]["message"] == f"one holds none for {APP}, 1 of 4 hosts hold {OLD} (linux/amd64)"


@pytest.mark.parametrize("asked", [None, {"one": [APP], "two": [APP]}])
def test_F20_reference_needs_a_majority_of_hosts(asked):
    held = {"one": holds(image(APP)), "two": holds(image(APP, NEW))}
    (entry,) = store_differences(held, asked)
    assert entry["message"].endswith(f", 1 of 2 hosts hold {OLD} (linux/amd64)")
    held["three"] = holds(image(APP))
    (entry,) = store_differences(held, asked and {**asked, "three": [APP]})
    assert f", most hosts hold {OLD}" in entry["message"]


def test_F20_index_of_a_minority_is_not_the_reference():
    held = {"one": holds(image(APP)), "two": holds(image(APP), index="other")}
    (entry,) = store_differences(held)
    assert entry["wanted"] == "the index of 1 of 2 hosts"
