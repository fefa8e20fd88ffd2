# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show the numbers on the terminal, and write the page docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .chart import PANELS, draw
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

This command measures everything in one run and writes this page:

```shell
./dev bench --runs {runs} --write
```

It runs as root and needs the packages `docker-registry`, `nginx-light`, `curl` and `time`. It compares the collection
with `skopeo`, `docker.io` with `containerd`, and `podman`, as far as they are installed. To measure single scenarios,
name them: `./dev bench cold update`. `./dev bench --help` lists them. All services run in private directories, which
are removed at the end.

![Wall-clock seconds for this collection and for other tools]({chart})

"""

_HOW = """\
## How it is measured

- Every number is the median of {runs}, taken separately for each column. The tools take turns. Each starts from an
  empty target, or from the state that the scenario describes. Before each measurement all pending writes are flushed,
  so that no tool pays for the writes of another. In the scenarios that start with all content in place, a tool that
  finishes within ten seconds runs three times in each turn, because other work of the machine has more influence on
  short times.
- **wall s** is the time from the start of the command to its end. For "the task" and for `docker_image_pull`, the
  command is `ansible-playbook`, including its start. For "the module alone", it is the module's file run by Python,
  including the start of Python, but without the transfer to a host by Ansible.
- **ratio** is the wall time divided by that of the first row: 2.00 takes twice as long.
- **task s** is the time of the task alone, with all items of a loop, as `ansible.posix.profile_tasks` counts it: from
  the moment Ansible starts the task to its result. The rest is the start of `ansible-playbook`, which is the same for
  every task. **ratio of tasks** compares these times.
- **s to disk** is the time until everything is on the disk (`sync -f`). `image_pull` and skopeo flush each file before
  they rename it into place. The other tools may end while part of their output is still in memory.
- **CPU s** is the user and system time of the command and all its children (`wait4`). For docker and ctr it includes
  the daemons (`/proc/PID/stat`). It does not include the registry.
- **peak MB** is resident memory. It is that of the largest process of the command (`ru_maxrss`). For docker it is that
  of `dockerd` (`VmHWM`, reset before each run), for ctr that of the client and containerd together. For "the task" it
  is that of the module's process, not of `ansible-playbook`.
- All tools run with their defaults, including the number of layers they fetch at once.
- Bytes sent and requests come from the access log of the registry.

Keep in mind when you read the numbers:

- Client and registry share one machine, its processors and its disk, over the loopback device. There is no latency and
  no TLS. On a real network, the network dominates, and the differences in the first table become smaller.
- The registry's files are in the page cache from the start.
- docker, podman and ctr do more than the others: they unpack. An image in an OCI layout is not ready to run.
- The numbers of one machine do not carry over to another. The ratios carry over better.

"""


@dataclass(frozen=True)
class Findings:
    """The results of one run."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    tables: Sequence[Table]


def shown(table: Table) -> str:
    """Return a table for the terminal."""
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
    """Write the page and its chart; return their paths."""
    page, chart = docs / PAGE, docs / CHART
    page.write_text(render(findings), encoding="utf-8")
    chart.write_text(draw(findings.tables), encoding="utf-8")
    return [page, chart]


def update(findings: Findings, docs: Path) -> Path:
    """Write the sections of single scenarios into the page, each in its place or as the last one; return its path.

    Raise ValueError if the page is of another machine, or if its chart shows one of the scenarios.
    """
    page = docs / PAGE
    page.write_text(updated(page.read_text(encoding="utf-8"), findings), encoding="utf-8")
    return page


def updated(page: str, findings: Findings) -> str:
    """Return a page with the sections of other numbers; errors are those of ``update``."""
    drawn = [table.name for table in findings.tables if table.name in PANELS]
    if drawn:
        raise ValueError(f"the chart needs all scenarios, not {', '.join(drawn)} alone")
    if _pairs("The machine", findings.machine) not in page:
        raise ValueError("the page is of another machine, so it needs all scenarios")
    for table in findings.tables:
        runs = _runs(table)
        more = f" The numbers are the medians of {runs}."
        is_said = f"is the median of {runs}," in page
        section = _section(table if is_said else replace(table, text=table.text + more))
        start = page.find(f"## {table.title}\n")
        if start < 0:
            start = end = page.index(_HOW.partition("\n")[0])
        else:
            end = page.index("\n## ", start) + 1
        page = page[:start] + section + page[end:]
    return page


def render(findings: Findings) -> str:
    """Return the page as Markdown."""
    first = findings.tables[0]
    parts = [_HEAD.format(runs=first.runs, chart=CHART)]
    parts += [_section(table) for table in findings.tables]
    parts.append(_HOW.format(runs=_runs(first)))
    parts.append(_pairs("The machine", findings.machine))
    parts.append(_pairs("The versions", findings.versions))
    return "".join(parts).rstrip() + "\n"


def _runs(table: Table) -> str:
    return "one run" if table.runs == 1 else f"{table.runs} runs"


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
