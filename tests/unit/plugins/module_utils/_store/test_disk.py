# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system that a store is on."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._store import disk as module
from ansible_collections.lockstep.images.plugins.module_utils._store.disk import disk, has_overlay
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import put

FAMILY = demo_image("app", "1", layers=1, size=100)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", FAMILY, "registry.example/app:1")
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    return ImageStore(str(path))


def test_missing_store_is_on_the_disk_of_its_parent(tmp_path):
    store = ImageStore(str(tmp_path / "a/b/c"))
    assert disk(store)["mount"] == disk(ImageStore(str(tmp_path)))["mount"]
    assert list(tmp_path.iterdir()) == []


def test_disk_is_described_by_mount_type_and_bytes(store):
    told = disk(store)
    assert told.keys() == {"mount", "type", "size", "free"}
    assert os.path.ismount(told["mount"])
    assert told["size"] >= told["free"] > 0
    there = os.statvfs(store.path)
    assert told["size"] == there.f_blocks * there.f_frsize


def test_disk_is_that_of_linked_content(path, store):
    other = "/dev/shm"
    if not os.path.ismount(other):
        pytest.skip("no other file system")
    sha256 = path / "blobs" / "sha256"
    for place in sha256.iterdir():
        place.unlink()
    sha256.rmdir()
    sha256.symlink_to(other)
    assert disk(store)["mount"] == other
    assert disk(store)["type"] == "tmpfs"


def test_mount_is_unknown_without_proc(store, monkeypatch):
    def refuse(path, *_args, **_options):
        raise FileNotFoundError(2, "No such file", path)

    monkeypatch.setattr(module, "open", refuse, raising=False)
    told = disk(store)
    assert (told["mount"], told["type"]) == (None, None)
    assert told["size"] > 0
    assert has_overlay() is False
