# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON file of a report is read, and every file that is not one is an error that names it."""

from __future__ import annotations

import copy
import json
import os
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.report import report
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.plugin_utils._snapshot import (
    read_snapshot,
    snapshot,
)
from ansible_collections.lockstep.images.tests.support.reports import (
    holds,
    image,
    image_text,
    write_json,
)

APP, ODD = image("app"), image("app", "odd")
FLEET = {
    "a": holds(APP),
    "b": holds(APP),
    "odd": holds(ODD),
    "lost": {"info": {"unreachable": True}},
}
MODEL = json.loads(json.dumps(report(FLEET, "2026-11-23")))


def test_file_has_what_the_report_has(tmp_path):
    found = read_snapshot(os.fspath(write_json(tmp_path / "old.json", FLEET, "2026-11-23")))
    assert found == snapshot(MODEL)
    assert {name: host.status for name, host in found.hosts.items()} == {
        "a": "same",
        "b": "same",
        "odd": "differs",
        "lost": "unreachable",
    }
    held = {name: str(found.found(host, "app")) for name, host in found.hosts.items()}
    assert held == {
        "a": image_text(APP),
        "b": image_text(APP),
        "odd": image_text(ODD),
        "lost": "unknown",
    }
    assert str(found.found(found.hosts["a"], "other")) == "none"


# Files that are not a report, by content, with the words of the error.
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not JSON"),
    "HTML": (b"<!DOCTYPE html>", "is not JSON"),
    "cut off": (b'{"report_version": 1, "hosts": [', "is not JSON"),
    "no UTF-8": (b'{"report_version": "\xff\xfe"}', "is not JSON"),
    "very deep": (b"[" * 200_000, "is not JSON"),
    "list": (b"[]", "is not a report: it has no report_version"),
    "text": (b'"report"', "is not a report: it has no report_version"),
    "other JSON": (b'{"hosts": []}', "is not a report: it has no report_version"),
    "older": (b'{"report_version": 0}', "has report_version 0, expected 1"),
    "newer": (b'{"report_version": 2}', "has report_version 2, expected 1"),
    "version is a text": (b'{"report_version": "1"}', "has report_version '1', expected 1"),
    "version is true": (b'{"report_version": true}', "has report_version True, expected 1"),
    "nothing else": (b'{"report_version": 1}', "hosts of the report is missing or not a list"),
}


@pytest.mark.parametrize(("content", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_file_that_is_not_a_report_is_an_error(tmp_path, content, words):
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(errors.InputError) as caught:
        read_snapshot(os.fspath(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert caught.value.hint


def test_file_that_cannot_be_read_is_an_error(tmp_path):
    for path, words in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(errors.InputError, match=f"{path}: cannot be read: {words}"):
            read_snapshot(os.fspath(path))


# A value of a report that is replaced, and the words of the error.
BAD_VALUES: dict[str, tuple[tuple[t.Any, ...], t.Any, str]] = {
    "hosts": (("hosts",), {}, "hosts of the report is missing or not a list"),
    "host": (("hosts", 1), "b", "name of hosts[1] is missing or not a str"),
    "name": (("hosts", 1, "name"), 7, "name of hosts[1] is missing or not a str"),
    "status": (("hosts", 2, "status"), "fine", "hosts[2].status is not one of same, differs"),
    "differences": (("differences",), None, "differences of the report is missing"),
    "found": (("differences", 0, "found"), 1, "found of differences[0] is missing"),
    "unknown host": (("differences", 0, "hosts"), ["x"], "an entry that is not in hosts"),
    "host is a list": (("differences", 0, "hosts"), [[]], "an entry that is not in hosts"),
    "images": (("images", 0, "wanted"), None, "wanted of images[0] is missing"),
    "date": (("date",), 5, "date of the report is missing or not a str"),
    "fingerprint": (("fingerprint",), [], "fingerprint of the report is missing or not a str"),
    "compared_with": (("compared_with",), None, "compared_with of the report is missing"),
    "since": (("since",), [], "hosts of since is missing or not a list"),
    "since.hosts": (("since",), {"hosts": [1]}, "name of since.hosts[0] is missing"),
    "since of a host": (
        ("since",),
        {"hosts": [{"name": "a", "since": 1}]},
        "since of since.hosts[0] is missing or not a str",
    ),
}


@pytest.mark.parametrize(("path", "value", "words"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_value_that_is_not_valid_is_an_error_with_its_path(tmp_path, path, value, words):
    model = copy.deepcopy(MODEL)
    inner: t.Any = model
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file = tmp_path / "old.json"
    file.write_text(json.dumps(model))
    with pytest.raises(AnsibleFilterError) as caught:
        report(FLEET, None, os.fspath(file))
    assert f"{file}: is not a valid report: " in str(caught.value)
    assert words in str(caught.value)


def test_report_of_an_earlier_release_without_the_key_since_is_read(tmp_path):
    model = {key: value for key, value in MODEL.items() if key != "since"}
    assert snapshot(model) == snapshot(MODEL)


def test_text_of_an_edited_file_is_made_printable(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(MODEL).replace('"odd"', '"\\ud800evil\\u001b"'))
    model = report(FLEET, None, os.fspath(path))
    assert {"before": "differs", "now": None, "hosts": ["evil"]} in model["since"]["statuses"]
    json.dumps(model, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("since", [5, ["a"], {}])
def test_since_is_a_path(since):
    with pytest.raises(AnsibleFilterError, match=r"since is of type .*, expected a string"):
        report({}, None, since)


def test_empty_path_compares_with_nothing():
    assert report(FLEET, None, "")["since"] is None
