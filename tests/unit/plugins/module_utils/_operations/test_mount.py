# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root becomes what its task wants, and changes are never lost without a word. Mounts are fakes here."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Execution
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Platform
from ansible_collections.lockstep.images.plugins.module_utils._operations import mount_steps
from ansible_collections.lockstep.images.plugins.module_utils._operations.mount import (
    ABSENT,
    MOUNTED,
    UNMOUNTED,
    MountOptions,
    MountPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.unpack import (
    UnpackOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._plan import Outcome
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import fstab, roots
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.builders import LayerBuilder
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    TreeAccessError,
    TreeBusyError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import Limits
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.mountinfo import Mount
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import TreeOptions
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.roots import Root
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.state import TreeState
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.tests.support.images import image, index, layer
from ansible_collections.lockstep.images.tests.support.plans import dry_run, execute
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.trees import IS_ROOT

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="only root can mount")
NAME, NEXT = "r.example/app:1", "r.example/app:2"
BASE = layer({"etc/motd": b"1"})
FIRST_LAYER, SECOND_LAYER = (layer({"app": version}) for version in (b"1", b"2"))
FIRST, SECOND = image([BASE, FIRST_LAYER]), image([BASE, SECOND_LAYER])
UNPACK = UnpackOptions(None, "layers", "", TreeOptions(), Limits(1 << 20, 100), "quick", 1)


@pytest.fixture(name="mounts", autouse=True)
def fixture_mounts(monkeypatch, tmp_path):
    found = {}
    monkeypatch.setattr(
        roots, "mount_overlay", lambda _where, target, options, _ro: found.update({target: options})
    )
    monkeypatch.setattr(roots, "mount_tmpfs", lambda target: found.update({target: "tmpfs"}))
    monkeypatch.setattr(roots, "unmount", found.pop)
    monkeypatch.setattr(
        roots, "mounts_below", lambda path: [one for one in found if one.startswith(path)]
    )
    monkeypatch.setattr(
        mount_steps,
        "mounts",
        lambda: [Mount(one, "overlay", "overlay", found[one]) for one in found],
    )
    monkeypatch.setattr(fstab, "PATH", str(tmp_path / "fstab"))
    put(tmp_path / "store", FIRST, NAME)
    put(tmp_path / "store", SECOND, NEXT)
    return found


@contextlib.contextmanager
def planned(path, name=NAME, state=MOUNTED, root="web", **how):
    with (
        StoreReader(str(path / "store")).hold() as store,
        TreeState(str(path / "trees"), TreeOptions()) as trees,
    ):
        options = MountOptions(name, state, **how)
        wanted = {Root.of(trees.path, root): options}
        yield MountPlanner(store, trees, UNPACK).plan(wanted, is_list=False)


@contextlib.contextmanager
def planned_roots(path, wanted):
    """Plan many roots, given as their options by name."""
    with (
        StoreReader(str(path / "store")).hold() as store,
        TreeState(str(path / "trees"), TreeOptions()) as trees,
    ):
        roots_of = {Root.of(trees.path, root): options for root, options in wanted.items()}
        yield MountPlanner(store, trees, UNPACK).plan(roots_of, is_list=True)


def outcome_of(path, wanted):
    """Change many roots; return the outcome after the state directory was left."""
    with planned_roots(path, wanted) as plan:
        execution = Execution(plan)
        if plan.changed:
            execution.run()
    return Outcome(plan, execution.done, execution.failures)


def change(path, *args, **how):
    with planned(path, *args, **how) as plan:
        outcome = execute(plan)
    assert outcome.failure is None
    return outcome.result()


def verbs(result):
    return [one["action"] for one in result["actions"]]


def write(path, root="web"):
    with open(path / "trees" / "roots" / root / "upper" / "new", "w", encoding="ascii"):
        pass


def test_layers_are_unpacked_and_mounted_once(tmp_path, mounts):
    first = change(tmp_path)
    assert verbs(first) == ["unpack_layer", "unpack_layer", "unpack_image", "mount_root"]
    assert (first["previous"], first["image"]["name"]) == (None, NAME)
    assert first["diff"]["before"] == {"web": "absent"}
    assert list(mounts) == [first["root_path"]]
    again = change(tmp_path)
    assert (verbs(again), again["changed"]) == ([], False)
    assert verbs(change(tmp_path, root="other")) == ["mount_root"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("web", {"uid": 33, "gid": 34}),
        ("web:0", {"uid": 33, "gid": 0}),
        ("", {"uid": 0, "gid": 0}),
        ("1000", {"uid": 1000, "gid": 0}),
        ("nobody", None),
    ],
)
def test_user_of_the_image_is_looked_up_in_the_mounted_root(tmp_path, user, expected):
    config = {"config": {"User": user, "Cmd": ["run"]}}
    put(tmp_path / "store", image([BASE], config=config), NAME)
    passwd = tmp_path / "trees" / "roots" / "web" / "merged" / "etc" / "passwd"
    with planned(tmp_path) as plan:
        assert plan.facts["user"] is None
        assert (plan.facts["config"]["user"], plan.facts["config"]["cmd"]) == (user, ["run"])
        outcome = execute(plan)
        passwd.parent.mkdir()
        passwd.write_text("web:x:33:34::/srv:/bin/sh\n")
        assert outcome.result()["user"] == expected
    with planned(tmp_path, state=UNMOUNTED) as plan:
        assert (plan.facts["user"], plan.facts["config"]) == (None, None)


def test_planning_changes_nothing(tmp_path, mounts):
    with planned(tmp_path) as plan:
        assert len(plan.actions) == 4
    assert mounts == {}
    assert not (tmp_path / "trees").exists()


def test_root_is_mounted_again_after_a_reboot(tmp_path, mounts):
    change(tmp_path)
    mounts.clear()
    assert verbs(change(tmp_path)) == ["mount_root"]


def test_new_image_is_mounted_when_the_root_has_no_changes(tmp_path):
    change(tmp_path)
    result = change(tmp_path, NEXT)
    assert verbs(result)[-1] == "mount_root"
    assert (result["previous"]["name"], result["image"]["name"]) == (NAME, NEXT)


def test_changes_need_a_decision_when_the_image_is_another_one(tmp_path):
    change(tmp_path)
    write(tmp_path)
    with (
        pytest.raises(errors.InputError, match="root web: has changes above"),
        planned(tmp_path, NEXT),
    ):
        pass
    kept = change(tmp_path, NEXT, upper="keep")
    assert kept["changes"] == [{"path": "new", "change": "changed"}]
    assert os.listdir(tmp_path / "trees" / "roots" / "web" / "upper") == ["new"]
    change(tmp_path, NAME, upper="discard")
    assert os.listdir(tmp_path / "trees" / "roots" / "web" / "upper") == []


def test_options_of_a_mounted_root_can_change(tmp_path, mounts):
    path = change(tmp_path)["root_path"]
    assert verbs(change(tmp_path, read_only=True)) == ["mount_root"]
    assert "upperdir" not in mounts[path]
    assert change(tmp_path, read_only=True)["upper_path"] is None
    assert verbs(change(tmp_path, volatile=True)) == ["mount_root"]


def test_unmounted_root_keeps_its_changes_and_absent_root_does_not(tmp_path, mounts):
    change(tmp_path)
    write(tmp_path)
    assert verbs(change(tmp_path, state=UNMOUNTED)) == ["unmount_root"]
    assert verbs(change(tmp_path, state=UNMOUNTED)) == []
    assert change(tmp_path)["changes"] == [{"path": "new", "change": "changed"}]
    result = change(tmp_path, None, ABSENT)
    assert (verbs(result), result["image"]) == (["remove_root"], None)
    assert (mounts, os.listdir(tmp_path / "trees" / "roots")) == ({}, [])
    assert verbs(change(tmp_path, None, ABSENT)) == []


def test_root_that_another_task_has_mounted_in_the_meantime_is_busy(tmp_path, mounts):
    with planned(tmp_path) as plan:
        change(tmp_path)
        with pytest.raises(TreeBusyError, match="another task has mounted it"):
            execute(plan)
    assert len(mounts) == 1


def test_memory_of_a_root_whose_task_was_killed_is_given_back(tmp_path, mounts):
    path = change(tmp_path, volatile=True)["root_path"]
    del mounts[path]
    change(tmp_path, state=ABSENT)
    assert mounts == {}


def test_fstab_has_a_line_while_the_task_wants_it(tmp_path):
    path = change(tmp_path, fstab=True)["root_path"]
    assert path in (tmp_path / "fstab").read_text()
    assert verbs(change(tmp_path, fstab=True)) == []
    assert verbs(change(tmp_path)) == ["remove_fstab"]
    change(tmp_path, fstab=True)
    assert verbs(change(tmp_path, None, ABSENT)) == ["remove_root", "remove_fstab"]
    assert (tmp_path / "fstab").read_text() == ""


def test_root_that_a_boot_has_mounted_with_an_older_line_is_mounted_again(tmp_path, mounts):
    path = change(tmp_path, fstab=True)["root_path"]
    old = (tmp_path / "fstab").read_text().split()[3]
    change(tmp_path, NEXT, fstab=True)
    mounts[path] = (tmp_path / "fstab").read_text().split()[3]
    assert verbs(change(tmp_path, NEXT, fstab=True)) == []
    mounts[path] = old
    assert verbs(change(tmp_path, NEXT, fstab=True)) == ["mount_root"]


@pytest.mark.parametrize(
    "how", [{"read_only": True, "volatile": True}, {"volatile": True, "fstab": True}]
)
def test_options_that_contradict_each_other_are_refused(tmp_path, how):
    with pytest.raises(errors.InputError), planned(tmp_path, **how):
        pass


MANY = {
    "a": MountOptions(NAME, MOUNTED),
    "b": MountOptions(NAME, MOUNTED, read_only=True),
    "c": MountOptions(NEXT, MOUNTED, fstab=True),
    "d": MountOptions(NEXT, MOUNTED, fstab=True),
}


def test_many_roots_are_mounted_with_each_layer_unpacked_once(tmp_path, mounts):
    with planned_roots(tmp_path, MANY) as plan:
        planned = dry_run(plan).result()
    result = outcome_of(tmp_path, MANY).result()
    assert verbs(result) == [
        *["unpack_layer"] * 3,
        *["unpack_image"] * 2,
        *["mount_root"] * 4,
        *["set_fstab"] * 2,
    ]
    assert planned["actions"] == result["actions"]
    assert planned["diff"] == result["diff"]
    assert [one["root"] for one in result["roots"]] == list("abcd")
    assert list(mounts) == [one["root_path"] for one in result["roots"]]
    assert [one["user"] for one in planned["roots"]] == [None] * 4
    again = outcome_of(tmp_path, {**MANY, "d": MountOptions(NEXT, MOUNTED)}).result()
    assert [one["changed"] for one in result["roots"] + again["roots"]] == [True] * 4 + [
        False
    ] * 3 + [True]
    again = outcome_of(tmp_path, MANY).result()
    assert (verbs(again), verbs(outcome_of(tmp_path, MANY).result())) == (["set_fstab"], [])
    assert again["roots"][0]["previous"] == again["roots"][0]["image"]


def test_mounts_and_fstab_are_read_once_for_many_roots(tmp_path, monkeypatch):
    outcome_of(tmp_path, MANY)
    reads, writes = [], []
    mounts, lines, rename = mount_steps.mounts, fstab._lines, os.rename
    monkeypatch.setattr(mount_steps, "mounts", lambda: reads.append("mounts") or mounts())
    monkeypatch.setattr(fstab, "_lines", lambda: reads.append("fstab") or lines())
    monkeypatch.setattr(os, "rename", lambda *args, **how: writes.append(args[1]) or rename(*args, **how))  # fmt: skip
    outcome_of(tmp_path, MANY).result()
    assert (reads, writes) == (["mounts", "fstab", "mounts"], [])
    gone = {root: MountOptions(None, ABSENT) for root in MANY}
    outcome_of(tmp_path, gone)
    assert writes.count(fstab.PATH) == 1


def test_root_that_fails_does_not_hold_back_the_others(tmp_path, mounts):
    outcome_of(tmp_path, {"b": MountOptions(NAME, MOUNTED)})
    write(tmp_path, "b")
    wanted = {
        "a": MountOptions("r.example/none:1", MOUNTED),
        "b": MountOptions(NEXT, MOUNTED),
        "c": MountOptions(NEXT, MOUNTED, volatile=True, fstab=True),
        "d": MountOptions(NEXT, MOUNTED),
    }
    with planned_roots(tmp_path, wanted) as plan:
        planned = dry_run(plan)
    outcome = outcome_of(tmp_path, wanted)
    for one in (planned, outcome):
        assert {name: error.kind for name, error in one.failures.items()} == {
            "a": "not-in-store",
            "b": "invalid-input",
            "c": "invalid-input",
        }
        assert str(one.failure).startswith("3 of 4 roots failed: ")
        assert [entry["root"] for entry in one.brief()["roots"]] == ["d"]
    assert [one["action"] for one in outcome.result()["actions"]][-1] == "mount_root"
    assert sorted(os.path.basename(os.path.dirname(path)) for path in mounts) == ["b", "d"]


def test_busy_root_and_its_line_in_fstab_stay_and_the_others_change(tmp_path, monkeypatch):
    outcome_of(tmp_path, MANY)

    def unmount(target):
        if "/c/" in target:
            raise TreeBusyError(f"{target} is in use")

    monkeypatch.setattr(roots, "unmount", unmount)
    wanted = {root: MountOptions(NEXT, MOUNTED, read_only=True) for root in MANY}
    outcome = outcome_of(tmp_path, wanted)
    assert {name: error.kind for name, error in outcome.failures.items()} == {"c": "tree-busy"}
    result = outcome.brief()
    assert [one["root"] for one in result["roots"]] == ["a", "b", "d"]
    assert result["diff"]["after"]["c"] == result["diff"]["before"]["c"]
    assert result["changed"] is True
    text = (tmp_path / "fstab").read_text()
    assert "/c/merged" in text
    assert "/d/merged" not in text


def test_fstab_that_cannot_be_written_fails_the_roots_that_need_it(tmp_path, monkeypatch, mounts):
    monkeypatch.setattr(fstab, "PATH", str(tmp_path / "none" / "fstab"))
    outcome = outcome_of(tmp_path, MANY)
    assert list(outcome.failures) == ["c", "d"]
    assert len(mounts) == 4
    assert verbs(outcome.result()).count("mount_root") == 4


def test_layer_that_fails_is_the_failure_of_all_roots_with_it(tmp_path, mounts):
    bad = layer({"x": b"1"})
    blob = dataclasses.replace(bad, diff_id=f"sha256:{'0' * 64}")
    put(tmp_path / "store", image([BASE, blob]), NEXT)
    outcome = outcome_of(tmp_path, MANY)
    assert {name: error.kind for name, error in outcome.failures.items()} == dict.fromkeys(
        "cd", "diff-id-mismatch"
    )
    assert len(mounts) == 2
    only = {"c": MANY["c"], "d": MANY["d"]}
    assert outcome_of(tmp_path, only).result()["changed"] is False


def test_image_that_cannot_be_completed_is_the_failure_of_all_its_roots(
    tmp_path, mounts, monkeypatch
):
    true = LayerBuilder.finish

    def finish(self, layers):
        if len(mounts) == 0 and layers[-1].source.diff_id == Digest.parse(SECOND_LAYER.diff_id):
            raise TreeAccessError("no")
        true(self, layers)

    monkeypatch.setattr(LayerBuilder, "finish", finish)
    outcome = outcome_of(tmp_path, MANY)
    assert list(outcome.failures) == ["c", "d"]
    assert verbs(outcome.result()) == ["unpack_layer"] * 2 + ["unpack_image"] + ["mount_root"] * 2


def test_image_of_two_platforms_is_unpacked_for_the_roots_that_want_it(tmp_path):
    arm = layer({"arm": b"1"})
    family = index([image([BASE, layer({"amd": b"1"})]), image([BASE, arm], "linux/arm64")])
    put(tmp_path / "store", family, NAME)
    wanted = {
        "a": MountOptions(NAME, MOUNTED, platform=Platform.parse("linux/amd64")),
        "b": MountOptions(NAME, MOUNTED, platform=Platform.parse("linux/arm64")),
    }
    result = outcome_of(tmp_path, wanted).result()
    assert verbs(result) == [*["unpack_layer"] * 3, *["unpack_image"] * 2, *["mount_root"] * 2]
    chains = [one["image"]["chain_id"] for one in result["roots"]]
    assert chains[0] != chains[1]


def test_image_that_is_only_configured_in_another_way_is_not_mounted_again(tmp_path):
    change(tmp_path)
    put(tmp_path / "store", image([BASE, FIRST_LAYER], config={"config": {"User": "7"}}), NAME)
    result = change(tmp_path)
    assert (result["changed"], result["config"]["user"]) == (False, "7")
    assert result["user"] == {"uid": 7, "gid": 0}
    assert result["image"]["digest"] != result["previous"]["digest"]


def test_no_roots_need_nothing(tmp_path):
    assert outcome_of(tmp_path, {}).result()["roots"] == []


def test_missing_image_fails_before_anything_is_done(tmp_path):
    with pytest.raises(errors.NotInStoreError), planned(tmp_path, "r.example/none:1"):
        pass


def test_other_users_cannot_mount(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    with pytest.raises(TreeAccessError, match="only root"), planned(tmp_path):
        pass
