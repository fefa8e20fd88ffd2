# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The numbers of a scenario, and how they are formatted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable, Union

from .content import MB
from .measure import Usage, median

Cell = Union[float, str, None]


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _megabytes(value: float) -> str:
    return f"{value / MB:.0f}" if value >= 100 * MB else f"{value / MB:.1f}"


# Column -> its heading, and how its numbers are formatted.
COLUMNS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "seconds": ("wall s", _seconds),
    "spread": ("fastest to slowest", str),
    "ratio": ("ratio", "{:.2f}".format),
    "task": ("task s", _seconds),
    "task_ratio": ("ratio of tasks", "{:.2f}".format),
    "to_disk": ("s to disk", _seconds),
    "cpu": ("CPU s", _seconds),
    "cpu_ratio": ("ratio of CPU", "{:.2f}".format),
    "peak": ("peak MB", _megabytes),
    "blobs": ("blobs", "{:.0f}".format),
    "bytes": ("MB sent", _megabytes),
    "stated": ("MB reported", _megabytes),
    "head": ("HEAD", "{:.0f}".format),
    "get": ("GET", "{:.0f}".format),
    "requests": ("requests", "{:.0f}".format),
    "manifest_gets": ("GET of manifests", "{:.0f}".format),
    "blob_requests": ("for blobs", "{:.0f}".format),
    "first": ("MB before the kill", _megabytes),
    "second": ("MB after it", _megabytes),
    "of_all": ("of the image", "{:.1%}".format),
    "verified": ("content", str),
}


@dataclass(frozen=True)
class Row:
    """The numbers of one tool."""

    label: str
    cells: Mapping[str, Cell]

    def text(self, column: str) -> str:
        """Return a number as text; a dash if there is none."""
        value = self.cells.get(column)
        return "-" if value is None else COLUMNS[column][1](value)


@dataclass(frozen=True)
class Table:
    """The numbers of one scenario; `text` describes it in Markdown.

    The column `ratio` is the wall time of a row divided by that of the first row, `task_ratio` the same for task times.
    """

    name: str
    title: str
    text: str
    rows: Sequence[Row]
    runs: int

    def shown(self) -> list[str]:
        """Return the columns that have a number in any row, in order."""
        there = {name for row in self.rows for name, cell in row.cells.items() if cell is not None}
        return [name for name in COLUMNS if name in there]

    def row(self, label: str) -> Row | None:
        """Return the row with a label; None if there is none."""
        return next((row for row in self.rows if row.label == label), None)

    def as_dict(self) -> dict[str, Any]:
        """Return the table as JSON-compatible values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Table:
        """Return the table from the values of `as_dict`."""
        return cls(**{**document, "rows": [Row(**row) for row in document["rows"]]})


def usage_cells(usages: Sequence[Usage]) -> dict[str, Cell]:
    """Return the medians of several runs, and the fastest and slowest time."""
    middle = median(usages)
    seconds = [usage.seconds for usage in usages]
    spread = f"{_seconds(min(seconds))} to {_seconds(max(seconds))}" if len(usages) > 1 else None
    return {**asdict(middle), "spread": spread}


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with ratios to the first one; task ratios only if several rows have task times."""
    first = rows[0].cells
    compared = {"ratio": "seconds"}
    if sum(row.cells.get("task") is not None for row in rows) > 1:
        compared["task_ratio"] = "task"
    return [
        Row(
            row.label,
            {
                **row.cells,
                **{name: _ratio(row.cells[of], first[of]) for name, of in compared.items()},
            },
        )
        for row in rows
    ]


def _ratio(value: Any, first: Any) -> Cell:
    return None if value is None or first is None else value / first
