# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Corrupt blobs are found, and count as missing until they are written again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import NotFoundError
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import files, repair
from ansible_collections.lockstep.images.plugins.module_utils._store.inventory import contents
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import (
    RepairStore,
    verify_blob,
)
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import put

FAMILY = demo_image("app", "1", layers=1, size=100)
DATA = b"twelve bytes"
BLOB = blob(DATA)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", FAMILY, "registry.example/app:1")
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    return RepairStore(str(path))


def place_of(store, data=DATA):
    digest = Digest.of(data)
    return digest, store.blob_path(digest)


def test_intact_and_missing_blobs_have_no_fault(store):
    digest, _place = place_of(store)
    assert verify_blob(store, digest) == ""
    for one in contents(store):
        assert verify_blob(store, one) == ""


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", DATA[:-1] + b"S"])
def test_blob_with_other_bytes_is_corrupt(store, data):
    digest, place = place_of(store)
    with open(place, "wb") as handle:
        handle.write(data)
    assert verify_blob(store, digest) == "does not match its digest"


def test_fifo_or_link_is_a_fault_and_never_blocks(store, tmp_path):
    digest, place = place_of(store)
    os.mkfifo(place)
    assert verify_blob(store, digest) == "is not a regular file"
    os.unlink(place)
    (tmp_path / "other").write_bytes(DATA)
    os.symlink(tmp_path / "other", place)
    assert verify_blob(store, digest) == "is not a regular file"


def test_unreadable_blob_is_a_fault(store, monkeypatch):
    """Root can read everything, so the error is simulated."""
    digest, place = place_of(store)
    with open(place, "wb") as handle:
        handle.write(DATA)

    def refuse(path):
        with files.access(path):
            raise PermissionError(13, "Permission denied")
        yield b""

    monkeypatch.setattr(repair, "read_chunks", refuse)
    found = verify_blob(store, digest)
    assert found.startswith(f"cannot be read: {place}: Permission denied; {place} belongs to ")


def test_known_bad_content_is_missing_until_it_is_written(path):
    store = RepairStore(str(path))
    (path / ".staging").mkdir()
    store.write(BLOB, [DATA])
    store.known_bad = {BLOB.digest}
    assert not store.has(BLOB)
    with pytest.raises(NotFoundError, match="is corrupt"):
        store.read(BLOB.digest)
    store.write(BLOB, [DATA])
    assert store.has(BLOB)
    assert store.read(BLOB.digest) == DATA


@pytest.mark.parametrize("kind", ["other bytes", "fifo", "link"])
def test_known_bad_content_is_replaced(path, tmp_path, kind):
    store = RepairStore(str(path))
    (path / ".staging").mkdir()
    place = store.blob_path(BLOB.digest)
    (tmp_path / "other").write_bytes(DATA)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        os.symlink(tmp_path / "other", place)
    else:
        with open(place, "wb") as handle:
            handle.write(DATA[::-1])
    store.known_bad = {BLOB.digest}
    with store.open_partial(BLOB) as part:
        part.write(0, DATA)
        part.finish()
    assert not os.path.islink(place)
    assert store.read(BLOB.digest) == DATA
    assert (tmp_path / "other").read_bytes() == DATA


def test_known_bad_content_without_a_replacement_is_removed(path):
    store = RepairStore(str(path))
    (path / ".staging").mkdir()
    store.write(BLOB, [DATA])
    Path(store.blob_path(BLOB.digest)).write_bytes(DATA[::-1])
    store.known_bad = {BLOB.digest}
    with pytest.raises(RuntimeError), store.open_partial(BLOB):
        raise RuntimeError
    assert not os.path.exists(store.blob_path(BLOB.digest))
    assert not store.has(BLOB)


def test_content_repaired_by_another_task_is_kept(path):
    store = RepairStore(str(path))
    (path / ".staging").mkdir()
    store.write(BLOB, [DATA])
    store.known_bad = {BLOB.digest}
    with store.open_partial(BLOB) as part:
        assert part is None
    assert store.read(BLOB.digest) == DATA
