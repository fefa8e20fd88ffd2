# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a lock file once for all hosts of a run.

Ansible reads it in a new process for each host. The first of them keeps the value as JSON in the temporary directory of the
run, which only its user can read and which Ansible removes at the end. Others that come at the same time wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import typing as t

from ansible import constants
from ansible_collections.lockstep.images.plugins.module_utils._lockfile.lockfile import (
    manifests_of,
    read_lock,
)


def read_lock_once(path: str, place: str) -> dict[str, t.Any] | None:
    """Return what ``read_lock`` returns; parse the file and its manifests only if one of them has changed in this run."""
    kept = os.path.join(constants.DEFAULT_LOCAL_TMP, f"lockstep-{_state(path, place)}.json")
    found = _kept(kept)
    if found is None:
        with _alone(f"{kept}.lock"):
            found = _kept(kept) or read_lock(path, place)
            if found is not None:
                # Without a place to keep it, the next host reads the file again.
                with contextlib.suppress(OSError):
                    _keep(kept, found)
    return found


def _kept(path: str) -> dict[str, t.Any] | None:
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="utf-8") as file:
            value: dict[str, t.Any] = json.load(file)
            return value
    return None


@contextlib.contextmanager
def _alone(path: str) -> t.Iterator[None]:
    """Run the block in one process at a time; where nothing can be locked, in all of them."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            fcntl.flock(held.enter_context(open(path, "wb")), fcntl.LOCK_EX)
        yield


def _state(path: str, place: str) -> str:
    """Return a digest of the path, and of the size and times of the lock file and of each file beside it."""
    seen = [path, place]
    with contextlib.suppress(OSError):
        seen.append(_stat(path))
        names = sorted(os.listdir(manifests_of(path)))
        seen += [f"{name} {_stat(os.path.join(manifests_of(path), name))}" for name in names]
    return hashlib.sha256("\0".join(seen).encode("utf-8", "surrogateescape")).hexdigest()


def _stat(path: str) -> str:
    one = os.stat(path)
    return f"{one.st_dev} {one.st_ino} {one.st_size} {one.st_mtime_ns} {one.st_ctime_ns}"


def _keep(path: str, value: t.Mapping[str, t.Any]) -> None:
    descriptor, made = tempfile.mkstemp(dir=os.path.dirname(path))
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(made, path)
