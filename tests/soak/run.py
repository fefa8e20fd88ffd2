# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Use one store for a long time, by tasks at random, and check after each round that the store is valid.

A round starts up to three tasks at once: pulls, syncs, removals, prunes, repairs, loads into the directory of k3s, exports
and imports. Some are killed, tags move, blobs on the disk are damaged, and the registry misbehaves. A task must succeed or
fail with a kind that docs/errors.md lists. Every twenty rounds the registry recovers, and the store must become the same as
a new one, with nothing left over, and stay so.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[5]))

from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.faults import Fault
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.publish import push
from ansible_collections.lockstep.images.tests.support.registry import Registry
from ansible_collections.lockstep.images.tests.support.stores import (
    assert_valid_store,
    blobs,
    leftovers,
)

REPOSITORIES = ("api", "cache", "db", "web")
RECOVERY = 20  # rounds
KINDS = frozenset(
    re.findall(r"^\|? ?`([a-z-]+)`", (modules.ROOT / "docs" / "errors.md").read_text("utf-8"), re.M)
)
Task = tuple[str, dict[str, t.Any]]


class Soak:
    """The store below ``directory``, the registry, and what happens to them.

    ``pick`` makes all choices. A task that takes longer than ``limit`` seconds ends the soak.
    """

    def __init__(
        self, directory: Path, registry: Registry, pick: random.Random, limit: float
    ) -> None:
        self.directory, self.registry, self.pick, self.limit = directory, registry, pick, limit
        self.store = directory / "store"
        self.counts: collections.Counter[str] = collections.Counter()
        self.version = 0
        self.lock: dict[str, t.Any] = {}
        (directory / "agent").mkdir()
        for repository in REPOSITORIES:
            self.publish(repository)
        self.write_lock()

    def publish(self, repository: str) -> None:
        """Move the tag of a repository to a new version; most of its layers stay."""
        self.version += 1
        item = demo_image(repository, str(self.version), size=self.pick.choice([500, 60_000]))
        push(self.registry, f"soak/{repository}", item, "1")

    def name(self, repository: str) -> str:
        """Return the name of an image."""
        return f"{self.registry.address}/soak/{repository}:1"

    def names(self) -> list[str]:
        """Return some of the names, all of them every third time."""
        count = self.pick.choice([1, 2, len(REPOSITORIES)])
        return [self.name(one) for one in self.pick.sample(REPOSITORIES, count)]

    def write_lock(self) -> None:
        """Lock what the tags point to now, without faults."""
        self.registry.faults.clear()
        names = [self.name(one) for one in REPOSITORIES]
        self.succeed("image_lock", name=names, path=str(self.directory / "images.lock"))
        self.lock = read_lock(str(self.directory / "images.lock")) or {}

    def task(self) -> Task:
        """Return a module and its options."""
        fetching = {"timeout": 2, "retries": self.pick.choice([0, 2]), "parallel": 4}
        archive = str(self.directory / "archive.tar")
        tasks: list[Task] = [
            ("image_pull", {"name": self.names(), **fetching}),
            ("image_sync", {"lock": self.lock, **fetching}),
            ("image_sync", {"lock": self.lock, "exclusive": False, **fetching}),
            ("image_remove", {"name": self.names()}),
            ("store_prune", {"older_than": self.pick.choice(["0", "1h"])}),
            ("store_verify", {"mode": "full", "repair": True, "timeout": 2}),
            ("image_info", {}),
            ("image_load", {"name": self.names(), **self.engine}),
            ("image_export", {"name": self.names(), "dest": archive}),
            ("image_import", {"src": archive}),
        ]
        return self.pick.choice(tasks)

    @property
    def engine(self) -> dict[str, str]:
        """The options of an engine that has no daemon."""
        return {"engine": "directory", "path": str(self.directory / "agent")}

    def fault(self) -> Fault:
        """Return a fault of the registry."""
        how: dict[str, t.Any] = self.pick.choice(
            [
                {"status": self.pick.choice([401, 403, 404, 429, 500, 502, 503])},
                {"truncate_at": self.pick.randint(0, 3000)},
                {"reset_at": self.pick.randint(0, 3000)},
                {"stall_at": self.pick.randint(0, 3000)},
                {"corrupt": self.pick.randint(0, 300)},
                {"close_before": True},
                {"ignore_range": True},
                {"body": b"<html>gateway</html>"},
                {"redirect": "http://127.0.0.1:1/gone"},
                {"delay": 0.2},
                {"extend": b"more"},
                {"chunked_cut_at": 100},
            ]
        )
        path = self.pick.choice(["/blobs/", "/manifests/", "", "/soak/db/"])
        return Fault(method="GET|HEAD", path=path, times=self.pick.randint(1, 4), **how)

    def damage(self) -> None:
        """Damage a blob of the store, as a bad disk does."""
        found = sorted(self.store.glob("blobs/sha256/*"))
        if found:
            path = self.pick.choice(found)
            path.write_bytes(path.read_bytes()[: self.pick.choice([0, 10])])
            self.counts["damaged blobs"] += 1

    def round(self) -> None:
        """Run up to three tasks at once, kill some, and check the store."""
        if self.pick.random() < 0.2:
            self.publish(self.pick.choice(REPOSITORIES))
        if self.pick.random() < 0.1:
            self.write_lock()
        self.registry.faults[:] = [self.fault() for _one in range(self.pick.choice([0, 0, 1, 3]))]
        tasks = [self.task() for _one in range(self.pick.choice([1, 1, 2, 3]))]
        running = [modules.start(name, store=str(self.store), **how) for name, how in tasks]
        for (name, _how), process in zip(tasks, running):
            self.end(name, process)
        assert_valid_store(self.store)

    def end(self, name: str, process: subprocess.Popen[str]) -> None:
        """Kill a task after a moment, or wait for its answer and check it."""
        self.counts["tasks"] += 1
        if self.pick.random() < 0.25:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.pick.random())
            process.kill()
            self.counts["killed"] += process.wait() < 0
            process.communicate()
            return
        done = modules.finish(process, self.limit)
        if done.failed:
            assert done.kind in KINDS, f"{name}: {done.result}"
            self.counts[f"{name}: {done.kind}"] += 1
        assert "Traceback" not in done.stdout + done.stderr, f"{name}: {done.result}"

    def recover(self) -> None:
        """With a good registry again, the store must become the same as a new one, and nothing may be left over."""
        self.write_lock()
        new = self.directory / "new"
        shutil.rmtree(new, ignore_errors=True)
        here, there = {"store": str(self.store)}, {"store": str(new)}
        self.succeed("store_verify", mode="full", repair=True, **here)
        self.succeed("image_sync", lock=self.lock, **here)
        self.succeed("image_sync", lock=self.lock, **there)
        self.succeed("store_prune", older_than="0", **here)
        # A part of an image that the lock no longer names may be resumed for a week, unless a task says otherwise.
        time.sleep(1.1)
        self.succeed("store_prune", older_than="1s", **here)
        again = self.succeed("image_sync", lock=self.lock, **here)
        assert not again["changed"], again
        assert self.succeed("store_verify", mode="full", **here)["corrupt"] == []
        assert again["fingerprint"] == self.succeed("image_info", **there)["fingerprint"]
        differing = blobs(self.store) ^ blobs(new)
        assert not differing, differing
        left = leftovers(self.store)
        assert not left, left
        self.counts["recoveries"] += 1

    def succeed(self, module: str, **how: t.Any) -> dict[str, t.Any]:
        """Run a task that must not fail; return its result."""
        done = modules.finish(modules.start(module, **how), self.limit)
        assert not done.failed, f"{module}: {done.result}"
        return done.result


def main() -> None:
    """Soak for as long as the command line says, and print what happened."""
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1, help="of the choices (default: 1)")
    parser.add_argument(
        "--task-seconds",
        type=float,
        default=600.0,
        help="end the soak if a task takes longer, because it might hang (default: 600)",
    )
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    with Registry() as registry:
        soak = Soak(directory, registry, random.Random(options.seed), options.task_seconds)
        try:
            while time.monotonic() < end:
                for _one in range(RECOVERY):
                    soak.round()
                    soak.counts["rounds"] += 1
                soak.recover()
        except BaseException:
            print(f"The store of the fault is {soak.store}", file=sys.stderr)
            raise
        finally:
            for what, count in sorted(soak.counts.items()):
                print(f"{what:<50}{count:>8,}")
    shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
