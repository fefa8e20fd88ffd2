# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers, tables and page of the benchmarks. Only `./dev bench` itself tests the measurements."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from ansible_collections.lockstep.images.tests.bench.chart import PANELS, draw
from ansible_collections.lockstep.images.tests.bench.measure import Traffic, Usage, median
from ansible_collections.lockstep.images.tests.bench.report import (
    Findings,
    render,
    shown,
    updated,
)
from ansible_collections.lockstep.images.tests.bench.tables import (
    Row,
    Table,
    usage_cells,
    with_ratios,
)
from ansible_collections.lockstep.images.tests.support.accesslog import Access, accesses

OURS, THEIRS = "image_pull, the task", "docker pull <&>"
MB = 1_000_000


def usage(seconds, peak=None):
    return Usage(seconds=seconds, to_disk=seconds + 1, cpu=seconds / 2, peak=peak)


@pytest.fixture
def table():
    rows = [
        Row(OURS, usage_cells([usage(2.0, 50 * MB), usage(4.0, 52 * MB), usage(2.5, 51 * MB)])),
        Row(THEIRS, {**usage_cells([usage(20.0)]), "bytes": 1500 * MB}),
    ]
    return Table("cold", "Cold", "Words.", with_ratios(rows), 3)


def test_median_is_taken_for_each_number_separately():
    middle = median([usage(1.0, 3), usage(9.0, 1), usage(2.0, 2)])
    assert middle == Usage(seconds=2.0, to_disk=3.0, cpu=1.0, peak=2)


def test_missing_number_is_a_dash(table):
    assert table.row(THEIRS).text("peak") == "-"
    assert table.row(OURS).text("peak") == "51.0"


def test_ratio_compares_a_row_with_the_first(table):
    assert [row.text("ratio") for row in table.rows] == ["1.00", "8.00"]
    assert table.row(OURS).text("spread") == "2.00 to 4.00"


def test_task_ratio_compares_tasks_without_the_start_of_ansible():
    ours = [replace(usage(2.0), task=1.0), replace(usage(3.0), task=1.5)]
    rows = [
        Row(OURS, usage_cells(ours)),
        Row("skopeo copy", usage_cells([usage(4.0)])),
        Row(THEIRS, usage_cells([replace(usage(50.0), task=49.0)])),
    ]
    table = Table("small", "Small", "Words.", with_ratios(rows), 2)
    assert [row.text("task") for row in table.rows] == ["1.25", "-", "49.0"]
    assert [row.text("task_ratio") for row in table.rows] == ["1.00", "-", "39.20"]


def test_single_task_has_no_task_ratio():
    rows = [
        Row(OURS, usage_cells([replace(usage(2.0), task=1.0)])),
        Row(THEIRS, usage_cells([usage(9.0)])),
    ]
    assert "task_ratio" not in Table("cold", "Cold", "Words.", with_ratios(rows), 1).shown()


def test_table_is_the_same_after_json(table):
    again = Table.from_dict(json.loads(json.dumps(table.as_dict())))
    assert shown(again) == shown(table)


def test_page_has_every_number_and_the_command(table):
    page = render(Findings({"memory": "1 GB"}, {"skopeo": "1.9"}, [table]))
    assert "| docker pull <&> | 20.0 | - | 8.00 | 21.0 | 10.0 | - | 1500 |" in page
    assert "./dev bench --runs 3 --write" in page and "| skopeo | 1.9 |" in page


def test_chart_is_small_and_describes_its_numbers_in_words(table):
    chart = draw([Table(**{**vars(table), "name": name}) for name in PANELS])
    assert len(chart.encode()) < 30_000
    root = ElementTree.fromstring(chart)
    words = root.findtext("{http://www.w3.org/2000/svg}desc")
    assert f"{OURS} 2.50, {THEIRS} 20.0." in words
    assert "prefers-color-scheme: dark" in chart
    assert "url(" not in chart and "href" not in chart  # it is self-contained


def test_access_log_has_the_bytes_that_were_sent():
    line = '127.0.0.1 - - [02/Jan/2026:03:04:05 +0000] "{} /v2/a/{} HTTP/1.1" {} {} "" "x"\n'
    log = (
        line.format("HEAD", "manifests/1", 200, 500)
        + 'time="..." level=info msg="response completed"\n'
        + line.format("GET", "blobs/sha256:aa", 206, 10)
        + line.format("GET", "blobs/sha256:aa", 206, 20).replace(' "" "x"', ' "-" "x"')
        + line.format("GET", "blobs/sha256:bb", 404, "-")
    )
    assert accesses(log)[1] == Access("GET", "/v2/a/blobs/sha256:aa", 206, 10)
    traffic = Traffic(accesses(log))
    assert (traffic.count("HEAD"), traffic.count("GET"), traffic.blobs) == (1, 3, 1)


MACHINE = {"processor": "2 cores"}


def test_sections_of_other_scenarios_are_replaced_or_become_the_last_ones(table):
    page = render(Findings(MACHINE, {}, [table]))
    archive = replace(table, name="archive", title="Archive")
    page = updated(page, Findings(MACHINE, {}, [archive]))
    assert page.index("## Cold\n") < page.index("## Archive\n\nWords.\n") < page.index("## How")
    again = replace(archive, text="Other words.", runs=5)
    page = updated(page, Findings(MACHINE, {}, [again]))
    assert page.count("## Archive\n") == page.count("## How") == 1
    assert "Other words. The numbers are the medians of 5 runs.\n" in page


@pytest.mark.parametrize(
    ("machine", "name", "text"),
    [({}, "archive", "another machine"), (MACHINE, "cold", "chart needs all scenarios, not cold")],
)
def test_page_with_sections_that_do_not_fit_is_refused(table, machine, name, text):
    page = render(Findings(MACHINE, {}, [table]))
    with pytest.raises(ValueError, match=text):
        updated(page, Findings(machine, {}, [replace(table, name=name)]))
