# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The numbers for people: on the terminal, and as the page docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .chart import draw
from .tables import COLUMNS, Table

PAGE = "benchmarks.md"
CHART = "benchmarks.svg"

_HEAD = """\
<!--
Copyright (c) 2026 lockstep.images contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Benchmarks

This page is written by a program, from one run of:

```shell
./dev bench --runs {runs} --write
```

It needs root, and the packages `docker-registry`, `nginx-light`, `curl` and `time`; it compares what is installed of
`skopeo`, `docker.io` with `containerd`, and `podman`. `./dev bench cold update` measures only that, and
`./dev bench --help` names the scenarios. All services run in private directories, and are gone at the end.

![Wall seconds of this collection and of other tools]({chart})

"""

_HOW = """\
## How it is measured

- Every number is the median of {runs} by itself. The tools take turns, and each begins with nothing, or with
  what the scenario says; then all that waits to be written is flushed, so nobody pays for another one. Where
  all is there already, what is over within ten seconds has three goes in each turn: of so little time, what the
  machine does beside is a large part.
- **wall s** is from the start of the command to its end. For "the task" and for `docker_image_pull` that is the
  whole of `ansible-playbook`, its start included; "the module alone" is the module's file run by Python as it lies
  there, with the start of Python, and without what Ansible does to bring it to a host.
- **ratio** compares wall seconds with those of the first row: 2.00 takes twice as long.
- **task s** is the part of it that is the task, a loop with all its items: from when Ansible begins it to its result,
  as `ansible.posix.profile_tasks` counts it. What is left is the start of `ansible-playbook`, which is the same for
  every task. **ratio of tasks** compares these seconds.
- **s to disk** goes on until all is on the disk (`sync -f`). `image_pull` and skopeo flush each file before they
  give it its name; the others may end while some of what they have written is still in memory.
- **CPU s** is user and system time of the command and of all its children (`wait4`), and for docker and ctr also of
  the daemons (`/proc/PID/stat`). What the registry needs is not counted.
- **peak MB** is resident memory: of the largest process of the command (`ru_maxrss`); for docker, of `dockerd`
  (`VmHWM`, reset before each run); for ctr, of the client and of containerd together. For "the task" it is that of
  the module's process, not of `ansible-playbook`.
- All tools have their defaults, also for how many layers they fetch at once.
- What is sent, and requests, are counted in the access log of the registry.

What to know when reading the numbers:

- Client and registry share the machine, its processors and its disk, over the loopback device. There is no latency
  and no TLS. On a real network the network decides, and the differences of the first table get smaller.
- The registry's files are in the page cache before it begins.
- docker, podman and ctr do more than the others: they unpack. An image in an OCI layout is not ready to run.
- Numbers of one machine say nothing about another; their ratios say a little more.

"""


@dataclass(frozen=True)
class Findings:
    """All that one run has found."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    tables: Sequence[Table]


def shown(table: Table) -> str:
    """A table for the terminal."""
    columns = table.shown()
    lines = [["", *(COLUMNS[name][0] for name in columns)]]
    lines += [[row.label, *(row.text(name) for name in columns)] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    texts = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(line[1:], widths[1:]))]
        )
        for line in lines
    ]
    runs = "1 run" if table.runs == 1 else f"medians of {table.runs} runs"
    return "\n".join([f"{table.name}: {table.title} ({runs})", "", *texts, ""])


def write(findings: Findings, docs: Path) -> list[Path]:
    """Write the page and its chart; returns where they are."""
    page, chart = docs / PAGE, docs / CHART
    page.write_text(render(findings), encoding="utf-8")
    chart.write_text(draw(findings.tables), encoding="utf-8")
    return [page, chart]


def render(findings: Findings) -> str:
    """The page."""
    first = findings.tables[0]
    parts = [_HEAD.format(runs=first.runs, chart=CHART)]
    parts += [_section(table) for table in findings.tables]
    runs = "one run" if first.runs == 1 else f"{first.runs} runs"
    parts.append(_HOW.format(runs=runs))
    parts.append(_pairs("The machine", findings.machine))
    parts.append(_pairs("The versions", findings.versions))
    return "".join(parts).rstrip() + "\n"


def _section(table: Table) -> str:
    columns = table.shown()
    head = ["", *(COLUMNS[name][0] for name in columns)]
    rows = [[row.label, *(row.text(name) for name in columns)] for row in table.rows]
    lines = [head, ["---", *("---:" for _name in columns)], *rows]
    grid = "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
    return f"## {table.title}\n\n{table.text}\n\n{grid}\n\n"


def _pairs(title: str, facts: Mapping[str, str]) -> str:
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"## {title}\n\n| | |\n|---|---|\n{lines}\n\n"
