# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.plugin_utils._progress import (
    OFF,
    Meter,
    Pace,
    Record,
    State,
    batch_line,
    host_line,
    interval_of,
)

MB = 1_000_000


def states_of(*records, host="web-1"):
    meter = Meter(host)
    return [meter.add(Record(*one)) for one in records]


def line_of(*records):
    return host_line(states_of(*records)[-1])[1]


def test_a_host_has_images_bytes_rate_and_time_left():
    line = line_of((1.0, 0, 5, 100 * MB, 906 * MB), (9.5, 2, 5, 412 * MB, 906 * MB))
    assert line == "web-1: 2 of 5 images, 412 of 906 MB (45 %), 37 MB/s, 13 s left"


def test_first_line_has_no_rate_because_two_seconds_are_too_few_for_one():
    assert line_of((1.0, 0, 3, 0, 1000 * MB)) == "web-1: 0 of 3 images, 0.00 of 1.00 GB (0 %)"
    assert line_of((1.9, 0, 3, 19 * MB, 1000 * MB)).endswith("0.01 of 1.00 GB (1 %)")


def test_no_byte_means_no_rate_instead_of_a_time_of_hours():
    assert line_of((4.0, 0, 3, 0, 1000 * MB)) == "web-1: 0 of 3 images, 0.00 of 1.00 GB (0 %)"


def test_rate_is_that_of_the_last_eight_seconds():
    slow = [(float(second), 0, 1, second * MB, 500 * MB) for second in range(1, 21)]
    fast = [
        (float(second), 0, 1, 20 * MB + (second - 20) * 10 * MB, 500 * MB)
        for second in range(21, 40)
    ]
    assert states_of(*slow)[-1].rate == pytest.approx(MB)
    assert states_of(*slow, *fast)[-1].rate == pytest.approx(10 * MB)


def test_rate_of_rare_records_is_that_between_the_last_two():
    records = [
        (1.0, 0, 1, MB, 500 * MB),
        (31.0, 0, 1, 31 * MB, 500 * MB),
        (61.0, 0, 1, 331 * MB, 500 * MB),
    ]
    assert states_of(*records)[-1].rate == pytest.approx(10 * MB)


def test_another_amount_begins_another_transfer():
    checked = (20.0, 0, 0, 900 * MB, 900 * MB)
    assert line_of(checked, (0.5, 0, 2, 0, 10 * MB)) == "web-1: 0 of 2 images, 0.0 of 10.0 MB (0 %)"


@pytest.mark.parametrize(
    ("done", "whole", "text"),
    [
        (1, 999, "1 of 999 B (0 %)"),
        (999, 1000, "0.99 of 1.00 kB (99 %)"),
        (412 * MB, 906 * MB, "412 of 906 MB (45 %)"),
        (11_234 * MB, 45_321 * MB, "11.2 of 45.3 GB (24 %)"),
        (999_999, 1_000_000, "0.99 of 1.00 MB (99 %)"),
        (10**15, 2 * 10**18, "1 of 2000 PB (0 %)"),
    ],
)
def test_both_sizes_have_one_unit_and_a_part_never_looks_like_the_whole(done, whole, text):
    assert line_of((1.0, 0, 0, done, whole)) == f"web-1: {text}"


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (250_000, "250 kB/s"),
        (4 * MB, "4.0 MB/s"),
        (38 * MB, "38 MB/s"),
        (410 * MB, "410 MB/s"),
        (1234 * MB, "1.2 GB/s"),
    ],
)
def test_rates(rate, text):
    assert f", {text}" in host_line(State("a", 0, 1, MB, 10**9, rate=rate))[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(83, "83 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (3e5, "3 days")],
)
def test_time_left_has_the_unit_that_fits(seconds, text):
    line = host_line(State("a", 0, 1, 0, int(seconds * MB), rate=MB))[1]
    assert line.endswith(f", {text} left")


def test_line_of_a_hung_host_reports_doubling_times():
    moving = (2.0, 0, 1, 5 * MB, 10 * MB)
    lines = [line_of(moving, (2.0 + idle, *moving[1:])) for idle in (14.9, 15, 29.9, 30, 200)]
    assert lines[0].startswith("web-1: 0 of 1 image, ")
    assert lines[1:] == [
        "web-1: no byte for 15 s",
        "web-1: no byte for 15 s",
        "web-1: no byte for 30 s",
        "web-1: no byte for 2 min",
    ]


def test_four_hosts_and_more_share_a_line_that_names_the_last_one():
    states = [
        State("web-1", 2, 2, 9000 * MB, 9000 * MB, ended=True, ok=True),
        State("web-2", 1, 2, 2000 * MB, 9000 * MB, 9, rate=200 * MB),
        State("web-17", 0, 2, 1080 * MB, 9000 * MB, 9, rate=100 * MB),
        State("web-18"),
    ]
    assert batch_line(states, 50)[1] == (
        "1 of 50 hosts have it, 12.0 of 27.0 GB (44 %), 300 MB/s, 50 s left; last is web-17 (12 %)"
    )


def test_rate_of_all_counts_a_host_that_has_just_begun():
    begun = State("web-2", 0, 1, 15 * MB, 100 * MB, 1.5)
    line = batch_line([State("web-1", 0, 1, 50 * MB, 100 * MB, 9, rate=5 * MB), begun], 4)[1]
    assert ", 15 MB/s, 9 s left" in line
    assert "MB/s" not in batch_line([begun], 4)[1]


def test_failed_host_does_not_have_it():
    failed = Meter("web-1").end(is_ok=False)
    assert batch_line([failed, State("web-2", bytes=1, all_bytes=100)], 4)[1].startswith(
        "0 of 4 hosts"
    )


def test_host_that_needed_nothing_has_it():
    done = Meter("web-1").end(is_ok=True)
    assert batch_line([done, State("web-2", bytes=1, all_bytes=100)], 4)[1].startswith(
        "1 of 4 hosts"
    )


def test_batch_says_which_host_hangs_and_when_all_do():
    moving = State("web-1", bytes=5, all_bytes=10)
    hung = State("web-2", bytes=1, all_bytes=10, idle=16)
    assert batch_line([moving, hung], 4)[1].endswith("; last is web-2 (10 %, no byte for 15 s)")
    line = batch_line([hung, hung._replace(host="web-3", idle=40)], 4)[1]
    assert line == "0 of 4 hosts have it, no byte for 15 s; last is web-2 (10 %)"


def test_batch_has_no_line_before_the_first_transfer_and_after_the_last():
    assert batch_line([], 4) is None
    assert batch_line([State("web-1"), Meter("web-2").end(is_ok=True)], 4) is None


def test_lines_come_every_two_seconds_then_at_growing_intervals():
    pace, shown = Pace(), []
    for tenth in range(10, 6010):
        if pace.takes(tenth / 10, tenth):
            shown.append(tenth / 10)
    gaps = [later - sooner for sooner, later in zip(shown, shown[1:])]
    assert shown[0] == 1.0 and gaps[:5] == [2.0] * 5
    assert gaps == pytest.approx(sorted(gaps), abs=0.11)
    assert gaps[-1] == pytest.approx(30, abs=2)


def test_line_that_says_nothing_new_is_left_out():
    pace = Pace()
    assert pace.takes(1.0, "a") and not pace.takes(9.0, "a") and pace.takes(9.5, "b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[1, 2, 3, 4]",
        "[1, 2, 3, 4, 0]",
        "[1, 2, 3, -4, 5]",
        '["x", 1, 1, 1, 1]',
        "null",
        "[1, null, 1, 1, 1]",
        "[NaN, 1, 1, 1, 1]",
    ],
)
def test_invalid_record_is_ignored(text):
    assert Record.parse(text) is None


def test_record_counts_no_byte_twice():
    assert Record.parse(json.dumps([1.5, 1, 2, 12, 10])) == (1.5, 1, 2, 10, 10)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 2), ("", 2), ("1", 2), ("yes", 2), ("0", OFF), ("-3", OFF), ("10", 10), ("0.5", 0.5), ("nan", OFF), ("inf", OFF),
    ],
)  # fmt: skip
def test_environment_variable_is_off_on_or_seconds(text, seconds):
    assert interval_of(text) == seconds
