# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of what registries hold, and stores that are brought to them."""

from __future__ import annotations

import os
import tempfile
import typing as t
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.lockstep.images.plugins.module_utils._image.lock import Lock
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import read_lock
from ansible_collections.lockstep.images.plugins.module_utils._operations.lock import (
    LockOptions,
    plan_lock,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import plan_sync
from ansible_collections.lockstep.images.plugins.module_utils._plan import Outcome, Plan
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import (
    RepairStore,
)

from .plans import FETCHING_KEYS, dry_run, execute, fetch_options
from .stores import AMD64, ARM64, carry_out

QUICK = "quick"
BOTH = (AMD64, ARM64)
PLACE = "images.lock.yml"


def lock_value(
    sources: t.Any, *names: str, platforms: Sequence[str] = BOTH, embed: bool = False
) -> dict[str, t.Any]:
    """What the lookup gives for a lock file of these names."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, PLACE)
        plan = plan_lock(
            path,
            [Reference.parse(name) for name in names],
            [],
            sources,
            LockOptions(1, platforms=platforms, embed=embed),
        )
        assert execute(plan).failure is None
        value = read_lock(path, PLACE)
    assert value
    return value


def lock_of(sources: t.Any, *names: str, **how: t.Any) -> Lock:
    """The lock of these names, as modules read it; nobody remembers what was asked for it."""
    value = lock_value(sources, *names, **how)
    sources.forget()
    return Lock.parse(value)


def syncing(lock: Lock, sources: t.Any, **how: t.Any) -> Callable[[t.Any], Plan]:
    """What plans a sync of a store."""
    more = {key: how[key] for key in how if key not in FETCHING_KEYS}
    given = {"platforms": None, "exclusive": True, "mode": QUICK, **more}
    return lambda store: plan_sync(lock, store, sources, fetch_options(how), **given)


def opened(path: Path, lock_timeout: float = 5) -> RepairStore:
    """A store as the module opens it."""
    return RepairStore(str(path), lock_timeout)


def attempt(path: Path, lock: Lock, sources: t.Any, **how: t.Any) -> Outcome:
    """Sync, and return the outcome, whether or not some of its images failed."""
    return carry_out(opened(path), syncing(lock, sources, **how))


def sync(path: Path, lock: Lock, sources: t.Any, **how: t.Any) -> dict[str, t.Any]:
    """Sync, and return the result as the module would."""
    outcome = attempt(path, lock, sources, **how)
    if outcome.failure:
        raise outcome.failure
    return outcome.result()


def checked(path: Path, lock: Lock, sources: t.Any, **how: t.Any) -> dict[str, t.Any]:
    """What check mode would say."""
    store = opened(path)
    with store.hold():
        return dry_run(syncing(lock, sources, **how)(store)).result()
