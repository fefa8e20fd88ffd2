# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory: private, locked, and complete at every moment."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import state as module
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    TreeAccessError,
    TreeBusyError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import TreeOptions
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.state import (
    LayerRecord,
    TreeState,
)

CHAIN = Digest.of(b"chain")
RECORD = LayerRecord("sha256:1", "sha256:2", 3, 4, {"device": 1})


def new_state(tmp_path, **options):
    return TreeState(str(tmp_path / "trees"), TreeOptions(**options))


def publish(state):
    key = state.key(CHAIN)
    os.close(state.stage(key))
    state.describe(key, RECORD)
    assert list(state.publish([key])) == [key]
    return key


def test_state_is_private_and_created_late(tmp_path):
    with new_state(tmp_path) as state:
        assert state.layer(state.key(CHAIN)) is None
        assert not os.path.exists(state.path)
        state.prepare()
        assert {os.stat(path).st_mode & 0o777 for path in (state.path, f"{state.path}/layers")} == {
            0o700
        }


def test_layer_is_known_when_it_is_published(tmp_path):
    with new_state(tmp_path) as state:
        state.prepare()
        key = state.key(CHAIN)
        os.close(state.stage(key))
        state.describe(key, RECORD)
        assert state.layer(key) is None
        assert list(state.publish([key])) == [key]
        assert state.layer(key) == RECORD


def test_layers_of_other_options_have_other_keys(tmp_path):
    keys = {
        new_state(tmp_path, **one).key(CHAIN)
        for one in ({}, {"setuid": "strip"}, {"devices": "make"})
    }
    assert len(keys) == 3


def test_leftovers_of_a_killed_task_are_removed(tmp_path):
    with new_state(tmp_path) as state:
        state.prepare()
        os.close(state.stage("left"))
    with new_state(tmp_path) as state:
        state.prepare()
        assert os.listdir(f"{state.path}/staging") == []


def test_another_task_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 0.0)
    with new_state(tmp_path) as state:
        state.prepare()
        with new_state(tmp_path) as other, pytest.raises(TreeBusyError, match="is locked"):
            other.prepare()
    with new_state(tmp_path) as other:
        other.prepare()


@pytest.mark.parametrize("how", ["mode", "link", "file"])
def test_directory_that_is_not_private_is_refused(tmp_path, how):
    path = tmp_path / "trees"
    if how == "mode":
        path.mkdir()
        os.chmod(path, 0o755)
    elif how == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        path.symlink_to("other")
    else:
        path.write_text("x")
    with new_state(tmp_path) as state, pytest.raises(TreeAccessError):
        state.prepare()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"diff_id": 1}', "x" * 10])
def test_record_that_is_not_complete_means_that_the_layer_is_missing(tmp_path, text):
    with new_state(tmp_path) as state:
        state.prepare()
        key = publish(state)
        with open(f"{state.path}/layers/{key}/layer.json", "w", encoding="ascii") as file:
            file.write(text)
        assert state.layer(key) is None
        publish(state)
        assert state.layer(key) == RECORD


def test_tree_is_known_while_it_is_the_same_directory(tmp_path):
    dest = tmp_path / "dest"
    dest.mkdir()
    with new_state(tmp_path) as state:
        state.prepare()
        assert state.tree(str(dest)) is None
        state.record_tree(str(dest), {"chain_id": "x"}, os.open(dest, os.O_RDONLY))
        assert state.tree(str(dest))["chain_id"] == "x"
        dest.rename(tmp_path / "moved")
        assert state.tree(str(dest)) is None
        assert not state.owns(str(dest))
        dest.mkdir()
        assert state.tree(str(dest)) is None


def test_tree_that_is_about_to_be_replaced_is_still_known_as_one_of_ours(tmp_path):
    dest, new = tmp_path / "dest", tmp_path / "new"
    dest.mkdir()
    new.mkdir()
    with new_state(tmp_path) as state:
        state.prepare()
        state.record_tree(str(dest), {}, os.open(new, os.O_RDONLY))
        assert not state.owns(str(dest))
        state.record_tree(str(dest), {}, os.open(dest, os.O_RDONLY))
        state.record_tree(str(dest), {}, os.open(new, os.O_RDONLY))
        assert state.owns(str(dest))
        assert state.tree(str(dest)) is None


def test_flush_is_left_out_on_request(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "syncfs", lambda fd: calls.append(fd) or 0)
    for sync in (True, False):
        with TreeState(str(tmp_path / str(sync)), TreeOptions(), sync) as state:
            state.prepare()
            publish(state)
    assert len(calls) == 1


def test_syncfs_reports_a_bad_descriptor():
    assert module.syncfs(-1) == -1


def test_json_is_replaced_as_a_whole(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    for number in range(2):
        module.write_json("a.json", {"number": number}, fd)
    assert json.loads((tmp_path / "a.json").read_text()) == {"number": 1}
    assert os.listdir(tmp_path) == ["a.json"]
