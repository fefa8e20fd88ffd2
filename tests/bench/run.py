# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare this collection with the tools that people use today, in one run on one machine.

    ./dev bench [SCENARIO...] [--runs 3] [--write]

    cold         pull a large image, beside the limits of the machine
    throttled    pull one large layer from a server that limits the speed of each connection
    update       pull an image of which one layer of six has changed
    small        pull 100 small images in one task
    converged    pull 100 small images again, by tag, by digest and by a lock file
    load         bring 100 small images to Docker in one task, and again
    killed       kill a pull at half of its bytes, and run it again
    names        pull into stores with 10, 1,000 and 10,000 names
    copy         copy 100 tags from one registry to another, twice
    far          pull and copy over a long distance: 50 ms, 100 Mbit/s and TLS
    fleet        provision and audit 40 hosts, beside ping; LOCKSTEP_BENCH_CORE=2.16 takes another ansible-core
    verify       hash the content of a store
    unpack       unpack an image of 1 GB with files of this machine
    build        add 30 files to a base image that is on the host
    archive      export a store to an archive, and import it

The default is all of them. They compare the collection with skopeo, docker, podman and ctr, as far as
these are installed. With --write, docs/benchmarks.md and its chart are written again; with --write and
scenarios that the chart does not show, only their sections of the page. The numbers are for people; no
test asserts them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    # The modules import each other by the name of the collection, as the tests do.
    sys.path[:0] = map(str, Path(__file__).absolute().parents[5:6])

try:
    from ansible_collections.lockstep.images.tests.bench import peers, report
    from ansible_collections.lockstep.images.tests.bench.lab import Lab
    from ansible_collections.lockstep.images.tests.bench.machine import machine, versions
    from ansible_collections.lockstep.images.tests.bench.scenarios import SCENARIOS
    from ansible_collections.lockstep.images.tests.bench.tables import Table
    from ansible_collections.lockstep.images.tests.support.services import docker_registry
    from ansible_collections.lockstep.images.tests.support.services_process import (
        ServiceError,
        missing_programs,
    )
except ModuleNotFoundError as exc:
    if exc.name and exc.name.startswith("ansible_collections"):
        sys.exit("bench: the collection is not below ansible_collections; use ./dev bench")
    raise

NEEDED = ("docker-registry", "nginx", "curl", "time")


def main() -> int:
    """Run the scenarios and print their tables."""
    options = _options()
    if options.page_from:
        return _write(_read(options.page_from), options.docs)
    if os.geteuid() != 0:
        raise SystemExit("bench: only root can start the services")
    missing = missing_programs(*NEEDED)
    if missing:
        raise SystemExit(f"bench: not installed: {', '.join(missing)}")
    for name, programs in peers.absent().items():
        print(f"bench: {name} is left out, not installed: {', '.join(programs)}", flush=True)
    try:
        findings = _measure(options)
    except (ServiceError, AssertionError) as exc:
        raise SystemExit(f"bench: {exc}") from exc
    return _write(findings, options.docs) if options.write else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--runs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help="write the page, or sections of it")
    parser.add_argument(
        "--page-from",
        type=Path,
        metavar="JSON",
        help="write only the page, or its sections, from an earlier run",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        default=Path(__file__).absolute().parents[2] / "docs",
        help="where the page is",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "lockstep-bench",
        help="directory for the images, 1.5 GB, and the numbers of the last run (default: %(default)s)",
    )
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    return options


def _measure(options: argparse.Namespace) -> report.Findings:
    """Measure in the order of the page, and keep the numbers in the cache."""
    tables = []
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as name:
        workspace = Path(name)
        with docker_registry(workspace / "registry") as registry:
            for scenario in SCENARIOS:
                if options.scenarios and scenario not in options.scenarios:
                    continue
                print(f"bench: {scenario} ...", file=sys.stderr, flush=True)
                directory = workspace / scenario
                directory.mkdir()
                lab = Lab(directory, options.cache, registry, options.runs)
                tables.append(SCENARIOS[scenario](lab))
                shutil.rmtree(directory, ignore_errors=True)
                print(f"\n{report.shown(tables[-1])}", flush=True)
        findings = report.Findings(machine(workspace), versions(options.cache), tables)
    kept = options.cache / "last-run.json"
    document = {
        "machine": findings.machine,
        "versions": findings.versions,
        "tables": [table.as_dict() for table in tables],
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"bench: the numbers are in {kept}", file=sys.stderr)
    return findings


def _read(path: Path) -> report.Findings:
    """Return the numbers of an earlier run."""
    document = json.loads(path.read_text(encoding="utf-8"))
    tables = [Table.from_dict(table) for table in document["tables"]]
    return report.Findings(document["machine"], document["versions"], tables)


def _write(findings: report.Findings, docs: Path) -> int:
    """Write the page of a run of all scenarios, or the sections of a run of some."""
    try:
        if [table.name for table in findings.tables] == list(SCENARIOS):
            paths = report.write(findings, docs)
        else:
            paths = [report.update(findings, docs)]
    except ValueError as exc:
        raise SystemExit(f"bench: {exc}") from exc
    for path in paths:
        print(f"bench: wrote {path}")
    return 0


if __name__ == "__main__":
    # SIGTERM ends it like Ctrl-C, so that it stops the services it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
