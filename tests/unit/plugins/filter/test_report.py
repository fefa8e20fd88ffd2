# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report that is made from the data of all hosts."""

from __future__ import annotations

import itertools
import json
import os
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.report import FilterModule, report
from ansible_collections.lockstep.images.tests.support.reports import (
    attached,
    digest,
    holds,
    image,
    image_text,
    info,
    large_fleet,
    loaded,
    lock_of,
    synced,
    write_json,
)

APP, TOOL, WEB = image("app:1"), image("tool:2"), image("web:3")
MOVED = image("app:1", "other")
BROKEN = {**APP, "complete": False}
UNREACHABLE = {"unreachable": True, "changed": False, "msg": "no route to host"}
FAILED = {"failed": True, "changed": False, "msg": "/srv is not an image layout"}
SKIPPED = {"skipped": True, "changed": False, "skip_reason": "Conditional result was False"}


def states(model: t.Mapping[str, t.Any]) -> dict[str, dict[str, str]]:
    """Return the states of each host that are not the usual ones."""
    return {host["name"]: host["states"] for host in model["hosts"]}


def of_host(model: t.Mapping[str, t.Any], name: str) -> dict[str, t.Any]:
    return next(host for host in model["hosts"] if host["name"] == name)


def test_ansible_finds_the_filter():
    assert FilterModule().filters() == {"report": report}


@pytest.mark.parametrize("said", [None, [], "one", 1])
def test_value_that_is_not_a_fleet_is_an_error(said):
    with pytest.raises(
        AnsibleFilterError, match=f"of type {type(said).__name__}, expected a dictionary"
    ):
        report(said)


def test_no_hosts_make_an_empty_report():
    model = report({})
    assert (model["compared_with"], model["fingerprint"]) == ("most", None)
    assert model["summary"]["hosts"] == 0
    lists = ("hosts", "images", "differences", "fingerprints", "layers")
    assert [model[name] for name in lists] == [[]] * 5
    assert model["picture"]["groups"] == []


def test_single_host_is_its_own_reference():
    model = report({"one": holds(APP, free=7)})
    (host,) = model["hosts"]
    assert host == {
        "name": "one",
        "status": "same",
        "messages": [],
        "checked": {"depth": "sizes", "date": None},
        "fingerprint": info(APP)["fingerprint"],
        "images": 1,
        "differing": 0,
        "states": {},
        "store": "/var/lib/lockstep/images",
        "bytes": APP["size"],
        "reclaimable": 0,
        "free": 7,
        "bytes_to_fetch": None,
        "bytes_to_free": None,
        "engine": None,
    }
    (entry,) = model["images"]
    assert (entry["name"], entry["wanted"], entry["size"]) == (
        "app:1",
        image_text(APP),
        APP["size"],
    )
    assert entry["counts"] == {
        **dict.fromkeys(("differs", "missing", "incomplete", "extra", "unknown", "none"), 0),
        "same": 1,
    }


# What a third host holds, beside two with APP and TOOL, and how it differs from them.
AGAINST_MOST = {
    "the same": ([APP, TOOL], {}),
    "another digest": ([MOVED, TOOL], {"app:1": "differs"}),
    "other platforms": (
        [{**APP, "platforms": ["linux/amd64", "linux/arm64"]}, TOOL],
        {"app:1": "differs"},
    ),
    "less": ([TOOL], {"app:1": "missing"}),
    "nothing": ([], {"app:1": "missing", "tool:2": "missing"}),
    "more": ([APP, TOOL, WEB], {"web:3": "extra"}),
    "content is missing": ([BROKEN, TOOL], {"app:1": "incomplete"}),
    "another digest, and content is missing": (
        [{**MOVED, "complete": False}, TOOL],
        {"app:1": "differs"},
    ),
    "more, and content of that is missing": (
        [APP, TOOL, {**WEB, "complete": False}],
        {"web:3": "extra"},
    ),
}


@pytest.mark.parametrize(("images", "wanted"), AGAINST_MOST.values(), ids=AGAINST_MOST)
def test_host_is_compared_with_most_hosts(images, wanted):
    model = report({"a": holds(APP, TOOL), "b": holds(*images), "c": holds(APP, TOOL)})
    assert states(model) == {"a": {}, "b": wanted, "c": {}}
    assert of_host(model, "b")["status"] == ("differs" if wanted else "same")
    assert of_host(model, "b")["differing"] == len(wanted)
    assert [one["hosts"] for one in model["differences"]] == [["b"]] * len(wanted)


# The same host by a lock file of APP and TOOL: what image_sync says of it.
NONE = "none"
AGAINST_LOCK = {
    "the same": ([APP, TOOL], [], {}),
    "another digest": (
        [MOVED, TOOL],
        [("app:1", image_text(APP), image_text(MOVED))],
        {"app:1": "differs"},
    ),
    "less": ([TOOL], [("app:1", image_text(APP), NONE)], {"app:1": "missing"}),
    "more": ([APP, TOOL, WEB], [("web:3", NONE, image_text(WEB))], {"web:3": "extra"}),
    "more, which sync lets be": ([APP, TOOL, WEB], [], {"web:3": "extra"}),
    "content is missing": (
        [BROKEN, TOOL],
        [("app:1", image_text(APP), f"{image_text(APP)}, incomplete")],
        {"app:1": "incomplete"},
    ),
    "it says how much is missing": (
        [BROKEN, TOOL],
        [("app:1", image_text(APP), f"{image_text(APP)}, incomplete: 1 blob missing")],
        {"app:1": "incomplete"},
    ),
    "only a full look finds it": (
        [APP, TOOL],
        [("app:1", image_text(APP), f"{image_text(APP)}, incomplete")],
        {"app:1": "incomplete"},
    ),
    "entries without a name": (
        [APP, TOOL],
        [("index.json", "the names of the lock alone", "other entries")],
        {"index.json": "differs"},
    ),
    "content that nobody needs": (
        [APP, TOOL],
        [("blobs", NONE, "2 (120 bytes)")],
        {"blobs": "extra"},
    ),
}


@pytest.mark.parametrize(("images", "rows", "wanted"), AGAINST_LOCK.values(), ids=AGAINST_LOCK)
def test_a_host_is_compared_with_the_lock_file(images, rows, wanted):
    lock = [APP, TOOL]
    said = {
        "a": holds(APP, TOOL, sync=synced(lock)),
        "b": holds(*images, sync=synced(lock, *rows, fetch=12)),
    }
    model = report(said)
    assert (model["compared_with"], model["fingerprint"]) == ("lock", info(*lock)["fingerprint"])
    assert states(model) == {"a": {}, "b": wanted}
    assert (of_host(model, "b")["bytes_to_fetch"], model["summary"]["bytes_to_fetch"]) == (12, 12)


def test_lock_is_the_reference_even_if_no_host_matches_it():
    rows = [(one["name"], image_text(one), NONE) for one in (APP, TOOL)]
    said = {name: holds(sync=synced([APP, TOOL], *rows, fetch=5)) for name in "abc"}
    model = report(said)
    assert set(map(len, states(model).values())) == {2}
    assert [(one["wanted"], one["size"]) for one in model["images"]] == [
        (image_text(APP), APP["size"]),
        (image_text(TOOL), TOOL["size"]),
    ]
    assert [one["hosts"] for one in model["differences"]] == [["a", "b", "c"]] * 2
    assert [one["wanted"] for one in model["fingerprints"]] == [False]


def test_image_without_an_answer_from_the_registry_is_unknown():
    failed = {**FAILED, "failures": [{"name": "tool:2", "msg": "registry does not answer"}]}
    said = {
        "a": holds(APP, TOOL, sync=synced([APP, TOOL])),
        "b": holds(APP, sync=synced([APP], **failed)),
    }
    for promised in (
        "dropped",
        "bytes_freed",
        "fingerprint",
    ):  # as image_sync does when an image fails
        del said["b"]["sync"][promised]
    model = report(said)
    assert states(model) == {"b": {"tool:2": "unknown"}, "a": {}}
    assert of_host(model, "b")["messages"][-1] == "tool:2: registry does not answer"
    assert [one["wanted"] for one in model["images"]] == [image_text(APP), image_text(TOOL)]


@pytest.mark.parametrize("sync", [FAILED, UNREACHABLE, SKIPPED, {}, None])
def test_host_that_was_not_compared_with_the_lock_is_not_same(sync):
    said = {
        "a": holds(APP, sync=synced([APP])),
        "b": holds(APP, sync=sync),
    }
    host = of_host(report(said), "b")
    assert host["status"] == ("unreachable" if sync is UNREACHABLE else "failed")
    assert (host["differing"], host["states"], len(host["messages"])) == (None, {}, 1)
    # The known values are reported.
    assert (host["images"], host["bytes"]) == (1, APP["size"])


def test_unusable_lock_file_is_not_replaced_by_most_hosts():
    model = report({name: holds(APP, sync=FAILED) for name in "ab"})
    assert (model["compared_with"], model["fingerprint"]) == ("lock", None)
    assert {host["status"] for host in model["hosts"]} == {"failed"}
    assert model["summary"]["bytes_to_fetch"] is None


WITHOUT_INFO = {
    "unreachable": ({"info": UNREACHABLE}, "unreachable", "image_info: no route to host"),
    "failed": ({"info": FAILED}, "failed", "image_info: /srv is not an image layout"),
    "failed without a word": ({"info": {"failed": True}}, "failed", "image_info: failed"),
    "skipped": ({"info": SKIPPED}, "failed", "image_info: no result"),
    "nothing": ({}, "failed", "image_info: no result"),
    "no dictionary": (None, "failed", "image_info: no result"),
    "a text": ({"info": "images"}, "failed", "image_info: the result is not valid, "),
    "no fingerprint": ({"info": {"images": []}}, "failed", "image_info: the result is not valid, "),
    "no list": (
        {"info": {**info(), "images": 3}},
        "failed",
        "image_info: the result is not valid, ",
    ),
    "an image without a name": (
        {"info": {**info(), "images": [{"digest": "x"}]}},
        "failed",
        "image_info: the result is not valid, ",
    ),
    "a size below zero": (
        {"info": info(image("app:1", size=-1))},
        "failed",
        "image_info: the result is not valid, ",
    ),
    "a size beyond all disks": (
        {"info": info(image("app:1", layers=[{"digest": "x", "size": 10**400}]))},
        "failed",
        "image_info: the result is not valid, ",
    ),
    "a name that is a list": (
        {"info": {**info(), "images": [{**APP, "name": ["app"]}]}},
        "failed",
        "image_info: the result is not valid, ",
    ),
}


@pytest.mark.parametrize(("said", "status", "message"), WITHOUT_INFO.values(), ids=WITHOUT_INFO)
def test_host_without_data_is_in_the_report_and_does_not_affect_others(said, status, message):
    model = report({"a": holds(APP), "b": said, "c": holds(MOVED), "d": holds(APP)})
    host = of_host(model, "b")
    assert (host["status"], host["differing"], host["images"]) == (status, None, None)
    assert len(host["messages"]) == 1 and host["messages"][0].startswith(message)
    assert len(host["messages"][0]) <= 500
    assert states(model) == {"c": {"app:1": "differs"}, "b": {}, "a": {}, "d": {}}
    (entry,) = model["images"]
    assert {state: n for state, n in entry["counts"].items() if n} == {
        "same": 2,
        "differs": 1,
        "unknown": 1,
    }


@pytest.mark.parametrize("store", [None, FAILED, UNREACHABLE, {"store": "/srv", "file_system": 3}])
def test_host_without_data_of_its_disk_is_compared(store):
    host = of_host(report({"a": holds(APP), "b": {"info": info(APP), "store": store}}), "b")
    assert (host["status"], host["bytes"], host["free"]) == ("same", None, None)
    assert len(host["messages"]) == (store is not None)


def test_hosts_with_most_differences_come_first_then_unknown_ones():
    said = {
        "a": holds(APP, TOOL, WEB),
        "b": {"info": UNREACHABLE},
        "c": holds(MOVED, TOOL, WEB),
        "tampered": holds(MOVED, image("miner:1")),
        "e": holds(APP, TOOL),
        "f": holds(APP, TOOL, WEB),
    }
    assert [host["name"] for host in report(said)["hosts"]] == ["tampered", "c", "e", "b", "a", "f"]


def test_report_does_not_depend_on_the_order_of_the_data():
    said = {
        "a": holds(APP, TOOL),
        "b": holds(MOVED, WEB),
        "c": {"info": UNREACHABLE},
        "d": holds(TOOL, MOVED, WEB),
    }
    turned = {"b": holds(WEB, MOVED)}
    texts = {
        json.dumps(report({name: {**said, **other}[name] for name in names}))
        for names in itertools.permutations(said)
        for other in ({}, turned)
    }
    assert len(texts) == 1


def test_stores_that_are_all_incomplete_are_reported_as_incomplete():
    model = report({"a": holds(BROKEN, TOOL), "b": holds(BROKEN, TOOL)})
    assert states(model) == {"a": {"app:1": "incomplete"}, "b": {"app:1": "incomplete"}}
    assert model["images"][0]["wanted"] == image_text(APP)


def test_foreign_entries_of_an_index_are_a_separate_difference():
    odd = {**holds(APP), "info": info(APP, index="an entry without a name")}
    model = report({"a": holds(APP), "b": odd, "c": holds(APP)})
    assert states(model)["b"] == {"index.json": "differs"}
    assert [one["counts"]["same"] for one in model["images"]] == [3, 2]


def test_hosts_with_the_same_fingerprint_are_grouped():
    said = {"a": holds(APP), "b": holds(MOVED), "c": holds(APP), "d": {"info": FAILED}}
    assert report(said)["fingerprints"] == [
        {"fingerprint": info(APP)["fingerprint"], "wanted": True, "hosts": ["a", "c"]},
        {"fingerprint": info(MOVED)["fingerprint"], "wanted": False, "hosts": ["b"]},
    ]


def test_sizes_of_all_platforms_of_a_name_are_added():
    own = {"platforms": ["linux/amd64", "linux/arm64"]}
    both = [image("app:1", **own), image("app:1", base="arm64", **own)]
    model = report({"a": holds(*both)})
    assert (model["hosts"][0]["images"], model["images"][0]["size"]) == (1, 2 * APP["size"])
    assert len(model["layers"]) == 3


def test_layer_is_listed_once_with_the_images_that_share_it():
    other = image("tool:2", base="another base")
    model = report({"a": holds(APP, TOOL), "b": holds(APP, other, WEB)})
    base = model["layers"][0] if model["layers"][0]["hosts"] == 2 else model["layers"][1]
    assert base == {
        "digest": digest("base"),
        "size": 40_000_000,
        "images": ["app:1", "tool:2", "web:3"],
        "hosts": 2,
    }
    sizes = [layer["size"] for layer in model["layers"]]
    assert sizes == sorted(sizes, reverse=True)
    assert model["summary"]["layer_bytes"] == sum(sizes)
    shared = 2 * 40_000_000
    assert model["summary"]["layer_bytes_unshared"] == sum(sizes) + shared


def rectangles(model: t.Mapping[str, t.Any]) -> t.Iterator[tuple[int, list[float], list[float]]]:
    """Size, rectangle and frame of every layer in the picture."""
    for group in model["picture"]["groups"]:
        for layer in group["layers"]:
            yield layer["size"], layer["rectangle"], group["rectangle"]


def test_areas_in_the_picture_are_proportional_to_bytes_and_do_not_overlap():
    model = report(large_fleet(3, 40))
    picture = model["picture"]
    scale = picture["width"] * picture["height"] / model["summary"]["layer_bytes"]
    found = list(rectangles(model))
    assert len(found) == len(model["layers"])
    for size, (x, y, width, height), frame in found:
        assert width * height == pytest.approx(size * scale, rel=0.02, abs=0.5)
        assert x >= frame[0] - 0.02 and y >= frame[1] - 0.02
        assert x + width <= frame[0] + frame[2] + 0.03
        assert y + height <= frame[1] + frame[3] + 0.03
    for (_size, one, _frame), (_other_size, other, _other_frame) in itertools.combinations(
        found, 2
    ):
        across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
        down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
        assert min(across, down) <= 0.03


def test_empty_layers_are_not_in_the_picture():
    empty = image("app:1", layers=[{"digest": digest("empty"), "size": 0}])
    model = report({"a": holds(empty)})
    assert (len(model["layers"]), model["picture"]["groups"]) == (1, [])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("app\x1b[31m:1", "app [31m:1"),
        ("app\n: 1", "app : 1"),
        ("app\ud800:1", "app :1"),
        ("app\u202e:1", "app :1"),
        ("a" * 2000, "a" * 497 + "..."),
    ],
    ids=["escape", "newline", "surrogate", "right to left", "long"],
)
def test_text_from_hosts_is_made_printable(text, clean):
    model = report({"a": holds(image(text)), "b": {"info": {**FAILED, "msg": text}}})
    assert model["images"][0]["name"] == clean
    assert of_host(model, "b")["messages"] == [f"image_info: {clean}"]
    json.dumps(model, ensure_ascii=False).encode("utf-8")


def _document() -> dict[str, t.Any]:
    path = Path(__file__).parents[4] / "plugins" / "filter" / "report.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["RETURN"]["_value"]


def _assert_documented(value: t.Any, documented: dict[str, t.Any]) -> None:
    kinds = {"int": int, "str": str, "bool": bool, "list": list, "dict": dict, "float": float}
    assert value is None or isinstance(value, kinds[documented["type"]]), documented
    if "contains" in documented and value is not None:
        for item in value if isinstance(value, list) else [value]:
            assert list(item) == list(documented["contains"])
            for name, inner in item.items():
                _assert_documented(inner, documented["contains"][name])


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"a": holds(APP), "b": holds(MOVED), "c": {"info": FAILED}},
        {"a": holds(APP, sync=synced([TOOL], ("tool:2", image_text(TOOL), NONE)))},
        {"a": holds(APP, engine=loaded(("app:1", "1", None, "loaded")))},
    ],
    ids=["none", "most", "lock", "engine"],
)
def test_model_is_as_documented(said, tmp_path):
    _assert_documented(report(said), _document())
    earlier = write_json(tmp_path / "earlier.json", {"a": holds(TOOL), "c": holds(APP)}, DATE)
    _assert_documented(report(said, DATE, os.fspath(earlier)), _document())


def test_subclasses_of_str_and_int_are_accepted():
    class Text(str):
        pass

    class Number(int):
        pass

    said = {Text("a"): holds(image(Text("app:1"), size=Number(5)))}
    model = report(said)
    assert not isinstance(model["hosts"][0]["name"], Text)
    assert model["images"][0]["size"].__class__ is int


DATE = "2026-11-30T14:05:00Z"


def test_F21_report_names_date_subject_and_depth_of_the_check():
    same = {"sync": synced([APP]), "date": DATE}
    model = report(
        {
            "sizes": holds(APP, verify="quick", **same),
            "bytes": holds(APP, verify="full", **same),
            "lost": {"info": UNREACHABLE, "date": DATE, "verify": "full"},
            "failed": {**holds(APP), "sync": FAILED, "date": DATE, "verify": "full"},
        },
        DATE,
    )
    assert model["date"] == DATE
    assert {host["name"]: host["checked"] for host in model["hosts"]} == {
        "sizes": {"depth": "sizes", "date": DATE},
        "bytes": {"depth": "bytes", "date": DATE},
        "lost": None,
        "failed": None,
    }
    assert model["summary"]["depth"] == "sizes"
    only = report({"bytes": holds(APP, verify="full", **same)})
    assert (only["date"], only["summary"]["depth"]) == (None, "bytes")
    assert report({"lost": {"info": UNREACHABLE}})["summary"]["depth"] is None
    # Without a lock file no byte was read, whatever was asked for.
    assert report({"a": holds(APP, verify="full")})["summary"]["depth"] == "sizes"


@pytest.mark.parametrize("date", [5, ["a"], {}])
def test_F21_a_date_is_a_text(date):
    with pytest.raises(AnsibleFilterError, match=r"date is of type .*, expected a string"):
        report({}, date)


def test_F24_image_in_place_is_not_extra_if_another_image_failed():
    """The result of a task that failed has only the images that have changed."""
    failures = [{"name": "web:3", "msg": "web:3: not found", "error": {}}]
    rows = [("tool:2", "none", image_text(TOOL))]
    sync = {**synced([], *rows), "failed": True, "msg": "web:3: not found", "failures": failures}
    model = report({"a": holds(APP, TOOL, sync=sync)})
    assert states(model) == {"a": {"tool:2": "extra", "web:3": "unknown"}}


def engine_of(result):
    """Return the engine of a host in the report, from a result of image_load or engine_info."""
    return of_host(report({"a": holds(APP, engine=result)}), "a")


def test_engine_is_shown_with_the_images_that_it_lacks():
    rows = [("a:1", "1", "1", "present"), ("b:1", "1", None, "loaded"), ("c:1", "1", "2", "moved")]
    host = engine_of(loaded(*rows, ("d:1", "1", "1", "repaired")))
    assert host["engine"] == {
        "kind": "docker",
        "version": "20.10.24",
        "store": "graph",
        "namespace": None,
        "states": {"b:1": "missing", "c:1": "differs", "d:1": "incomplete"},
    }
    assert (host["status"], host["messages"]) == ("same", [])


def test_engine_without_a_lock_file_is_not_compared():
    host = engine_of({**loaded(), "images": [{"id": "1"}], "missing": []})
    assert (host["engine"]["kind"], host["engine"]["states"]) == ("docker", None)


def test_engine_that_does_not_answer_is_an_error_of_its_host():
    host = engine_of({"failed": True, "msg": "no container engine answers"})
    assert (host["engine"], host["messages"]) == (None, ["engine: no container engine answers"])
    assert host["status"] == "same"


@pytest.mark.parametrize("result", [{}, {"skipped": True}, None])
def test_host_without_an_engine_has_none(result):
    host = engine_of(result)
    assert (host["engine"], host["messages"]) == (None, [])


@pytest.mark.parametrize("facts", [{"kind": 1}, {"version": ["x"]}])
def test_engine_with_values_that_are_not_valid_is_an_error_of_its_host(facts):
    host = engine_of(loaded(**facts))
    assert host["engine"] is None
    assert host["messages"][0].startswith("engine: the result is not valid")


def _calls(function: t.Callable[[], t.Any]) -> int:
    """Return how often Python code is entered, also that of generators, while a function runs."""
    count = 0

    def profile(_frame: t.Any, event: str, _argument: t.Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("locked", [False, True], ids=["most", "lock"])
def test_work_is_linear_in_the_number_of_hosts(locked, tmp_path):
    def fleet(count: int, lock: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
        """Return hosts of which every second one differs in all images."""
        said = {}
        for number in range(count):
            held = (APP, TOOL) if number % 2 else (MOVED, WEB)
            rows = [("app:1", image_text(lock[0]), image_text(held[0]))]
            sync = {"sync": synced(lock, *rows)} if locked else {}
            said[f"host{number}"] = holds(*held, **sync)
        return said

    calls = {}
    for count in (40, 160):
        earlier = write_json(tmp_path / f"{count}.json", fleet(count, [MOVED, WEB]))
        said = fleet(count, [APP, TOOL])
        calls[count] = _calls(lambda: report(said, None, os.fspath(earlier)))  # noqa: B023
    assert calls[160] <= 4.2 * calls[40]


def test_signers_are_those_of_the_lock_for_the_wanted_digest():
    """A verdict on another digest does not count, and nor does a verdict in the results of a host."""
    one, other = image("a.b/app:1"), image("a.b/tool:2")
    forged = {**one, "verified": {"by": ["key evil"]}}
    digests = {one["name"]: one["digest"], other["name"]: digest("another")}
    lock = lock_of(*digests, by=["key a", "key\nb"], digest_of=digests.get)
    said = {"one": holds(forged, other, sync=synced([one, other]))}
    (app, tool) = report(said, lock=lock)["images"]
    assert app["vouched_for_by"] == ["key a", "key b"]
    assert tool["vouched_for_by"] is None
    assert [entry["vouched_for_by"] for entry in report(said)["images"]] == [None, None]
    without = lock_of(one["name"], by=None, digest_of=digests.get)
    assert report(said, lock=without)["images"][0]["vouched_for_by"] == []
    with pytest.raises(AnsibleFilterError, match="lockfile_version"):
        report(said, lock={"images": []})


def test_report_without_a_comparison_with_a_lock_names_no_signers():
    one = image("a.b/app:1")
    lock = lock_of(one["name"], by=["key a"], digest_of=lambda _name: one["digest"])
    assert report({"one": holds(one)}, lock=lock)["images"][0]["vouched_for_by"] is None


def test_attached_content_is_that_of_the_wanted_digest():
    one, other = image("a.b/app:1"), image("a.b/tool:2")
    said = {"one": holds(one, other, sync=synced([one, other]))}
    found = attached(one, {**other, "digest": digest("another")})
    (app, tool) = report(said, attached=found)["images"]
    assert [entry["kind"] for entry in app["attached"]] == ["signature", "sbom", "provenance"]
    assert "status" not in app["attached"][0] and app["vouched_for_by"] is None
    assert tool["attached"] is None
    whole = report(said)
    assert [entry["attached"] for entry in whole["images"]] == [None, None]
    assert whole["attached_error"] is None


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"failed": True, "msg": "denied\x1b[0m"}, "denied"),
        ({"unreachable": True}, "registry_info failed"),
        ({"images": 1}, "not iterable"),
        ({"images": [{"name": "a"}]}, "digest"),
        ("text", "no attribute"),
    ],
    ids=str,
)
def test_attached_content_that_is_unknown_is_an_error_and_not_an_empty_list(result, words):
    one = image("a.b/app:1")
    model = report({"one": holds(one)}, attached=result)
    assert words in model["attached_error"] and model["attached_error"].isprintable()
    assert model["images"][0]["attached"] is None


def test_attached_content_of_an_unknown_kind_is_an_error():
    one = image("a.b/app:1")
    model = report({"one": holds(one)}, attached=attached(one, kind="verified"))
    assert model["attached_error"] == "an attachment is not valid"
