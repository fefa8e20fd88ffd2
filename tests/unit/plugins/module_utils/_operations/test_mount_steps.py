# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task returns of its roots, and one writing of fstab for all of them. test_mount.py carries out whole plans."""

from __future__ import annotations

from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._operations.mount_steps import (
    ChangeFstab,
    ChangeMount,
    MountFacts,
    RootFacts,
    without_failed,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import fstab
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import TreeOptions
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.roots import Root, RootRecord
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.state import TreeState

STATE = TreeState("/trees", TreeOptions())
ROOTS = [Root("/trees", name) for name in "ab"]
RECORD = RootRecord("app:1", "sha256:1", "sha256:2", ("sha256-2",), False, False)


def test_facts_of_one_root_are_the_keys_of_the_result():
    one, other = (RootFacts({"root": root.name, "config": None}, root, None) for root in ROOTS)
    assert dict(MountFacts("/trees", [one], False)) == {"root": "a", "config": None, "user": None}
    both = MountFacts("/trees", [one, other], True)
    assert (len(both), [entry["root"] for entry in both["roots"]]) == (1, ["a", "b"])


def test_failed_result_has_the_roots_that_did_not_fail():
    result = {"failures": [{"name": "a"}], "roots": [{"root": "a"}, {"root": "b"}]}
    assert without_failed(result, ()) == {"roots": [{"root": "b"}]}


def test_lines_are_written_once_and_an_error_is_that_of_each(tmp_path, monkeypatch):
    (tmp_path / "roots").mkdir()
    state = TreeState(str(tmp_path), TreeOptions())
    steps = [ChangeFstab(root, f"overlay {root.merged} overlay", state) for root in ROOTS]
    for path, expected in ((tmp_path / "fstab", 0), (tmp_path / "none" / "fstab", 2)):
        monkeypatch.setattr(fstab, "PATH", str(path))
        ended = steps[0].apply_all(steps, Pool(1))
        assert len([one for one in ended if one]) == expected
    assert len((tmp_path / "fstab").read_text().splitlines()) == 2


def test_step_is_named_by_what_it_does():
    for step, verb in (
        (ChangeMount(ROOTS[0], RECORD, False), "mount_root"),
        (ChangeMount(ROOTS[0], None, True), "unmount_root"),
        (ChangeMount(ROOTS[0], None, True, removes=True), "remove_root"),
        (ChangeFstab(ROOTS[0], "line", STATE), "set_fstab"),
        (ChangeFstab(ROOTS[0], None, STATE), "remove_fstab"),
    ):
        assert step.summary()["action"] == verb
