# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount: the layers of an image become a root, a tree with changes of its own; its layers are unpacked as needed."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .._execution import Pool
from .._image import errors
from .._image.names import Platform
from .._plan import Action, Plan
from .._rootfs import fstab
from .._rootfs.bundle import settings_of, user_of
from .._rootfs.errors import TreeAccessError, TreeBusyError, TreeUnsupportedError, access
from .._rootfs.mounting import MOST_LAYERS, overlay_options
from .._rootfs.options import TreeOptions
from .._rootfs.removal import opened
from .._rootfs.roots import Root, RootRecord
from .._rootfs.state import TreeState
from .._store.reader import StoreReader
from .unpack import LAYERS, QUICK, UnpackOptions, UnpackPlanner, limits_of
from .unpack_source import PlannedImage

MOUNTED, UNMOUNTED, ABSENT = "mounted", "unmounted", "absent"
KEEP, DISCARD = "keep", "discard"
_DECIDE = "Set upper to keep the changes above the new image, or to discard them."


class MountOptions(t.NamedTuple):
    """How a root is mounted."""

    state: str
    read_only: bool = False
    volatile: bool = False
    fstab: bool = False
    upper: str | None = None


@dataclass(frozen=True)
class ChangeMount(Action):
    """Unmount a root, mount it, or remove it; the steps are in this order."""

    root: Root
    record: RootRecord | None  # what is mounted in the end
    is_mounted: bool
    discards: bool = False
    removes: bool = False
    subject: str = ""

    def summary(self) -> dict[str, t.Any]:
        verb = "mount_root" if self.record else "remove_root" if self.removes else "unmount_root"
        chain_id = self.record.chain_id if self.record else None
        return {"action": verb, "path": self.root.merged, "chain_id": chain_id}

    def apply(self, pool: Pool) -> None:
        self._change()

    def apply_all(self, actions: t.Sequence[t.Any], pool: Pool) -> t.Sequence[BaseException | None]:
        """Change mounts in the main thread, whose working directory they use."""
        for action in actions:
            action._change()
        return [None] * len(actions)

    def _change(self) -> None:
        if self.root.is_mounted and not self.is_mounted:
            raise TreeBusyError(f"{self.root.merged}: another task has mounted it", "Run again.")
        self.root.unmount()
        if self.discards:
            self.root.discard()
        if self.removes:
            self.root.remove()
        if self.record:
            self.root.mount(self.record, fstab.current(self.root.merged) or "")


@dataclass(frozen=True)
class ChangeFstab(Action):
    """Set or remove the line of a root in fstab."""

    root: Root
    line: str | None
    state: TreeState = field(repr=False)
    subject: str = ""

    def summary(self) -> dict[str, t.Any]:
        verb = "set_fstab" if self.line else "remove_fstab"
        return {"action": verb, "path": self.root.merged, "chain_id": None}

    def apply(self, pool: Pool) -> None:
        if self.line:  # after a power failure, a boot finds what the line names
            with access(self.root.path), opened(self.root.path) as directory:
                self.state.flush(directory)
        fstab.change(self.root.merged, self.line)


class MountFacts(t.Mapping[str, t.Any]):
    """What a task returns of a root. ``user`` is looked up at the end, in the root: None if the root is not as planned."""

    def __init__(self, facts: dict[str, t.Any], root: Root, record: RootRecord | None) -> None:
        self._facts, self._root, self._record = facts, root, record

    def __getitem__(self, key: str) -> t.Any:
        return self._user() if key == "user" else self._facts[key]

    def __iter__(self) -> t.Iterator[str]:
        return iter((*self._facts, "user"))

    def __len__(self) -> int:
        return len(self._facts) + 1

    def _user(self) -> dict[str, t.Any] | None:
        config, record = self._facts["config"], self._root.record
        if config is None or record != self._record or not self._root.is_mounted:
            return None
        with contextlib.suppress(TreeUnsupportedError), opened(self._root.merged) as tree:
            found = user_of(tree, config["user"])
            return {name: found[name] for name in ("uid", "gid")}
        return None


@dataclass
class MountPlanner:
    """Plans what a root needs to be as its task wants it."""

    store: StoreReader
    state: TreeState
    root: Root
    options: MountOptions
    _before: RootRecord | None = field(init=False)
    _is_mounted: bool = field(init=False)

    def __post_init__(self) -> None:
        self._before, self._is_mounted = self.root.record, self.root.is_mounted

    def plan(self, name: str | None, unpack: UnpackOptions) -> Plan:
        """Return the plan; ``name`` is the image, which only ``mounted`` needs."""
        if os.geteuid():
            raise TreeAccessError(f"{self.root.merged}: only root can mount a root", "Set become.")
        if self.options.state == MOUNTED:
            return self._plan_mounted(t.cast(str, name), unpack)
        removes = self.options.state == ABSENT and os.path.lexists(self.root.path)
        steps: list[Action] = []
        if self._is_mounted or removes:
            steps.append(ChangeMount(self.root, None, self._is_mounted, removes=removes))
        if self.options.state == ABSENT:
            steps += self._fstab(None)
        is_gone = self.options.state == ABSENT
        return self._with_facts(Plan(), steps, None if is_gone else self._before, None)

    def _plan_mounted(self, name: str, unpack: UnpackOptions) -> Plan:
        planner = UnpackPlanner(self.store, self.state, unpack)
        plan = planner.plan([name])
        if plan.failures:
            raise next(iter(plan.failures.values()))
        image = planner.images[0]
        record = self._record(image)
        self._require_mountable(record)
        discards = self._discards(record)
        steps: list[Action] = []
        is_same = self._before is not None and self._before[3:] == record[3:]
        if not (self._is_mounted and is_same and self.root.has_mounted(record)):
            steps.append(ChangeMount(self.root, record, self._is_mounted, discards))
        line = None
        if self.options.fstab:
            options = self.root.absolute_options(record)
            line = fstab.line_of(self.root.merged, options, record.read_only)
        steps += self._fstab(line)
        return self._with_facts(plan, steps, record, settings_of(image.config.value))

    def _record(self, image: PlannedImage) -> RootRecord:
        keys = tuple(layer.key for layer in image.layers)
        options = self.options
        return RootRecord(
            image.name, str(image.root), image.chain_id, keys, options.read_only, options.volatile
        )

    def _require_mountable(self, record: RootRecord) -> None:
        """Raise InputError for options that contradict each other, TreeUnsupportedError for too many layers."""
        if record.read_only and record.volatile:
            raise errors.InputError("volatile: a root that is read-only has no changes to lose")
        if record.volatile and self.options.fstab:
            raise errors.InputError("fstab: the changes of a volatile root end with a reboot")
        if len(record.keys) > MOST_LAYERS:
            overlay_options([""] * len(record.keys))

    def _discards(self, record: RootRecord) -> bool:
        """Return whether changes are discarded; raise InputError if the task does not say what to do with them."""
        before = self._before
        if before is None or before.keys == record.keys or record.read_only:
            return False
        changes, _is_all = self.root.changes(limit=1)
        if changes and self.options.upper is None:
            raise errors.InputError(
                f"root {self.root.name}: has changes above {before.name}, and the image is another one now", _DECIDE
            )  # fmt: skip
        return bool(changes) and self.options.upper == DISCARD

    def _fstab(self, line: str | None) -> list[Action]:
        if fstab.current(self.root.merged) == line:
            return []
        return [ChangeFstab(self.root, line, self.state)]

    def _with_facts(
        self,
        plan: Plan,
        steps: t.Sequence[Action],
        record: RootRecord | None,
        config: dict[str, t.Any] | None,
    ) -> Plan:
        """Return ``plan`` with its last steps and its facts; ``config`` is that of the image to mount, None for no mount."""
        changes, is_complete = self.root.changes()
        before, name = self._before, self.root.name
        content = [one.replaced(needed_by=(name,)) for one in plan.content]
        images = [one.replaced(root=name) for one in plan.names]
        facts = {
            "root": name,
            "root_path": self.root.merged,
            "upper_path": None
            if record is None or record.read_only
            else self.root.upper(record.volatile),
            "image": _image_of(record),
            "previous": _image_of(before),
            "changes": [one._asdict() for one in changes],
            "changes_complete": is_complete,
            "config": config,
        }
        return plan._replace(
            content=tuple(content),
            names=tuple(images),
            last=tuple(steps),
            before={name: _described(before, self._is_mounted)},
            after={name: _described(record, config is not None)},
            facts=MountFacts(facts, self.root, record),
            prepare=plan.prepare if plan.changed else self.state.prepare,
            noun="roots",
            stats=None,
        )


def _image_of(record: RootRecord | None) -> dict[str, t.Any] | None:
    if record is None:
        return None
    return {"name": record.name, "digest": record.digest, "chain_id": record.chain_id}


def _described(record: RootRecord | None, is_mounted: bool) -> str:
    if record is None:
        return ABSENT
    how = "read-only" if record.read_only else "volatile" if record.volatile else "writable"
    return f"{record.chain_id}, {how}, {MOUNTED if is_mounted else UNMOUNTED}"


def unpack_options(params: t.Mapping[str, t.Any]) -> UnpackOptions:
    """Return how the layers of a root are unpacked: as image_unpack does by default."""
    asked, limits = params["platform"], limits_of(params)
    platform = Platform.parse(asked) if asked else None
    return UnpackOptions(platform, LAYERS, "", TreeOptions(), limits, QUICK, params["parallel"])
