# SPDX-License-Identifier: GPL-3.0-or-later
"""Prune the state directory: remove unpacked layers that no image of the store and no root needs."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image import errors
from .._image.chain import chain_ids
from .._image.manifest import ImageConfig
from .._plan import Action, Plan
from .._rootfs.errors import TreeAccessError, TreeBusyError, access
from .._rootfs.roots import roots_of
from .._rootfs.state import TreeState
from .._store.reader import StoreReader
from .reach import Reachable


@dataclass(frozen=True)
class RemoveLayer(Action):
    """Remove the files of a layer."""

    key: str
    bytes: int | None
    state: TreeState = field(repr=False)

    def summary(self) -> dict[str, t.Any]:
        return {"action": "remove_layer", "key": self.key, "bytes": self.bytes}

    def apply(self, pool: Pool) -> None:
        if self.key in _keys_in_use(self.state.path):  # since the plan, which held no lock
            raise TreeBusyError(f"layer {self.key}: a root uses it now", "Run again.")
        with access(self.state.path):
            self.state.remove_layer(self.key)


def plan_tree_prune(store: StoreReader, state: TreeState) -> Plan:
    """Remove what is not needed; a task that unpacks at the same time is waited for.

    Raise CorruptStoreError if an image is unreadable, TreeAccessError if a root is: its layers are not known then.
    """
    needed = _keys_in_use(state.path)
    chains = _chains_of(store)
    steps = []
    keys = state.layer_keys()
    for key in keys:
        if key not in needed and "-".join(key.split("-")[:2]) not in chains:
            record = state.layer(key)
            steps.append(RemoveLayer(key, record.bytes if record else None, state))
    return Plan(
        last=tuple(steps),
        before={"layers": len(keys)},
        after={"layers": len(keys) - len(steps)},
        facts={
            "removed": [step.key for step in steps],
            "bytes_freed": sum(step.bytes or 0 for step in steps),
            "state_path": state.path,
        },
        prepare=state.prepare,
        workers=1,
    )


def _keys_in_use(state_path: str) -> set[str]:
    """Return the keys of the layers of all roots; raise TreeAccessError if the record of one cannot be read."""
    found: set[str] = set()
    for root in roots_of(state_path):
        record = root.record
        if record is None and os.path.lexists(os.path.join(root.path, "root.json")):
            raise TreeAccessError(
                f"{root.path}: root.json cannot be read, so the layers of the root are not known",
                "Mount the root again, or remove it.",
            )
        found.update(record.keys if record else ())
    return found


def _chains_of(store: StoreReader) -> set[str]:
    """Return the chain ids of all layers of all images in the store, written as in the names of directories."""
    reach = Reachable.of(store, store.labelled().values())
    reach.require_intact(store.path)
    found = set()
    for manifest in reach.images.values():
        config = manifest.config
        if config is None or not config.is_image_config or not store.has(config):
            continue
        try:
            parsed = ImageConfig.parse(store.read(config.digest), f"{store.path}: {config.digest}")
        except errors.DigestMismatchError as exc:
            raise errors.CorruptStoreError(str(exc), path=store.path) from exc
        except errors.ManifestError:
            continue  # no layer of it was ever unpacked
        found |= {f"{one.algorithm}-{one.encoded}" for one in chain_ids(parsed.diff_ids)}
    return found
