# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacked layers are removed when no image and no root needs them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._operations.tree_prune import (
    plan_tree_prune,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.unpack import (
    UnpackOptions,
    UnpackPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.errors import (
    TreeAccessError,
    TreeBusyError,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import Limits
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.options import TreeOptions
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.roots import RootRecord
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.state import TreeState
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.tests.support.images import image, layer
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.trees import OPTIONS

NAME, NEXT = "r.example/app:1", "r.example/app:2"
BASE = layer({"etc/motd": b"1"})
FIRST, SECOND = (image([BASE, layer({"app": version})]) for version in (b"1", b"2"))


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", FIRST, NAME)
    put(tmp_path / "store", SECOND, NEXT)
    with opened(tmp_path) as (store, state):
        options = UnpackOptions(None, "layers", "", OPTIONS, Limits(1 << 20, 100), "quick", 1)
        assert execute(UnpackPlanner(store, state, options).plan([NAME, NEXT])).failure is None
    return tmp_path


@contextlib.contextmanager
def opened(path):
    with StoreReader(str(path / "store")).hold() as store:
        with TreeState(str(path / "trees"), TreeOptions()) as state:
            yield store, state


def prune(path):
    with opened(path) as target:
        return execute(plan_tree_prune(*target)).result()


def forget(path, *kept):
    """Remove names from the store."""
    shutil.rmtree(path / "store")
    put(path / "store", layer_less(), "r.example/none:1")
    for item, name in kept:
        put(path / "store", item, name)


def record_root(path, text):
    root = path / "trees" / "roots" / "web"
    root.mkdir(parents=True)
    (root / "root.json").write_text(text)


def layer_less():
    return image([])


def test_layers_of_images_in_the_store_stay(path):
    assert prune(path)["changed"] is False


def test_layers_of_removed_images_are_removed(path):
    forget(path, (SECOND, NEXT))
    with opened(path) as target:
        plan = plan_tree_prune(*target)
        assert (plan.before, plan.after) == ({"layers": 3}, {"layers": 2})
    assert len(os.listdir(path / "trees" / "layers")) == 3
    result = prune(path)
    assert (len(result["removed"]), result["bytes_freed"]) == (1, 1)
    assert prune(path)["changed"] is False
    forget(path)
    assert len(prune(path)["removed"]) == 2
    assert os.listdir(path / "trees" / "layers") == os.listdir(path / "trees" / "staging") == []


def test_state_directory_that_is_missing_has_nothing_to_remove(path):
    shutil.rmtree(path / "trees")
    assert prune(path)["changed"] is False
    assert not (path / "trees").exists()


@pytest.mark.parametrize("digest", [FIRST.digest, FIRST.config_digest])
def test_nothing_is_removed_while_an_image_is_unreadable(path, digest):
    blob = blob_path(path / "store", digest)
    data = blob.read_bytes()
    os.chmod(blob, 0o644)
    blob.write_bytes(b" " + data[1:])
    with pytest.raises(errors.CorruptStoreError):
        prune(path)


def test_layer_that_a_root_got_since_the_plan_stays(path):
    forget(path)
    with opened(path) as target:
        plan = plan_tree_prune(*target)
        key = plan.last[0].key
        record = RootRecord(NAME, "sha256:1", None, (key,), True, False)
        record_root(path, json.dumps(record._asdict()))
        with pytest.raises(TreeBusyError, match="a root uses it now"):
            execute(plan)
    assert key in os.listdir(path / "trees" / "layers")


def test_nothing_is_removed_while_the_record_of_a_root_cannot_be_read(path):
    forget(path)
    record_root(path, "{")
    with pytest.raises(TreeAccessError, match=r"root\.json cannot be read"):
        prune(path)
    os.unlink(path / "trees" / "roots" / "web" / "root.json")  # as after kill -9 of its first task
    assert prune(path)["changed"] is True
