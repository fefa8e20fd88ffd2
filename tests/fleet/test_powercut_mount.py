# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power fails while a root changes: a boot mounts the old image or the new one as a whole, and the next run completes it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.tests.support import modules
from ansible_collections.lockstep.images.tests.support.fleet import need_programs
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.replays import (
    PROPERTY,
    Replay,
    contents,
    run_module,
)
from ansible_collections.lockstep.images.tests.support.services_process import unmount_below
from ansible_collections.lockstep.images.tests.support.stores import put

BASE = layer({"etc/motd": b"1"})
# The new image has more layers, so a line of fstab for the old one could mount a part of it.
IMAGES = [
    image([BASE, layer({"app": b"old"})]),
    image([BASE, layer({"lib/new": b"1"}), layer({"app": b"new"})]),
]
NAMES = ["registry.example.com/app:old", "registry.example.com/app:new"]
MINE = ["mine/1", "mine/2", "mine/3"]  # what the root has changed
USE_FSTAB = "from ansible_collections.lockstep.images.plugins.module_utils._rootfs import fstab; fstab.PATH = {!r}\n"


@dataclass
class Host:
    """The directory whose disk loses power has the trees and ``fstab``; modules read that file instead of /etc/fstab."""

    path: Path
    elsewhere: Path

    @property
    def root(self) -> Path:
        return self.path / "trees" / "roots" / "web"

    def run(self, launcher: list[str] | None = None, **options: t.Any) -> dict[str, t.Any]:
        """Run image_mount."""
        where = {"store": str(self.elsewhere / "store"), "path": str(self.path / "trees")}
        path = os.pathsep.join([str(self.elsewhere), modules.PYTHONPATH])
        env = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return run_module("image_mount", {"root": "web", **where, **options}, launcher or (), env)

    def mount(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """Mount an image, with a line in fstab."""
        return self.run(name=name, fstab=True, **options)

    def change(self) -> None:
        """Write files in the mounted root."""
        for name in MINE:
            path = self.root / "merged" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("mine")

    def settle(self) -> None:
        """Unmount everything, as a power failure does, and remove what only the kernel writes."""
        unmount_below(self.path)
        for one in self.path.glob("trees/roots/*/work/work"):
            one.rmdir()

    def line(self) -> list[str]:
        """Return the fields of the line of the root in fstab."""
        lines = (self.path / "fstab").read_text().splitlines()
        (fields,) = [one.split() for one in lines if "/web/" in one] or [[]]
        return fields

    @contextlib.contextmanager
    def booted(self) -> Iterator[bool]:
        """Mount what fstab has, as a boot does; say whether something is mounted."""
        line = self.line()
        if line:  # its status says nothing, because of nofail
            command = ["mount", "-t", "overlay", "-o", line[3], "overlay", line[1]]
            subprocess.run(command, check=False, capture_output=True)
        yield (self.root / "merged").is_mount()
        self.settle()

    def tree(self) -> dict[str, bytes | None]:
        """Return what the mounted root has, without its own changes."""
        found = contents(self.root / "merged")
        return {name: data for name, data in found.items() if not name.startswith("mine")}

    def changes(self) -> list[str]:
        """Return the changes of the root."""
        return sorted(name for name in contents(self.root / "upper") if name in MINE)


class Case(t.NamedTuple):
    """A change of a root: what was mounted before, what the task wants, and the changes that may be left."""

    before: str | None
    options: dict[str, t.Any]
    after: str | None
    changes: list[list[str]]
    always_boots: bool = False


NEW = {"name": NAMES[1], "fstab": True}
CASES = {
    "first mount": Case(None, NEW, NAMES[1], [[]]),
    "other image": Case(NAMES[0], {**NEW, "upper": "keep"}, NAMES[1], [MINE], always_boots=True),
    "other image without changes": Case(
        NAMES[0], {**NEW, "upper": "discard"}, NAMES[1], [MINE, []]
    ),
    "unmounted": Case(NAMES[0], {**NEW, "name": NAMES[0]}, NAMES[0], [MINE], always_boots=True),
    "absent": Case(NAMES[0], {"state": "absent"}, None, [MINE, []]),
}


@pytest.fixture(name="host")
def fixture_host(tmp_path: Path) -> Iterator[Host]:
    need_programs("strace", "mount")
    host = Host(tmp_path / "disk", tmp_path / "elsewhere")
    for path in (host.path, host.elsewhere):
        path.mkdir()
    for name, item in zip(NAMES, IMAGES):
        put(host.elsewhere / "store", item, name)
    (host.path / "fstab").write_text("proc /proc proc\n")
    (host.elsewhere / "sitecustomize.py").write_text(USE_FSTAB.format(str(host.path / "fstab")))
    yield host
    host.settle()


@pytest.mark.parametrize("name", CASES)
def test_power_failure_leaves_a_root_that_boots_and_that_the_next_run_completes(
    host: Host, name: str, record_property: Callable[[str, object], None]
) -> None:
    case, trees = CASES[name], []
    for one in NAMES:
        host.mount(one)
        trees.append(host.tree())
    host.run(state="absent")
    if case.before:
        host.mount(case.before)
        host.change()
        host.settle()

    def run(launcher: list[str]) -> None:
        assert host.run(launcher, **case.options)["changed"]

    replay = Replay(host.path, host.elsewhere / "calls", run, host.settle)
    for is_due in replay.each():
        assert host.changes() in case.changes
        with host.booted() as is_mounted:
            assert is_mounted or not case.always_boots
            assert not is_mounted or host.tree() in trees
            if not is_due:
                continue
            replay.runs += 1
            host.run(**case.options)
            assert bool(host.line()) == (case.after is not None)
            if case.after:
                assert host.tree() == trees[NAMES.index(case.after)]
                assert not host.run(**case.options)["changed"]
            else:
                assert not host.root.exists()
    assert replay.number > 2
    record_property(PROPERTY, f"image_mount, {name}: {replay.summary()}")
