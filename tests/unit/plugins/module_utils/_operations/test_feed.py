# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blobs that are downloaded for an engine: their order, the disk that they use, errors, and what stays."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    LockedError,
    NoSpaceError,
    NotFoundError,
    NotInStoreError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.plugins.module_utils._operations.feed import (
    BlobFeed,
    FedBlob,
)
from ansible_collections.lockstep.images.plugins.module_utils._operations.transit import (
    TransitStore,
)
from ansible_collections.lockstep.images.plugins.module_utils._store import store as stores
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import Cut, FakeRepository, blob
from ansible_collections.lockstep.images.tests.support.stores import whole_tree

SIZE = 20_000
DATA = [bytes([number]) * SIZE for number in range(30)]
BLOBS = [blob(data) for data in DATA]
WINDOW = 3


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    return ImageStore(str(tmp_path / "store"), lock_timeout=0)


@pytest.fixture(name="source")
def fixture_source():
    source = FakeRepository(patience=0)
    source.content.update({str(one.digest): data for one, data in zip(BLOBS, DATA)})
    return source


@pytest.fixture(name="feed")
def fixture_feed(store, source):
    return feed_of(store, source)


def feed_of(store, source, blobs=BLOBS, expected=None, window=WINDOW):
    feed = BlobFeed(store, ChunkPolicy(), window)
    for one in blobs:
        feed.add(FedBlob(one, source))
    feed.expect(blobs if expected is None else expected)
    return feed


def read(feed, one):
    with feed.open(one) as file:
        return file.read()


def transit(store):
    return os.path.join(store.path, ".staging", "engine")


def files(store):
    """The bytes of every blob on the disk, also of incomplete ones, by the digits of its digest."""
    found = {}
    for directory, _directories, names in os.walk(transit(store)):
        for name in names:
            if name.endswith(".part") or directory.endswith("blobs/sha256"):
                with contextlib.suppress(FileNotFoundError):  # it has just been renamed
                    digits = name.replace(".part", "").replace("sha256-", "")
                    found[digits] = os.path.getsize(os.path.join(directory, name))
    return found


def fetched(source):
    return [what for verb, what in source.reads if verb == "blob"]


def digests(blobs):
    return [str(one.digest) for one in blobs]


def test_blobs_come_in_order_each_once_and_nothing_stays(store, source, feed):
    with store.hold(), feed.running():
        assert [read(feed, one) for one in BLOBS] == DATA
        feed.finish()
    assert sorted(fetched(source)) == sorted(digests(BLOBS))
    assert files(store) == {}
    assert store.names() == {}
    assert os.listdir(os.path.join(store.path, "blobs", "sha256")) == []


def test_disk_never_has_more_than_the_largest_blobs_of_the_window(store, source, feed):
    seen = []

    def look():
        with feed._changed:  # no blob may go or begin while files are counted
            seen.append(sum(files(store).values()))

    for one in BLOBS:
        source.script("blob", one.digest, look)
    with store.hold(), feed.running():
        for one in BLOBS:
            with feed.open(one):
                look()
    assert WINDOW * SIZE // 2 < max(seen) <= WINDOW * SIZE


def test_limit_counts_bytes_so_that_many_small_blobs_come_at_once(store, source):
    small = [blob(b"%d" % number) for number in range(20)]
    source.content.update({str(one.digest): b"%d" % n for n, one in enumerate(small)})
    feed = feed_of(store, source, [*small, *BLOBS[:3]], window=2)
    with store.hold(), feed.running():
        assert len(feed._downloads) == len(small) + 1


def test_order_does_not_matter(store, source, feed):
    with store.hold(), feed.running():
        assert [read(feed, one) for one in reversed(BLOBS)] == DATA[::-1]
        feed.finish()
    assert files(store) == {}


def test_threads_read_at_the_same_time(store, feed):
    found = {}

    def take(number):
        found[number] = read(feed, BLOBS[number])

    with store.hold(), feed.running():
        threads = [threading.Thread(target=take, args=(n % 30,)) for n in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        feed.finish()
    assert [found[number] for number in range(30)] == DATA
    assert files(store) == {}


def test_two_readers_of_a_blob_share_its_download(store, source, feed):
    with store.hold(), feed.running(), feed.open(BLOBS[0]) as one, feed.open(BLOBS[0]) as other:
        assert (one.read(), other.read()) == (DATA[0], DATA[0])
    assert fetched(source).count(str(BLOBS[0].digest)) == 1


def test_sent_blob_stays_until_others_need_its_space(store, source):
    feed = feed_of(store, source, BLOBS[:WINDOW])
    with store.hold(), feed.running():
        for one in (*BLOBS[:WINDOW], *BLOBS[:WINDOW]):
            read(feed, one)
    assert fetched(source).count(str(BLOBS[0].digest)) == 1


def test_blob_that_has_given_way_is_downloaded_again(store, source, feed):
    with store.hold(), feed.running():
        for one in BLOBS:
            read(feed, one)
        assert read(feed, BLOBS[0]) == DATA[0]
        assert sum(files(store).values()) <= WINDOW * SIZE
    assert fetched(source).count(str(BLOBS[0].digest)) == 2


def test_blobs_that_the_engine_passes_over_do_not_stop_the_others(store, source, feed):
    ahead = []
    with store.hold(), feed.running():
        for number, one in enumerate(BLOBS):
            if number >= 5:
                read(feed, one)
                ahead.append(len(feed._downloads) - 1)
        feed.finish()
    assert ahead[20] == WINDOW - 1
    assert sorted(fetched(source)) == sorted(digests(BLOBS))  # each once
    assert files(store) == {}


def test_blob_that_was_not_expected_is_downloaded_on_demand(store, source):
    feed = feed_of(store, source, expected=BLOBS[:2])
    with store.hold(), feed.running():
        assert read(feed, BLOBS[7]) == DATA[7]
        feed.finish()
    assert files(store) == {}


def test_nothing_is_downloaded_if_nothing_is_expected(store, source):
    feed = feed_of(store, source, expected=[])
    with store.hold(), feed.running():
        feed.finish()
    assert fetched(source) == []


def test_failed_download_fails_only_its_blob_with_the_error_of_the_source(store, source, feed):
    bad = BLOBS[4]
    error = NotFoundError(f"registry.example/app@{bad.digest}: not found")
    source.script("blob", bad.digest, *[error] * 9)
    with store.hold(), feed.running():
        for one, data in zip(BLOBS, DATA):
            if one is bad:
                with pytest.raises(NotFoundError, match=r"registry\.example/app@sha256"):
                    read(feed, one)
            else:
                assert read(feed, one) == data
        tries = fetched(source).count(str(bad.digest))
        with pytest.raises(NotFoundError):
            read(feed, bad)
    assert fetched(source).count(str(bad.digest)) == tries  # its retries were used up


def test_wrong_bytes_reach_no_reader(store, source, feed):
    source.content[str(BLOBS[0].digest)] = b"x" * SIZE
    with store.hold(), feed.running():
        with pytest.raises(Exception, match="digest"):
            read(feed, BLOBS[0])
        assert read(feed, BLOBS[1]) == DATA[1]


def test_interrupted_download_is_resumed_within_the_task(store, source, feed):
    source.patience = 5
    source.script("blob", BLOBS[0].digest, Cut(9000), Cut(5000))
    with store.hold(), feed.running():
        assert read(feed, BLOBS[0]) == DATA[0]
    assert (9000, SIZE) in source.spans


@pytest.mark.parametrize("error", [KeyboardInterrupt, NotFoundError])
def test_next_task_resumes_an_interrupted_one(store, source, feed, error):
    source.script("blob", BLOBS[2].digest, Cut(9000))
    with pytest.raises(error), store.hold(), feed.running():
        for one in BLOBS[:2]:
            read(feed, one)
        with pytest.raises(Exception, match="broke off"):
            read(feed, BLOBS[2])
        raise error("stop")
    there = files(store)
    assert there
    source.reads.clear()
    source.spans.clear()
    again = feed_of(store, source, BLOBS[2:])
    with store.hold(), again.running():
        assert [read(again, one) for one in BLOBS[2:]] == DATA[2:]
        again.finish()
    assert (9000, SIZE) in source.spans
    assert str(BLOBS[0].digest) not in fetched(source)
    assert files(store) == {}


def test_whole_blobs_of_an_earlier_task_are_used_or_removed(store, source):
    feed = feed_of(store, source, BLOBS[:WINDOW])
    with store.hold(), feed.running():
        for one in BLOBS[:WINDOW]:
            read(feed, one)
    assert BLOBS[0].digest.encoded in files(store)
    source.reads.clear()
    again = feed_of(store, source, BLOBS[1:])
    with store.hold(), again.running():
        assert BLOBS[0].digest.encoded not in files(store)
        read(again, BLOBS[1])
    assert str(BLOBS[1].digest) not in fetched(source)


def test_disk_of_what_an_earlier_task_has_left_counts(store, source):
    last = BLOBS[-1]
    feed = feed_of(store, source, [last])
    with store.hold(), feed.running():
        read(feed, last)
    again = feed_of(store, source)
    with store.hold(), again.running():
        for one in BLOBS[:-1]:
            read(again, one)
            assert sum(files(store).values()) <= WINDOW * SIZE
    assert fetched(source).count(str(last.digest)) == 1


def test_bytes_that_no_journal_lists_count(store, source):
    # A killed task has written them, and was killed before it noted that.
    staging = os.path.join(transit(store), ".staging")
    feed = feed_of(store, source, BLOBS[:1])
    with store.hold(), feed.running():
        feed.finish()
    for one in BLOBS[:WINDOW]:
        with open(os.path.join(staging, f"sha256-{one.digest.encoded}.part"), "wb") as file:
            file.write(b"x" * (SIZE - 1))
    again = feed_of(store, source)
    assert again._size == WINDOW * (SIZE - 1)
    with store.hold(), again.running():
        for one, data in zip(BLOBS, DATA):
            assert read(again, one) == data
            assert sum(files(store).values()) <= WINDOW * SIZE


def test_leftovers_of_later_blobs_give_way_to_an_urgent_one(store, source):
    late = BLOBS[-WINDOW:]
    feed = feed_of(store, source, late)
    with store.hold(), feed.running():
        for one in late:
            read(feed, one)
    again = feed_of(store, source)
    with store.hold(), again.running():
        assert sum(files(store).values()) == WINDOW * SIZE
        for one, data in zip(BLOBS[:5], DATA):
            assert read(again, one) == data
            assert sum(files(store).values()) <= WINDOW * SIZE
        assert late[0].digest.encoded in files(store)
        assert late[-1].digest.encoded not in files(store)


def test_leftovers_of_a_task_with_larger_blobs_are_used(store, source):
    small = [blob(b"%d" % number * 900) for number in range(20)]
    source.content.update({str(one.digest): b"%d" % n * 900 for n, one in enumerate(small)})
    feed = feed_of(store, source, [*BLOBS[:WINDOW], *small])
    with store.hold(), feed.running():
        for one in (*BLOBS[:WINDOW], *small):
            read(feed, one)
    left = sum(files(store).values())
    assert left > WINDOW * small[0].size
    source.reads.clear()
    again = feed_of(store, source, small)
    with store.hold(), again.running():
        for one in small:
            read(again, one)
            assert sum(files(store).values()) <= left
    assert fetched(source) == []


def test_urgent_blob_waits_for_the_space_of_a_download_without_a_reader(store, source, feed):
    go = threading.Event()
    for one in BLOBS[:WINDOW]:
        source.script("blob", one.digest, go.wait)
    found = []
    with store.hold(), feed.running():
        thread = threading.Thread(target=lambda: found.append(read(feed, BLOBS[20])))
        thread.start()
        thread.join(0.05)
        assert str(BLOBS[20].digest) not in fetched(source)
        go.set()
        thread.join()
        assert sum(files(store).values()) <= WINDOW * SIZE
    assert found == [DATA[20]]


def test_blob_of_the_store_is_sent_from_there_and_stays(store, source):
    with store.hold():
        store.prepare()
        store.write(BLOBS[0], [DATA[0]])
    feed = feed_of(store, source)
    with store.hold(), feed.running():
        assert read(feed, BLOBS[0]) == DATA[0]
        feed.finish()
    assert str(BLOBS[0].digest) not in fetched(source)
    assert store.has(BLOBS[0])


def test_file_that_cannot_be_opened_is_an_error_of_the_store(store, source):
    feed = feed_of(store, source, BLOBS[:1])
    with store.hold(), feed.running():
        read(feed, BLOBS[0])
        TransitStore(store).drop(BLOBS[0].digest)
        with pytest.raises(StoreAccessError, match="engine/blobs"):
            read(feed, BLOBS[0])


def test_disk_must_have_space_for_the_window_only(store, source, monkeypatch):
    free = WINDOW * SIZE
    monkeypatch.setattr(stores, "free_bytes", lambda _path: free)
    feed_of(store, source)
    monkeypatch.setattr(stores, "free_bytes", lambda _path: free - 1)
    with pytest.raises(NoSpaceError, match=r"1 B missing"):
        feed_of(store, source)
    assert not os.path.exists(store.path)


def test_space_that_an_earlier_task_has_used_need_not_be_free(store, source, feed, monkeypatch):
    with store.hold(), feed.running():
        read(feed, BLOBS[0])
    left = sum(files(store).values())
    monkeypatch.setattr(stores, "free_bytes", lambda _path: WINDOW * SIZE - left)
    feed_of(store, source)


def test_full_disk_is_the_error_of_the_blob(store, feed, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with store.hold(), feed.running():
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(NoSpaceError):
            read(feed, BLOBS[9])


def test_task_waits_for_another_one_that_loads_from_registries(store, source, feed, monkeypatch):
    other = feed_of(ImageStore(store.path), source)
    monkeypatch.setattr(other, "_sink", TransitStore(store, wait=0.1))
    with store.hold(), feed.running():
        with pytest.raises(LockedError, match="engine"), other.running():
            pass
        feed.finish()
    with store.hold(), other.running():
        assert read(other, BLOBS[0]) == DATA[0]


def test_late_reader_gets_nothing_and_leaves_nothing(store, feed):
    with store.hold(), feed.running():
        feed.finish()
    with pytest.raises(NotInStoreError, match="after the end"):
        read(feed, BLOBS[20])
    assert files(store) == {}


def test_planning_writes_nothing(store, source, tmp_path):
    before = whole_tree(tmp_path)
    with store.hold():
        feed_of(store, source)
    assert whole_tree(tmp_path) == before
