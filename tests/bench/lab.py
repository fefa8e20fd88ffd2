# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The place of a measurement, and the comparison of tools."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ansible_collections.lockstep.images.tests.support.services_process import Service, run

from . import peers
from .by_ansible import Module, Task
from .content import MB, LargeImage, Published, large_image, publish
from .measure import Usage
from .peers import Tool
from .tables import Cell, Row, usage_cells, with_ratios

REPOSITORY = "bench/large"
LAYER_SIZES = [300 * MB, 200 * MB, 150 * MB, 120 * MB, 80 * MB, 50 * MB]
SINGLE_SIZE = 500 * MB
_SOON = 10.0  # seconds


@dataclass(frozen=True)
class Lab:
    """The place of a measurement: `directory` belongs to one scenario, `cache` is kept."""

    directory: Path
    cache: Path
    registry: Service
    runs: int

    def large(self, version: str = "1") -> Published:
        """Return the image of six layers. Versions differ in the last layer only."""
        seeds = [f"layer-{number}" for number in range(len(LAYER_SIZES))]
        seeds[-1] += f"-{version}"
        return self._publish(version, large_image(self.cache, list(zip(seeds, LAYER_SIZES))))

    def single(self) -> Published:
        """Return the image of one large layer."""
        return self._publish("single", large_image(self.cache, [("single", SINGLE_SIZE)]))

    def _publish(self, tag: str, image: LargeImage) -> Published:
        published = publish(self.registry, REPOSITORY, tag, image)
        for url in published.layer_urls:  # fill the page cache, or the first read is slower
            run(["curl", "-sSf", "-o", "/dev/null", url])
        return published

    @contextlib.contextmanager
    def tools(self) -> Iterator[list[Tool]]:
        """Yield our tools and all installed peers."""
        ours: list[Tool] = [Task(self.directory / "task"), Module(self.directory / "module")]
        with peers.installed(self.directory) as others:
            yield [*ours, *others]


def compare(
    tools: Sequence[Tool],
    runs: int,
    pull: Callable[[Tool], tuple[Usage, Mapping[str, Cell]]],
    goes: int = 1,
    patience: float = math.inf,
) -> list[Row]:
    """Return the medians of `pull` for each tool. The tools take turns.

    With several `goes`, a tool that finishes soon runs that often in each turn. Other work of the machine, and pages
    that left the page cache since the previous turn, have a large influence on a time of one second. The other
    numbers that `pull` returns are those of the last run. A tool that takes more than `patience` seconds runs once.
    """
    usages: dict[str, list[Usage]] = {tool.label: [] for tool in tools}
    counted: dict[str, Mapping[str, Cell]] = {}
    for _number in range(runs):
        for tool in tools:
            if any(usage.seconds > patience for usage in usages[tool.label]):
                continue
            for _go in range(goes):
                usage, counted[tool.label] = pull(tool)
                usages[tool.label].append(usage)
                if usage.seconds > _SOON:
                    break
    rows = [
        Row(label, {**usage_cells(several), **counted[label]}) for label, several in usages.items()
    ]
    return with_ratios(rows)


def anew(images: Sequence[Published]) -> Callable[[Tool], tuple[Usage, Mapping[str, Cell]]]:
    """Return a function that pulls into an empty target and clears it afterwards."""

    def pull(tool: Tool) -> tuple[Usage, Mapping[str, Cell]]:
        tool.clear()
        usage = tool.pull(images)
        tool.clear()
        return usage, {}

    return pull
