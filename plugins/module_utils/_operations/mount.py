# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount: the layers of images become roots, trees with changes of their own; the layers are unpacked as needed."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._image import errors
from .._image.names import Platform
from .._plan import Action, Plan, PlanBuilder
from .._rootfs import fstab
from .._rootfs.bundle import settings_of
from .._rootfs.errors import TreeAccessError
from .._rootfs.mounting import MOST_LAYERS, overlay_options
from .._rootfs.options import TreeOptions
from .._rootfs.roots import Root, RootRecord
from .._rootfs.state import TreeState
from .._store.reader import StoreReader
from .mount_steps import (
    ChangeFstab,
    ChangeMount,
    MountFacts,
    RootFacts,
    mounted_roots,
    without_failed,
)
from .unpack import LAYERS, QUICK, UnpackOptions, UnpackPlanner, limits_of
from .unpack_source import PlannedImage, StoredImages

MOUNTED, UNMOUNTED, ABSENT = "mounted", "unmounted", "absent"
KEEP, DISCARD = "keep", "discard"
_DECIDE = "Set upper to keep the changes above the new image, or to discard them."
_OF_A_ROOT = ("name", "state", "read_only", "volatile", "fstab", "upper", "platform")


class MountOptions(t.NamedTuple):
    """Which image a root has, and how it is mounted. Only ``mounted`` needs an image."""

    name: str | None
    state: str
    read_only: bool = False
    volatile: bool = False
    fstab: bool = False
    upper: str | None = None
    platform: Platform | None = None

    @classmethod
    def of(
        cls, root: str, params: t.Mapping[str, t.Any], own: t.Mapping[str, t.Any]
    ) -> MountOptions:
        """Return the options of a root: its own, and those of the task for what it leaves out."""
        found = {key: params[key] if own.get(key) is None else own[key] for key in _OF_A_ROOT}
        if found["state"] == MOUNTED and not found["name"]:
            raise errors.InputError(f"root {root}: has no image to mount", "Set name.")
        asked = found["platform"]
        return cls(**{**found, "platform": Platform.parse(asked) if asked else None})


def plan_mounts(params: t.Mapping[str, t.Any], store: StoreReader, state: TreeState) -> Plan:
    """Return the plan of a task for the root in ``root``, or for those in ``roots``; raise InputError for a root that occurs twice."""
    entries = params["roots"]
    wanted: dict[Root, MountOptions] = {}
    for entry in [params] if entries is None else entries:
        root = Root.of(state.path, entry["root"])
        if root in wanted:
            raise errors.InputError(f"roots: {root.name} occurs twice", "Give each root once.")
        wanted[root] = MountOptions.of(root.name, params, entry)
    tree, limits = TreeOptions(), limits_of(params)
    unpack = UnpackOptions(None, LAYERS, "", tree, limits, QUICK, params["parallel"])
    return MountPlanner(store, state, unpack).plan(wanted, entries is not None)


class MountPlanner(PlanBuilder):
    """Plans what roots need to be as their task wants them. All roots share one reading of images, mounts and fstab."""

    def __init__(self, store: StoreReader, state: TreeState, unpack: UnpackOptions) -> None:
        super().__init__(unpack.workers)
        self._store, self._state, self._unpack = store, state, unpack

    def plan(self, wanted: t.Mapping[Root, MountOptions], is_list: bool) -> Plan:
        """Return the plan. With ``is_list``, a root that fails does not hold back the others."""
        if os.geteuid():
            where = os.path.join(self._state.path, "roots")
            raise TreeAccessError(f"{where}: only root can mount a root", "Set become.")
        images = self._images(wanted.values())
        mounted = mounted_roots(self._state.path)
        lines = fstab.current(
            [root.merged for root, one in wanted.items() if one.state != UNMOUNTED]
        )
        planned = []
        for root, options in wanted.items():
            line = lines.get(root.merged)
            there = mounted.get(root.merged)
            before = RootPlanner(self._state, root, options, root.record, there, line, is_list)
            try:
                if options.state == MOUNTED:
                    planned.append(before.mounted(images[options.name, options.platform]))
                else:
                    planned.append(before.unmounted(options.state == ABSENT))
            except errors.LockstepError as exc:
                if not is_list:
                    raise
                self.failures[root.name] = exc
        return self._build(planned, is_list)

    def _images(
        self, wanted: t.Iterable[MountOptions]
    ) -> dict[tuple[str | None, Platform | None], PlannedImage | errors.LockstepError]:
        """Read each image once; return it, or why it cannot be used, by what roots call it."""
        asked = list(
            dict.fromkeys((one.name, one.platform) for one in wanted if one.state == MOUNTED)
        )
        sources = {
            platform: StoredImages(self._store, self._state, platform, True)
            for _name, platform in asked
        }
        read = self.attempts(lambda one: sources[one[1]].read(str(one[0])), asked)
        once: dict[tuple[str, Platform | None], PlannedImage] = {}
        return {
            key: once.setdefault((found.name, key[1]), found)
            if isinstance(found, PlannedImage)
            else found
            for key, found in read
        }

    def _build(self, planned: t.Sequence[PlannedRoot], is_list: bool) -> Plan:
        users: dict[str, list[str]] = {}  # by the key of a layer
        images: dict[int, list[str]] = {}  # by the identity of an image
        for one in planned:
            for layer in one.image.layers if one.image else ():
                users.setdefault(layer.key, []).append(one.facts.root.name)
            images.setdefault(id(one.image), []).append(one.facts.root.name)
        each = {id(one.image): one.image for one in planned if one.image}
        plan = UnpackPlanner(self._store, self._state, self._unpack).plan_layers(
            list(each.values())
        )
        content = [
            one.replaced(needed_by=tuple(users[one.layer.key]))
            for one in t.cast(t.Any, plan.content)
        ]
        names = [
            one.replaced(needed_by=tuple(images[id(one.image)]))
            for one in t.cast(t.Any, plan.names)
        ]
        last = [
            *(step for one in planned for step in one.mount),
            *(step for one in planned for step in one.fstab),
        ]
        return plan._replace(
            content=tuple(content),
            names=tuple(names),
            last=tuple(last),
            before={one.facts.root.name: one.before for one in planned},
            after={one.facts.root.name: one.after for one in planned},
            facts=MountFacts(self._state.path, [one.facts for one in planned], is_list),
            failures=dict(self.failures),
            prepare=plan.prepare if plan.changed else self._state.prepare,
            noun="roots",
            shorten=without_failed if is_list else None,
            stats=None,
        )


class PlannedRoot(t.NamedTuple):
    """The steps of a root, its image unless it is not mounted, its line of the diff, and what is returned of it."""

    mount: t.Sequence[Action]
    fstab: t.Sequence[Action]
    image: PlannedImage | None
    before: str
    after: str
    facts: RootFacts


@dataclass(frozen=True)
class RootPlanner:
    """Plans one root from what it is: its record, the options of its mount if it is mounted, and its line in fstab."""

    state: TreeState
    root: Root
    options: MountOptions
    before: RootRecord | None
    mount: str | None
    line: str | None
    is_one_of_many: bool

    @property
    def is_mounted(self) -> bool:
        """Whether the root is mounted before the task."""
        return self.mount is not None

    def unmounted(self, is_gone: bool) -> PlannedRoot:
        """Return the plan of a root that is unmounted, or removed."""
        removes = is_gone and os.path.lexists(self.root.path)
        record, line = (None, None) if is_gone else (self.before, self.line)
        return self._planned(None, record, self.is_mounted or removes, line, removes=removes)

    def mounted(self, image: PlannedImage | errors.LockstepError) -> PlannedRoot:
        """Return the plan of a root that is mounted; raise the error of its image, and InputError for its options."""
        if isinstance(image, errors.LockstepError):
            raise image
        record = self._record(image)
        self._require_mountable(record)
        discards = self._discards(record)
        is_same = self.mount is not None and self.root.has_mounted(record, self.mount)
        is_same = is_same and self.before is not None and self.before.is_like(record)
        line = None
        if self.options.fstab:
            options = self.root.absolute_options(record)
            line = fstab.line_of(self.root.merged, options, record.read_only)
        return self._planned(image, record, not is_same, line, discards=discards)

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
        before = self.before
        if before is None or before.keys == record.keys or record.read_only:
            return False
        changes, _is_all = self.root.changes(limit=1)
        if changes and self.options.upper is None:
            raise errors.InputError(
                f"root {self.root.name}: has changes above {before.name}, and the image is another one now", _DECIDE
            )  # fmt: skip
        return bool(changes) and self.options.upper == DISCARD

    def _planned(
        self, image: PlannedImage | None, record: RootRecord | None, is_due: bool, line: str | None, **how: t.Any
    ) -> PlannedRoot:  # fmt: skip
        """Return the plan of a root that becomes ``record`` with ``line`` in fstab; ``is_due`` says whether its mount changes."""
        root, before = self.root, self.before
        needed_by = (root.name,) if self.is_one_of_many else ()
        mounts = image is not None
        step = ChangeMount(
            root,
            record if mounts else None,
            self.is_mounted,
            self.line or "",
            needed_by=needed_by,
            **how,
        )
        changes, is_complete = root.changes()
        is_missing = any(map(image.is_missing, image.layers)) if image else False
        facts = {
            "root": root.name,
            "changed": is_missing or is_due or line != self.line,
            "root_path": root.merged,
            "upper_path": None
            if record is None or record.read_only
            else root.upper(record.volatile),
            "image": _image_of(record),
            "previous": _image_of(before),
            "changes": [one._asdict() for one in changes],
            "changes_complete": is_complete,
            "config": settings_of(image.config.value) if image else None,
        }
        return PlannedRoot(
            [step] if is_due else [],
            [] if line == self.line else [ChangeFstab(root, line, self.state, needed_by)],
            image,
            _described(before, self.is_mounted),
            _described(record, mounts),
            RootFacts(facts, root, record),
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
