# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change roots, and what a task returns of roots."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image import errors
from .._plan import Action
from .._rootfs import fstab
from .._rootfs.bundle import user_of
from .._rootfs.errors import TreeBusyError, TreeUnsupportedError, access
from .._rootfs.mountinfo import mounts
from .._rootfs.removal import opened
from .._rootfs.roots import Root, RootRecord
from .._rootfs.state import TreeState


@dataclass(frozen=True)
class ChangeMount(Action):
    """Unmount a root, mount it, or remove it; the steps are in this order."""

    root: Root
    record: RootRecord | None  # what is mounted in the end
    is_mounted: bool
    line: str = ""  # of fstab, before the task
    discards: bool = False
    removes: bool = False
    needed_by: tuple[str, ...] = ()
    subject: str = ""

    def summary(self) -> dict[str, t.Any]:
        verb = "mount_root" if self.record else "remove_root" if self.removes else "unmount_root"
        chain_id = self.record.chain_id if self.record else None
        return {"action": verb, "path": self.root.merged, "chain_id": chain_id}

    def apply(self, pool: Pool) -> None:
        self._change()

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        """Change mounts in the main thread, whose working directory they use."""
        return [action._error() for action in actions]

    def _error(self) -> errors.LockstepError | None:
        try:
            self._change()
        except errors.LockstepError as exc:
            return exc
        return None

    def _change(self) -> None:
        if self.root.is_mounted and not self.is_mounted:
            raise TreeBusyError(f"{self.root.merged}: another task has mounted it", "Run again.")
        self.root.unmount()
        if self.discards:
            self.root.discard()
        if self.removes:
            self.root.remove()
        if self.record:
            self.root.mount(self.record, self.line)


@dataclass(frozen=True)
class ChangeFstab(Action):
    """Set or remove the line of a root in fstab."""

    root: Root
    line: str | None
    state: TreeState = field(repr=False)
    needed_by: tuple[str, ...] = ()
    subject: str = ""

    def summary(self) -> dict[str, t.Any]:
        verb = "set_fstab" if self.line else "remove_fstab"
        return {"action": verb, "path": self.root.merged, "chain_id": None}

    def apply(self, pool: Pool) -> None:
        self._change([self])

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        """Write all lines at once."""
        try:
            self._change(actions)
        except errors.LockstepError as exc:
            return [exc] * len(actions)
        return [None] * len(actions)

    def _change(self, actions: t.Sequence[ChangeFstab]) -> None:
        lines = {action.root.merged: action.line for action in actions}
        if any(lines.values()):  # after a power failure, a boot finds what the lines name
            where = os.path.join(self.state.path, "roots")
            with access(where), opened(where) as directory:
                self.state.flush(directory)
        fstab.change(lines)


class RootFacts(t.NamedTuple):
    """What a task returns of one root, except its user, and what the root is as planned."""

    facts: dict[str, t.Any]
    root: Root
    record: RootRecord | None

    def with_user(self, mounted: t.Container[str]) -> dict[str, t.Any]:
        """Return the facts with ``user``; ``mounted`` is where roots are mounted."""
        return {**self.facts, "user": self.user(mounted)}

    def user(self, mounted: t.Container[str]) -> dict[str, t.Any] | None:
        """Look up the user of the image in the root; None if the root is not mounted as planned."""
        config, record, planned = self.facts["config"], self.root.record, self.record
        if config is None or record is None or planned is None or not record.is_like(planned):
            return None
        if self.root.merged not in mounted:
            return None
        with contextlib.suppress(TreeUnsupportedError), opened(self.root.merged) as tree:
            found = user_of(tree, config["user"])
            return {name: found[name] for name in ("uid", "gid")}
        return None


class MountFacts(t.Mapping[str, t.Any]):
    """What a task returns: the facts of its root, or ``roots``. Users are looked up at the end, when roots are mounted."""

    def __init__(self, state_path: str, roots: t.Sequence[RootFacts], is_list: bool) -> None:
        self._state_path, self._roots, self._is_list = state_path, roots, is_list

    def __getitem__(self, key: str) -> t.Any:
        if key not in ("roots", "user"):
            return self._roots[0].facts[key]
        mounted = mounted_roots(self._state_path)
        if key == "user":
            return self._roots[0].user(mounted)
        return [one.with_user(mounted) for one in self._roots]

    def __iter__(self) -> t.Iterator[str]:
        return iter(["roots"] if self._is_list else [*self._roots[0].facts, "user"])

    def __len__(self) -> int:
        return len(list(iter(self)))


def mounted_roots(state_path: str) -> dict[str, str]:
    """Return the options of the mounts of roots by their paths. What is mounted is read once for all of them."""
    below = os.path.join(state_path, "roots", "")
    return {one.path: one.options for one in mounts() if one.path.startswith(below)}


def without_failed(result: t.Mapping[str, t.Any], _arrived: t.Container[str]) -> dict[str, t.Any]:
    """Return what a failed task returns of its roots: those that have not failed."""
    failed = {one["name"] for one in result.get("failures", ())}
    return {"roots": [one for one in result.get("roots", ()) if one["root"] not in failed]}
