# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull, remove, log in, lock, export, import or build again and again, and ``kill -9`` each at its next system call until one survives.

::

    python3 tests/support/killed_pull.py first DIRECTORY

leaves a store for every death in ``DIRECTORY/1``, ``DIRECTORY/2`` and so on, and prints a JSON list
of the calls that were the last ones. A write is torn: half of its bytes reach the file.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import os
import shutil
import signal
import sys
import types
import typing as t
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[5]))

from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.lock import (
    LockOptions,
    plan_lock,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.login import (
    plan_login,
    plan_logout,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.remove import plan_remove
from ansible_collections.lockstep.images.plugins.module_utils._plan import Plan
from ansible_collections.lockstep.images.plugins.module_utils._registry.credentials import (
    Credentials,
)
from ansible_collections.lockstep.images.plugins.module_utils._registry.registry import Registry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.archives import export, import_archive
from ansible_collections.lockstep.images.tests.support.building import Builds
from ansible_collections.lockstep.images.tests.support.fakes import FakeSources
from ansible_collections.lockstep.images.tests.support.images import demo_image, image, layer
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import carry_out, pull
from ansible_collections.lockstep.images.tests.support.syncing import lock_of, sync

APP, TOOL = "registry.example/app:1", "registry.example/tool:1"
SCENARIOS = ("first", "moved")
REMOVED, SYNCED = "removed", "synced"
LOGGED_IN, LOGGED_OUT, LOCKED = "logged-in", "logged-out", "locked"
EXPORTED, REPAIRED, IMPORTED, BUILT = "exported", "repaired", "imported", "built"
CHUNK = 2048  # bytes
HOST, USER = "registry.example", Credentials("alice", "hunter22")
# Everything in files.py that reaches the disk, and what lies between.
CALLS = ("open", "write", "pwrite", "ftruncate", "fsync", "fchmod", "chmod", "rename", "mkdir")
CALLS += ("unlink", "close")


def sources_of(version: str) -> FakeSources:
    """An index of two platforms, whose last layers depend on the version, and an image."""
    sources = FakeSources()
    sources.publish(APP, demo_image("app", version, layers=2, size=1500))
    sources.publish(TOOL, image([layer({"tool": b"tool"})]))
    return sources


def prepare(scenario: str, path: Path) -> None:
    """Prepare the store: empty, or with an older version and the leftovers of another killed pull."""
    locked()
    if scenario in (LOGGED_OUT, LOCKED):
        path.mkdir(parents=True)
    if scenario == LOGGED_OUT:
        log_in(path)
    elif scenario == LOCKED:
        (path / "images.lock.yml").write_text("---\nlockfile_version: 1\nimages: []\n")
    elif scenario == BUILT:
        Builds(path)
    elif scenario in (EXPORTED, REPAIRED, IMPORTED):
        pull(ImageStore(str(path / "source")), sources_of("1"), APP, TOOL)
        if scenario != EXPORTED:
            export_all(path)
        if scenario == REPAIRED:
            (path / "a.tar.002").unlink()
    elif scenario not in ("first", LOGGED_IN):
        pull(ImageStore(str(path)), sources_of("0"), APP, TOOL)
        (path / ".staging" / "part-of-the-dead").write_bytes(b"half")


def run(path: Path) -> dict[str, t.Any]:
    """The pull that is killed, and the one that comes after."""
    return pull(ImageStore(str(path), lock_timeout=20), sources_of("1"), APP, TOOL)


def remove(path: Path) -> dict[str, t.Any]:
    """The removal that is killed, and the one that comes after."""
    store = ImageStore(str(path), lock_timeout=20)
    return carry_out(
        store, lambda held: plan_remove(held, [APP], prune=True, keep_newest=0), exclusive=True
    ).result()


@functools.cache
def locked() -> Lock:
    """What the sync is for: the newer version, and not the other image."""
    return lock_of(sources_of("1"), APP)


def synced(path: Path) -> dict[str, t.Any]:
    """The sync that is killed, and the one that comes after."""
    return sync(path, locked(), sources_of("1"))


def log_in(path: Path) -> bool:
    """The login that is killed, and the one that comes after."""
    registry = types.SimpleNamespace(name=HOST, warnings=[])
    file = str(path / "docker" / "config.json")
    return done(plan_login(t.cast(Registry, registry), USER, file, verify=False, reauthorize=False))


def log_out(path: Path) -> bool:
    """The logout that is killed, and the one that comes after."""
    return done(plan_logout(HOST, str(path / "docker" / "config.json")))


def lock(path: Path) -> bool:
    """The locking with embedded manifests that is killed, and the one that comes after."""
    plan = plan_lock(
        str(path / "images.lock.yml"),
        [Reference.parse(APP)],
        (),
        sources_of("1"),
        LockOptions(1, embed=True),
    )
    return done(plan)


def export_all(path: Path) -> dict[str, t.Any]:
    """The export that is killed, and the one that comes after."""
    return export(path / "source", path / "a.tar", APP, TOOL, chunk_size=CHUNK)


def import_all(path: Path) -> dict[str, t.Any]:
    """The import that is killed, and the one that comes after."""
    return import_archive(path / "store", path / "a.tar")


def build(path: Path) -> dict[str, t.Any]:
    """The build that is killed, and the one that comes after."""
    with Builds(path).plan() as plan:
        return execute(plan).result()


def done(plan: Plan) -> bool:
    """Carry a plan out; return whether it changed anything."""
    outcome = execute(plan)
    if outcome.failures:
        raise outcome.failures.popitem()[1]
    return plan.changed


WORK: dict[str, t.Callable[[Path], object]] = {
    REMOVED: remove,
    SYNCED: synced,
    LOGGED_IN: log_in,
    LOGGED_OUT: log_out,
    LOCKED: lock,
    EXPORTED: export_all,
    REPAIRED: export_all,
    IMPORTED: import_all,
    BUILT: build,
}


def die_at(number: int, report: int) -> None:
    """Let this process kill itself at its call ``number`` (from 1) of those that matter."""
    count = itertools.count(1)

    def deadly(name: str, real: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(*args: t.Any, **options: t.Any) -> t.Any:
            if next(count) == number:
                writes(report, name.encode())
                if name in ("write", "pwrite"):
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return call

    writes = os.write
    for name in CALLS:
        setattr(os, name, deadly(name, getattr(os, name)))
    fcntl.flock = deadly("flock", fcntl.flock)


def killed_at(number: int, path: Path, work: t.Callable[[Path], object]) -> str | None:
    """Work in a child that dies at its call ``number``: which one, None if it ended before."""
    reader, report = os.pipe()
    child = os.fork()
    if child == 0:
        die_at(number, report)
        work(path)
        os._exit(0)
    os.close(report)
    _child, status = os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        name = pipe.read()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return name
    if status:
        raise RuntimeError(f"the process that should die at call {number} failed")
    return None


def main(scenario: str, directory: str) -> None:
    """Kill at every call, in a fresh copy of the same beginning each time."""
    before, calls = Path(directory, "before"), []
    prepare(scenario, before)
    work = WORK.get(scenario, run)
    for number in itertools.count(1):
        path = Path(directory, str(number))
        if before.exists():
            shutil.copytree(before, path)
        last = killed_at(number, path, work)
        if last is None:
            break
        calls.append(last)
    print(json.dumps(calls))


if __name__ == "__main__":
    main(*sys.argv[1:])
