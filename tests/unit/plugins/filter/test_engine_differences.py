# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter engine_differences: what image_load would change in the engines of hosts."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lockstep.images.plugins.filter.engine_differences import (
    engine_differences,
)
from ansible_collections.lockstep.images.tests.support.reports import loaded

KNOWN = [{"host": "h", "name": "a:1"}]


def difference_row(found, message):
    return {
        "host": "h",
        "name": "a:1",
        "wanted": "sha256:1",
        "found": f"docker: {found}",
        "message": f"h: {message}",
    }


def unknown_row(reason, name="*", found="unknown"):
    message = f"h: {reason}"
    return {"host": "h", "name": name, "wanted": "", "found": found, "message": message}


def failing(name, msg, **more):
    error = {"kind": "not-in-store"}
    failures = [{"name": name, "msg": msg, "error": error}]
    return {**loaded(), "failed": True, "msg": msg, "error": error, "failures": failures, **more}


@pytest.mark.parametrize(
    ("image", "row"),
    [
        pytest.param(
            ("a:1", "sha256:1", None, "loaded"),
            difference_row("none", "docker does not have a:1"),
            id="missing",
        ),
        pytest.param(
            ("a:1", "sha256:1", None, "tagged"),
            difference_row("none", "docker does not have a:1"),
            id="name lost",
        ),
        pytest.param(
            ("a:1", "sha256:1", "sha256:2", "moved"),
            difference_row("sha256:2", "a:1 is sha256:2 in docker instead of sha256:1"),
            id="another image",
        ),
        pytest.param(
            ("a:1", "sha256:1", "sha256:2", "kept"),
            difference_row("sha256:2", "a:1 is sha256:2 in docker instead of sha256:1"),
            id="another image that stays",
        ),
        pytest.param(
            ("a:1", "sha256:1", "sha256:1", "repaired"),
            difference_row("sha256:1, incomplete", "a:1 is incomplete in docker"),
            id="broken",
        ),
        pytest.param(
            ("a:1", "sha256:1", "sha256:1", "tagged"),
            difference_row("sha256:1, incomplete", "a:1 is incomplete in docker"),
            id="digest or pin lost",
        ),
    ],
)
def test_image_that_the_engine_lacks_becomes_a_row(image, row):
    present = ("b:1", "sha256:3", "sha256:3", "present")
    assert engine_differences({"h": loaded(image, present), "same": loaded(present)}) == [row]


@pytest.mark.parametrize(
    ("result", "row"),
    [
        pytest.param(None, unknown_row("no result"), id="undefined"),
        pytest.param({"skipped": True, "skip_reason": "no"}, unknown_row("no"), id="skipped"),
        pytest.param(
            {"unreachable": True, "msg": "no route"},
            unknown_row("no route", found="unreachable"),
            id="unreachable",
        ),
        pytest.param(
            {"failed": True, "msg": "no engine", "error": {"kind": "engine-not-found"}},
            unknown_row("no engine"),
            id="no engine",
        ),
        pytest.param(
            failing("a:1", "a:1 is not in the store"),
            unknown_row("a:1 is not in the store", "a:1"),
            id="an image failed",
        ),
    ],
)
def test_host_or_image_that_was_not_compared_is_unknown(result, row):
    assert engine_differences({"h": result}) == [row]


def test_failure_that_the_store_explains_is_not_repeated():
    result = failing("a:1", "a:1 is not in the store")
    assert engine_differences({"h": result}, known=KNOWN) == []
    assert len(engine_differences({"h": result}, known=[{**KNOWN[0], "name": "b:1"}])) == 1
    assert len(engine_differences({"h": result}, known=[{**KNOWN[0], "host": "other"}])) == 1
    every = [{"host": "h", "name": "*"}]
    assert engine_differences({"h": result}, known=every) == []
    assert engine_differences({"h": {"unreachable": True}}, known=every) == []


def test_image_that_the_engine_lacks_is_listed_beside_the_store():
    result = loaded(("a:1", "sha256:1", None, "loaded"))
    assert len(engine_differences({"h": result}, known=KNOWN)) == 1


@pytest.mark.parametrize("value", [None, [], {"h": {"images": [{}], "engine": {"kind": "x"}}}])
def test_value_that_is_not_a_result_is_an_error(value):
    with pytest.raises(AnsibleFilterError, match="expected a dictionary of results"):
        engine_differences(value)
