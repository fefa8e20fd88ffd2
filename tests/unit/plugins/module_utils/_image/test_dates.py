# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dates of RFC 3339, and versions in tags."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.dates import (
    Moment,
    version_key,
)

# From the oldest to the newest; those of one line are the same moment.
ORDER = [
    ["0001-01-01T00:00:00+23:59"],  # in the year before the first
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00-00:00"],
    ["1969-12-31T23:59:59.9Z"],
    ["1970-01-01T00:00:00Z", "1970-01-01t00:00:00z", "1970-01-01T01:00:00+01:00"],
    ["2016-12-31T23:59:59.999999999999Z"],
    ["2016-12-31T23:59:60Z", "2016-12-31T15:59:60-08:00", "2017-01-01T05:29:60+05:30"],
    ["2016-12-31T23:59:60.5Z"],
    ["2017-01-01T00:00:00Z"],
    ["2024-02-29T12:00:00Z"],
    ["2026-01-02T20:00:00Z", "2026-01-02 20:00:00Z", "2026-01-02T15:00:00-05:00"],
    ["2026-01-02T20:00:00.0000000000000000000001Z"],
    ["2026-01-02T20:00:00.4Z", "2026-01-02T20:00:00.400Z"],
    ["2026-01-02T20:00:00.55Z"],
    ["2026-01-02T18:30:00-05:00", "2026-01-02T23:30:00Z", "2026-01-03T05:00:00+05:30"],
    ["9999-12-31T23:59:59Z"],
    ["9999-12-31T23:59:59-23:59"],
]
NONE = [
    *("", " ", "now", "2026", "2026-01-02", "2026-01-02T03:04Z", "2026-01-02T03:04:05"),
    *("2026-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2026-01-00T00:00:00Z"),
    *("2026-01-02T24:00:00Z", "2026-01-02T03:60:00Z", "2026-01-02T03:04:61Z"),
    *("2026-01-02T03:04:60Z", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05,5Z"),
    *("2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+01:60", "2026-01-02T03:04:05+0100"),
    *("0000-01-01T00:00:00Z", "02026-01-02T03:04:05Z", "-2026-01-02T03:04:05Z"),
    *(" 2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n", "٢٠٢٦-01-02T03:04:05Z"),
    *(None, 5, 1.5, True, [], {}),
]


@pytest.mark.parametrize("text", list(itertools.chain.from_iterable(ORDER)))
def test_F02_dates_of_rfc_3339_are_read(text):
    assert Moment.parse(text)


def test_F02_dates_are_compared_as_points_in_time():
    order = [[Moment.parse(text) for text in same] for same in ORDER]
    assert all(len(set(same)) == 1 for same in order)
    moments = [same[0] for same in order]
    assert moments == sorted(set(moments))


@pytest.mark.parametrize("text", NONE)
def test_F02_any_other_text_is_not_a_date(text):
    assert Moment.parse(text) is None


# From the oldest to the newest.
VERSIONS = [
    *("deadbeef", "latest", "main", "release-1.9", "release-1.10-rc1", "release-1.10", "vendor"),
    *("web-v9", "web-v10"),
    *("0.9", "v0.10", "v1", "1.2-alpha", "1.2-beta.2", "1.2-beta.11", "1.2-rc1", "1.2-rc9"),
    *("1.2-rc10", "1.2", "1.2-1", "v1.2.1", "1.9", "v1.10", "1.10.2", "2.0-dev", "2.0rc1", "2.0"),
    *("2.0.post1", "10", "20240131", "20240201"),
]


def test_F02_tags_are_ordered_as_versions():
    keys = [version_key(tag) for tag in VERSIONS]
    assert [VERSIONS[keys.index(key)] for key in sorted(keys)] == VERSIONS


@pytest.mark.parametrize("same", [("1", "1.0", "v1.0.0"), ("2.0-rc.1", "v2-rc.1")])
def test_F02_versions_that_are_the_same_are_ordered_by_their_text(same):
    keys = sorted(map(version_key, same))
    assert [key[-1] for key in keys] == sorted(same)


@pytest.mark.parametrize("tag", ["", "1a2b3c4", "x1.0", "v", "1..2", ".1", "1.", "1.0-"])
def test_F02_tag_without_a_version_is_a_word(tag):
    assert version_key(tag) == (0, tag)
