# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chart: bars of wall seconds as a self-contained SVG, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .tables import Row, Table

WIDTH = 760
_LABELS = 236
_NUMBERS = 64
_BAR = 16
_STEP = 24
_TITLE = 46

# Scenario -> the title of its panel.
PANELS = {
    "cold": "Pull a large image (docker, podman and ctr also unpack it)",
    "throttled": "Pull one large layer over slow connections (docker, podman and ctr also unpack it)",
    "small": "Pull 100 small images",
    "converged": "Pull 100 small images again, by tag",
    "copy": "Copy 100 tags to another registry",
}
# Rows that end in one of these are left out. Labels do not repeat what the title says.
_LEFT_OUT = ("sha256sum", "by digest", "by lock file", "again")
_SAID = ", by tag"

_LICENCE = """\
<!--
Copyright (c) 2026 lockstep.images contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->"""

_STYLE = """\
svg { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.page { fill: #ffffff; }
text { fill: #1f2328; }
.title { font-weight: 600; font-size: 14px; }
.number { font-variant-numeric: tabular-nums; }
.ours { fill: #0969da; }
.theirs { fill: #8c959f; }
.limit { fill: none; stroke: #57606a; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; }
  text { fill: #e6edf3; }
  .ours { fill: #4493f8; }
  .theirs { fill: #6e7681; }
  .limit { stroke: #9198a1; }
}
"""


def draw(tables: Sequence[Table]) -> str:
    """Return the chart as SVG, with the scenarios that have a panel."""
    shown = [table for table in tables if table.name in PANELS]
    body, top = [], 12
    for table in shown:
        rows = _rows(table)
        body += _panel(PANELS[table.name], rows, top)
        top += _TITLE + _STEP * len(rows)
    height = top + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
            f' height="{height}" role="img" aria-labelledby="title description">',
            _LICENCE,
            '<title id="title">Wall-clock seconds for this collection and for other tools</title>',
            f'<desc id="description">{escape(_description(shown))}</desc>',
            f"<style>\n{_STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
            *body,
            "</svg>\n",
        ]
    )


def _rows(table: Table) -> list[Row]:
    return [
        Row(row.label.replace(_SAID, ""), row.cells)
        for row in table.rows
        if not row.label.endswith(_LEFT_OUT)
    ]


def _panel(title: str, rows: Sequence[Row], top: int) -> list[str]:
    """Return one group of bars, with its own scale."""
    longest = max(_seconds(row) for row in rows)
    room = WIDTH - _LABELS - _NUMBERS
    lines = [f'<text class="title" x="16" y="{top + 20}">{escape(title)}, wall seconds</text>']
    for number, row in enumerate(rows):
        middle = top + _TITLE + _STEP * number
        length = max(2.0, room * _seconds(row) / longest)
        lines += [
            f'<text x="{_LABELS - 10}" y="{middle}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect class="{_kind(row)}" x="{_LABELS}" y="{middle - 12}" width="{length:.1f}"'
            f' height="{_BAR}" rx="2"/>',
            f'<text class="number" x="{_LABELS + length + 8:.1f}" y="{middle}">'
            f"{row.text('seconds')}</text>",
        ]
    return lines


def _kind(row: Row) -> str:
    if row.label.startswith(("image_pull", "image_copy")):
        return "ours"
    return "limit" if row.label.startswith("limit") else "theirs"


def _seconds(row: Row) -> float:
    return float(row.cells["seconds"] or 0)


def _description(tables: Sequence[Table]) -> str:
    """Return the chart in words, with the number of every bar."""
    return " ".join(
        f"{PANELS[table.name]}: "
        + ", ".join(f"{row.label} {row.text('seconds')}" for row in _rows(table))
        + "."
        for table in tables
    )
