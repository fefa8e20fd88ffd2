# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries and the blobs of a store, also those that no name needs."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import inventory
from ansible_collections.lockstep.images.plugins.module_utils._store.inventory import (
    contents,
    remove,
    roots,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.stores import digests, put, rewrite

FAMILY = demo_image("app", "1", layers=1, size=100)
DATA = b"twelve bytes"
BLOB = blob(DATA)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", FAMILY, "registry.example/app:1")
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    return ImageStore(str(path))


def test_missing_store_is_empty(tmp_path):
    store = ImageStore(str(tmp_path / "a/b/c"))
    assert (roots(store), contents(store)) == ([], {})
    assert list(tmp_path.iterdir()) == []


def test_contents_are_all_blobs_with_their_sizes(path, store):
    found = contents(store)
    assert set(map(str, found)) == digests(FAMILY)
    sizes = {digest: len(raw) for digest, raw in FAMILY.blobs()}
    assert all(found[Digest.parse(digest)].st_size == size for digest, size in sizes.items())


def test_blob_removed_while_contents_are_listed_is_ignored(path, store, monkeypatch):
    """Another task repairs the store: it removes a corrupt blob before it fetches the blob again."""
    gone = path / "blobs/sha256" / BLOB.digest.encoded
    gone.write_bytes(DATA)
    listed = os.listdir

    def and_then_gone(where):
        names = listed(where)
        gone.unlink(missing_ok=True)
        return names

    monkeypatch.setattr(inventory.os, "listdir", and_then_gone)
    assert set(map(str, contents(store))) == digests(FAMILY)
    assert not gone.exists()


def test_contents_of_both_algorithms_and_every_kind_are_listed(path, store):
    long = hashlib.sha512(DATA).hexdigest()
    (path / "blobs/sha512").mkdir()
    (path / "blobs/sha512" / long).write_bytes(DATA)
    os.mkfifo(path / "blobs/sha256" / ("a" * 64))
    os.symlink("nowhere", path / "blobs/sha256" / ("b" * 64))
    kinds = {digest: stat.S_IFMT(one.st_mode) for digest, one in contents(store).items()}
    assert kinds[Digest("sha512", long)] == stat.S_IFREG
    assert kinds[Digest("sha256", "a" * 64)] == stat.S_IFIFO
    assert kinds[Digest("sha256", "b" * 64)] == stat.S_IFLNK


def test_roots_are_all_entries_except_excluded_labels(path, store):
    put(path, FAMILY, "registry.example/app:2")
    put(path, FAMILY)
    annotations = {"io.lockstep.platforms": "linux/amd64,linux/arm64"}
    rewrite(path, lambda entries: entries[0]["annotations"].update(annotations))
    platforms = [one.platforms for one in roots(store)]
    assert platforms == [("linux/amd64", "linux/arm64"), (), ()]
    assert len(roots(store, {"registry.example/app:1"})) == 2
    assert len(roots(store, {"registry.example/app:1", "registry.example/app:2"})) == 1


def test_invalid_entry_is_reported_by_its_number(path, store):
    rewrite(path, lambda entries: entries.append({"digest": "x"}))
    with pytest.raises(CorruptStoreError, match=r"index.json: manifests\[1\]") as caught:
        roots(store)
    assert caught.value.details["path"] == str(path / "index.json")


def test_removing_twice_is_not_an_error(store):
    digest, place = BLOB.digest, store.blob_path(BLOB.digest)
    with open(place, "wb") as handle:
        handle.write(DATA)
    remove(store, digest)
    assert not os.path.exists(place)
    remove(store, digest)
