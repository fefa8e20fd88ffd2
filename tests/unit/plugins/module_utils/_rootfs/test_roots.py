# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots without a mount: names, records, links and changes."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import InputError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import roots
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import TreeBusyError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.roots import Root, RootRecord
from ansible_collections.lockstep.images.tests.support.trees import IS_ROOT

RECORD = RootRecord("r.example/a:1", "sha256:1", "sha256:2", ("low", "top"), False, False)


@pytest.fixture(name="mounts", autouse=True)
def fixture_mounts(monkeypatch):
    """Replace the system calls by a list of mounts."""
    found = {}
    monkeypatch.setattr(
        roots, "mount_overlay", lambda where, target, *how: found.update({target: (where, *how)})
    )
    monkeypatch.setattr(roots, "mount_tmpfs", lambda target: found.update({target: "tmpfs"}))
    monkeypatch.setattr(roots, "unmount", found.pop)
    monkeypatch.setattr(
        roots, "mounts_below", lambda path: [one for one in found if one.startswith(path)]
    )
    return found


@pytest.fixture(name="root")
def fixture_root(tmp_path):
    (tmp_path / "trees" / "staging").mkdir(parents=True)
    for key in RECORD.keys:
        (tmp_path / "trees" / "layers" / key / "diff").mkdir(parents=True)
    os.chmod(tmp_path / "trees" / "layers" / "top" / "diff", 0o711)
    return Root.of(str(tmp_path / "trees"), "web")


@pytest.mark.parametrize(
    "name", ["", "..", ".x", "a/b", "../x", "a:b", "a,b", "a\\b", "a\n", "a b", "x" * 65]
)
def test_name_that_could_mean_something_else_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="is not a name of a root"):
        Root.of(str(tmp_path), name)


def test_root_is_mounted_on_short_links(root, mounts):
    root.mount(RECORD)
    where, options, read_only = mounts[root.merged]
    assert (os.path.dirname(where), read_only) == (root.path, False)
    assert options.startswith("lowerdir=0:1,upperdir=../upper,workdir=../work,")
    assert os.path.realpath(f"{where}/0").endswith("layers/top/diff")
    assert root.record == RECORD
    assert root.is_mounted
    assert os.stat(root.path).st_mode & 0o777 == 0o700
    # overlayfs shows the root directory of the upper layer.
    assert os.stat(root.upper(False)).st_mode & 0o777 == 0o711


def test_read_only_root_of_one_layer_has_an_empty_second_one(root, mounts):
    root.mount(RECORD._replace(keys=("top",), read_only=True))
    assert mounts[root.merged][1].startswith("lowerdir=0:empty,redirect")
    assert mounts[root.merged][2] is True
    assert not os.path.exists(root.upper(False))


def test_root_without_layers_is_empty(root, mounts):
    root.mount(RECORD._replace(keys=()))
    assert mounts[root.merged][1].startswith("lowerdir=empty,upperdir")


def test_volatile_root_is_in_memory(root, mounts):
    root.mount(RECORD._replace(volatile=True))
    assert mounts[f"{root.path}/memory"] == "tmpfs"
    assert "upperdir=../memory/upper" in mounts[root.merged][1]
    root.unmount()
    assert mounts == {}


def test_changes_are_listed_and_bounded(root):
    root.mount(RECORD)
    upper = root.upper(False)
    os.makedirs(f"{upper}/etc/deep")
    os.makedirs(f"{upper}/empty")
    for name in ("etc/motd", "etc/deep/f", "a\n"):
        with open(f"{upper}/{name}", "w", encoding="ascii"):
            pass
    os.mknod(f"{upper}/gone", 0o020000, 0)
    if IS_ROOT:
        os.setxattr(f"{upper}/etc/deep", "trusted.overlay.opaque", b"y")
    expected = [
        (r"a\n", "changed"),
        ("empty", "changed"),
        *([("etc/deep", "replaced")] if IS_ROOT else []),
        ("etc/deep/f", "changed"),
        ("etc/motd", "changed"),
        ("gone", "removed"),
    ]
    assert root.changes() == (expected, True)
    assert root.changes(limit=2) == (expected[:2], False)
    root.unmount()
    root.discard()
    assert root.changes() == ([], True)


def test_removed_root_is_gone(root):
    root.mount(RECORD)
    assert [one.name for one in roots.roots_of(root.state_path)] == ["web"]
    root.unmount()
    root.remove()
    assert (root.record, os.path.exists(root.path)) == (None, False)
    root.remove()


def test_layer_of_a_mounted_root_is_busy(root):
    root.mount(RECORD)
    roots.require_unmounted(root.state_path, {"other"})
    with pytest.raises(TreeBusyError, match="layer low: root web is mounted"):
        roots.require_unmounted(root.state_path, {"low"})
    root.unmount()
    roots.require_unmounted(root.state_path, {"low"})
    roots.require_unmounted(f"{root.state_path}/none", {"low"})


def test_options_for_fstab_have_whole_paths(root, mounts):
    root.mount(RECORD)
    where = mounts[root.merged][0]
    assert root.absolute_options(RECORD).startswith(
        f"lowerdir={where}/0:{where}/1,upperdir={root.path}/upper"
    )


def test_links_stay_while_a_line_of_fstab_names_them(root, mounts):
    root.mount(RECORD)
    first = mounts[root.merged][0]
    other = RECORD._replace(keys=("low",))
    root.mount(other, root.absolute_options(RECORD))
    assert mounts[root.merged][0] != first
    assert os.path.realpath(f"{first}/0").endswith("layers/top/diff")
    root.mount(other, root.absolute_options(other))
    assert not os.path.exists(first)


def test_mount_of_an_older_line_of_fstab_is_not_that_of_the_record(root, mounts):
    root.mount(RECORD)
    assert root.has_mounted(RECORD, mounts[root.merged][1])
    changed = [RECORD._replace(keys=("low", "low")), RECORD._replace(read_only=True)]
    for record in [*changed, RECORD._replace(keys=("low",))]:
        options = f"rw,{root.absolute_options(record)}"
        assert root.has_mounted(record, options) and not root.has_mounted(RECORD, options)
    assert not root.has_mounted(RECORD, "")


def test_nothing_is_removed_while_something_is_mounted_in_the_root(root, mounts):
    root.mount(RECORD)
    root.unmount()
    mounts[f"{root.path}/upper/data"] = "data"
    for change in (root.remove, root.discard):
        with pytest.raises(TreeBusyError, match=r"is mounted at .*/upper/data"):
            change()
    assert os.path.exists(root.upper(False))
