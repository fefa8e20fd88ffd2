# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every file of a store, and its faults."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
    NotFoundError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import inventory
from ansible_collections.lockstep.images.plugins.module_utils._store.inventory import (
    RepairStore,
    contents,
    foreign,
    remove,
    roots,
    verify_blob,
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
    assert (roots(store), contents(store), foreign(store)) == ([], {}, [])
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
    assert foreign(store) == []


def test_file_name_that_is_not_a_digest_is_foreign(path, store):
    """S024"""
    strangers = [".DS_Store", "blobs/x", "blobs/sha256/oci-put-blob1", "blobs/sha256/" + "A" * 64]
    strangers += ["ingest", "blobs/sha256/" + "a" * 63, "manifest.json"]
    for name in strangers:
        (path / name).write_bytes(b"x")
    (path / "lost+found").mkdir()
    (path / ".staging").mkdir()
    (path / ".staging" / "anything").write_bytes(b"x")
    assert foreign(store) == sorted(strangers)
    assert set(map(str, contents(store))) == digests(FAMILY)


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
        with inventory.access(path):
            raise PermissionError(13, "Permission denied")
        yield b""

    monkeypatch.setattr(inventory, "read_chunks", refuse)
    found = verify_blob(store, digest)
    assert found.startswith(f"cannot be read: {place}: Permission denied; {place} belongs to ")


def test_removing_twice_is_not_an_error(store):
    digest, place = place_of(store)
    with open(place, "wb") as handle:
        handle.write(DATA)
    remove(store, digest)
    assert not os.path.exists(place)
    remove(store, digest)


# -- a store that is doubted


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
