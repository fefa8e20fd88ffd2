# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of known images: what it saves, and that nothing in it can fail a task."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import KnownImage
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Platform
from ansible_collections.lockstep.images.plugins.module_utils._operations import known_configs
from ansible_collections.lockstep.images.plugins.module_utils._operations.known_configs import (
    KnownConfigs,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
ROOTS = [Digest.of(b"root%d" % number) for number in range(4)]
IMAGES = [
    KnownImage(Digest.of(b"config%d" % number), Digest.of(b"alone%d" % number))
    for number in range(4)
]


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    store = ImageStore(str(tmp_path / "store"))
    with store.hold():
        store.prepare()
    return store


@pytest.fixture(name="path")
def fixture_path(store):
    return os.path.join(store.path, ".staging", "configs.json")


def remember(store, *numbers, platform=AMD64):
    known = KnownConfigs(store)
    for number in numbers:
        known.add(ROOTS[number], platform, *IMAGES[number])
    known.save()


def test_next_task_knows_what_one_has_read(store):
    assert KnownConfigs(store).get(ROOTS[0], AMD64) is None
    remember(store, 0)
    assert KnownConfigs(store).get(ROOTS[0], AMD64) == IMAGES[0]
    assert KnownConfigs(store).get(ROOTS[0], ARM64) is None


def test_tasks_with_other_images_do_not_forget_each_other(store):
    one, other = KnownConfigs(store), KnownConfigs(store)
    one.add(ROOTS[0], AMD64, *IMAGES[0])
    other.add(ROOTS[1], AMD64, *IMAGES[1])
    one.save()
    other.save()
    assert [KnownConfigs(store).get(root, AMD64) for root in ROOTS[:2]] == IMAGES[:2]


def test_entries_that_were_not_used_for_longest_are_dropped(store, monkeypatch):
    monkeypatch.setattr(known_configs, "_MOST", 2)
    remember(store, 0, 1)
    known = KnownConfigs(store)
    known.get(ROOTS[0], AMD64)
    known.add(ROOTS[2], AMD64, *IMAGES[2])
    known.save()
    found = [KnownConfigs(store).get(root, AMD64) for root in ROOTS[:3]]
    assert found == [IMAGES[0], None, IMAGES[2]]


def test_file_stays_as_it_is_without_news(store, path):
    remember(store, 0, 1)
    before = os.stat(path)
    remember(store, 1)
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert os.stat(path).st_ino == before.st_ino


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"nothing", b"\xff", b"[" * 100_000, b'{"x": [1, {}]}'],
    ids=["empty", "list", "text", "bytes", "deep", "other values"],
)
def test_damaged_file_is_read_as_empty_and_replaced(store, path, content):
    with open(path, "wb") as file:
        file.write(content)
    assert KnownConfigs(store).get(ROOTS[0], AMD64) is None
    remember(store, 0)
    assert KnownConfigs(store).get(ROOTS[0], AMD64) == IMAGES[0]


@pytest.mark.parametrize(
    "value", [7, None, ["x"], "sha256:short", "text", str(ROOTS[0]), " ", f"{ROOTS[0]} x y"]
)
def test_other_value_than_two_digests_is_unknown(store, path, value):
    with open(path, "w", encoding="ascii") as file:
        json.dump({f"{ROOTS[0]} {AMD64}": value}, file)
    assert KnownConfigs(store).get(ROOTS[0], AMD64) is None


def test_link_in_its_place_is_not_followed(store, path, tmp_path):
    target = tmp_path / "target"
    target.write_text("{}")
    os.symlink(target, path)
    remember(store, 0)
    assert target.read_text() == "{}"
    assert not os.path.islink(path)


def test_full_disk_does_not_fail_the_task(store, path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    known = KnownConfigs(store)
    known.add(ROOTS[0], AMD64, *IMAGES[0])
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        known.save()
    assert not os.path.exists(path)
