# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy one blob from a source in memory to a sink in memory: requests, retries and their limits."""

from __future__ import annotations

import contextlib
import random
import threading
import time

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image import copy_blob as copying
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import (
    copy_blob,
    read_content,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DeniedError,
    DigestMismatchError,
    NotFoundError,
    RangeError,
    RegistryError,
    SizeMismatchError,
    StoreAccessError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ChunkPolicy
from ansible_collections.lockstep.images.tests.support.fakes import (
    Cut,
    FakePart,
    FakeRepository,
    FakeSink,
    Whole,
    blob,
)
from ansible_collections.lockstep.images.tests.support.pulling import cut_always
from ansible_collections.lockstep.images.tests.support.tables import short

DATA = random.Random(1).randbytes(5000)
LAYER = blob(DATA, "application/vnd.oci.image.layer.v1.tar")
LARGE_DATA = random.Random(2).randbytes(64_000)
LARGE = blob(LARGE_DATA, "application/vnd.oci.image.layer.v1.tar")
WHOLE = None
CHUNKS = ChunkPolicy()


@pytest.fixture(name="source")
def fixture_source():
    source = FakeRepository()
    source.content = {str(LAYER.digest): DATA, str(LARGE.digest): LARGE_DATA}
    return source


@pytest.fixture(name="sink")
def fixture_sink():
    return FakeSink()


def copy(source, sink, layer=LAYER, pieces=CHUNKS, workers=1):
    with Pool(workers) as pool:
        copy_blob(layer, source, sink, pool, pieces)
    assert sink.content == {str(layer.digest): source.content[str(layer.digest)]}


def fails(source, sink, *errors, layer=LAYER, pieces=CHUNKS, workers=1):
    with Pool(workers) as pool, pytest.raises(errors):
        copy_blob(layer, source, sink, pool, pieces)
    assert sink.content == {}


def blob_reads(source):
    return [verb for verb, _what in source.reads].count("blob")


def test_existing_blob_is_not_read(source, sink):
    sink.write(LAYER, [DATA])
    copy(source, sink)
    assert source.reads == []


def test_content_embedded_in_its_descriptor_is_not_fetched(source, sink):
    """M016"""
    inline = type(LAYER)(LAYER.media_type, LAYER.digest, LAYER.size, data=DATA)
    copy(source, sink, inline)
    assert source.reads == []
    assert read_content(inline, source) == DATA
    assert source.reads == []


def test_small_blob_is_fetched_with_one_request(source, sink):
    copy(source, sink)
    assert (source.spans, source.pauses) == ([WHOLE], [])


def test_incomplete_blob_of_an_earlier_run_is_completed(source, sink):
    sink.parts[str(LAYER.digest)] = DATA[:1234]
    copy(source, sink)
    assert source.spans == [(1234, 5000)]


def test_complete_part_of_an_earlier_run_is_not_fetched(source, sink):
    """R017"""
    sink.parts[str(LAYER.digest)] = DATA
    copy(source, sink)
    assert source.reads == []


@pytest.mark.parametrize("breaks", [1, 3, 5, 30])
def test_interrupted_transfer_resumes_where_it_stopped(source, sink, breaks):
    """R005, R013: each try makes progress."""
    source.script("blob", LAYER.digest, *[Cut(100)] * breaks)
    copy(source, sink)
    assert source.spans == [WHOLE, *((100 * n, 5000) for n in range(1, breaks + 1))]
    assert source.pauses == [1] * breaks


def test_retries_end_without_progress(source, sink):
    source.patience = 2
    source.script("blob", LAYER.digest, *[TruncatedError("x"), Cut(0)] * 5)
    fails(source, sink, TruncatedError)
    assert (blob_reads(source), source.pauses) == (3, [1, 2, 3])


def test_progress_resets_the_number_of_retries(source, sink):
    source.patience = 2
    source.script("blob", LAYER.digest, Cut(0), Cut(0), Cut(1), Cut(0))
    copy(source, sink)
    assert source.pauses == [1, 2, 1, 2]


def test_small_steps_end_after_a_limit(source, sink):
    """R013: a byte at a time."""
    source.script("blob", LARGE.digest, *[Cut(1)] * 5000)
    fails(source, sink, TruncatedError, layer=LARGE)
    assert 100 <= blob_reads(source) <= 102


def test_large_steps_continue_without_limit_or_wait(source, sink, monkeypatch):
    monkeypatch.setattr(copying, "_LARGE_STEP", 100)
    source.script("blob", LARGE.digest, *[Cut(100)] * 500)
    copy(source, sink, LARGE)
    assert (blob_reads(source), set(source.pauses)) == (501, {0})


def test_another_server_is_tried_after_the_retries(source, sink):
    source.patience, source.others = 1, 1
    source.script("blob", LAYER.digest, Cut(2000), Cut(0), Cut(0))
    copy(source, sink)
    assert source.spans == [WHOLE, (2000, 5000), (2000, 5000), (2000, 5000)]
    assert source.reads.count(("distrust", str(LAYER.digest))) == 1


SPOILT = {"other bytes": DATA[::-1], "too many bytes": DATA + b"x"}
every_spoilt = pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)


@every_spoilt
def test_corrupt_blob_is_fetched_once_more(source, sink, spoilt):
    """R006, R009"""
    source.script("blob", LAYER.digest, spoilt)
    copy(source, sink)
    assert source.spans == [WHOLE, WHOLE]
    assert source.pauses == [1]


@every_spoilt
def test_blob_that_is_corrupt_twice_is_an_error(source, sink, spoilt):
    source.script("blob", LAYER.digest, spoilt, spoilt)
    fails(source, sink, DigestMismatchError, SizeMismatchError)
    assert blob_reads(source) == 2


@every_spoilt
def test_every_other_server_is_tried_before_a_blob_is_called_corrupt(source, sink, spoilt):
    """R009, R091"""
    source.others = 3
    source.script("blob", LAYER.digest, spoilt, spoilt, spoilt)
    copy(source, sink)
    assert (blob_reads(source), source.pauses) == (4, [])


@pytest.mark.parametrize("patience", [0, 5])
def test_corrupt_bytes_of_an_earlier_run_do_not_blame_the_source(source, sink, patience):
    source.patience = patience
    sink.parts[str(LAYER.digest)] = bytes(1234)
    source.others = 1
    copy(source, sink)
    assert source.spans == [(1234, 5000), WHOLE]
    assert ("distrust", str(LAYER.digest)) not in source.reads


@pytest.mark.parametrize("patience", [1, 5])
def test_corrupt_bytes_from_several_answers_do_not_blame_the_last_source(source, sink, patience):
    source.patience, source.others = patience, 1
    source.script("blob", LAYER.digest, Cut(2500), bytes(2500))
    copy(source, sink)
    assert source.spans == [WHOLE, (2500, 5000), WHOLE]
    assert ("distrust", str(LAYER.digest)) not in source.reads


@pytest.mark.usefixtures("cut")
def test_corrupt_pieces_are_fetched_elsewhere_without_retries(source, sink):
    """R009, R091: first in one answer, which shows the corrupt source, then from another source."""
    source.patience, source.others = 0, 1
    spoilt = [bytes(4000)] * len(ENDS)
    source.script("blob", LARGE.digest, *spoilt, LARGE_DATA[::-1])
    copy(source, sink, LARGE, SMALL)
    assert source.spans[len(ENDS) :] == [WHOLE, WHOLE]


def test_whole_blob_in_place_of_a_range_is_used_from_its_start(source, sink):
    """R014: nothing is appended, and no byte is requested again."""
    source.script("blob", LAYER.digest, Cut(2500), Whole())
    copy(source, sink)
    assert source.spans == [WHOLE, (2500, 5000)]


def test_fetch_restarts_without_ranges(source, sink):
    """R014: the number of restarts is limited like the retries without progress."""
    source.patience = 2
    source.script("blob", LAYER.digest, Cut(2500), *[Whole(2000)] * 9)
    fails(source, sink, TruncatedError)
    assert source.spans == [WHOLE, (2500, 5000), WHOLE]


def test_source_that_fails_at_ranges_is_asked_for_the_whole_blob(source, sink):
    """R015, R016, R017"""
    source.script("blob", LAYER.digest, Cut(2500), RangeError("x"))
    copy(source, sink)
    assert source.spans == [WHOLE, (2500, 5000), WHOLE]


@pytest.mark.parametrize("error", [NotFoundError("x"), DeniedError("x")], ids=str)
def test_permanent_error_is_not_retried(source, sink, error):
    source.script("blob", LAYER.digest, error)
    fails(source, sink, type(error))
    assert (blob_reads(source), source.pauses) == (1, [])


# -- in pieces

SMALL = ChunkPolicy(4000, 6)
ENDS = [(at, at + 4000) for at in range(0, 64_000, 4000)]


@pytest.fixture(name="cut")
def fixture_cut(monkeypatch):
    cut_always(monkeypatch)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("workers", [1, 2, 6])
def test_large_blob_is_fetched_in_pieces_each_once(source, sink, workers):
    copy(source, sink, LARGE, SMALL, workers)
    assert sorted(source.spans) == ENDS


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (64_000, ChunkPolicy(32_001, 6)),
        (64_000, ChunkPolicy(4000, 1)),
        (5000, ChunkPolicy(4000, 6)),
    ],
    ids=["smaller than two pieces", "one connection", "small"],
)
@pytest.mark.usefixtures("cut")
def test_small_layer_is_not_split(source, sink, size, pieces):
    layer = {64_000: LARGE, 5000: LAYER}[size]
    copy(source, sink, layer, pieces, 6)
    assert source.spans == [WHOLE]


@pytest.mark.usefixtures("cut")
def test_a_source_without_ranges_is_not_asked_for_any(source, sink):
    source.ranges = False
    copy(source, sink, LARGE, SMALL, 6)
    assert source.spans == [WHOLE]


def test_rest_that_ends_soon_is_not_split_further(source, sink):
    """The source is fast, as measured after the first piece."""
    copy(source, sink, LARGE, SMALL, 6)
    assert source.spans == [(0, 4000), (4000, 64_000)]


def meeting(number):
    """Return a function that waits until ``number`` threads call it; later calls do not wait."""
    barrier, met = threading.Barrier(number), threading.Event()

    def meet():
        if not met.is_set():
            barrier.wait(20)
            met.set()

    return meet


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("connections", [2, 3, 6])
def test_as_many_connections_as_are_allowed_work_at_the_same_time(source, sink, connections):
    source.script("blob", LARGE.digest, lambda: None, *[meeting(connections)] * 15)
    copy(source, sink, LARGE, ChunkPolicy(4000, connections), 8)
    assert sorted(source.spans) == ENDS


@pytest.mark.usefixtures("cut")
def test_pieces_too_small_to_measure_use_several_connections_too(source, sink, monkeypatch):
    monkeypatch.setattr(copying, "_MEASURED", 1 << 20)
    source.script("blob", LARGE.digest, lambda: None, *[meeting(3)] * 15)
    copy(source, sink, LARGE, ChunkPolicy(4000, 3), 8)


@pytest.mark.usefixtures("cut")
def test_assistant_leaves_when_the_pool_has_work(source, sink):
    order, gate, helping = [], threading.Event(), threading.Event()

    def answer():
        if threading.current_thread() is threading.main_thread():
            gate.set()
            assert helping.wait(20)
        else:
            order.append("help")
            helping.set()

    source.script("blob", LARGE.digest, lambda: None, *[answer] * 15)
    with Pool(1) as pool:
        pool.submit(lambda: gate.wait(20))
        pool.submit(lambda: order.append("own"))
        copy_blob(LARGE, source, sink, pool, SMALL)
    assert order[:2] == ["own", "help"]
    assert sorted(source.spans) == ENDS


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("answer", [Cut(1500), RangeError("x"), Whole(), bytes(4000), b"x" * 4001,
                                    TruncatedError("x"), Cut(0), Whole(100)], ids=short)  # fmt: skip
@pytest.mark.parametrize("number", [0, 1, 2, 5, 15])
@pytest.mark.parametrize("workers", [1, 4])
def test_failed_piece_affects_only_itself(source, sink, answer, number, workers):
    source.script("blob", LARGE.digest, *[lambda: None] * number, answer)
    copy(source, sink, LARGE, SMALL, workers)


@pytest.mark.usefixtures("cut")
def test_late_assistant_does_not_write_into_a_whole_blob(source, sink):
    """R014: no thread helps when the piece is asked for; one does when the answer is there."""
    began, over = threading.Event(), threading.Event()

    def whole_once_somebody_helps():
        free.set()
        assert began.wait(20)
        return Whole()

    def helper():
        began.set()
        over.wait(0.3)

    free = threading.Event()
    with Pool(1) as pool:
        pool.submit(lambda: free.wait(20))
        source.script("blob", LARGE.digest, lambda: None, whole_once_somebody_helps, helper)
        copy_blob(LARGE, source, sink, pool, SMALL)
    assert sink.content == {str(LARGE.digest): LARGE_DATA}


@pytest.mark.usefixtures("cut")
def test_helpers_stop_when_ranges_turn_out_to_be_of_no_use(source, sink):
    """Their bytes would be dropped."""
    helping = threading.Event()

    def answer():
        if threading.current_thread() is threading.main_thread():
            assert helping.wait(20)
            if source.spans[-1] != WHOLE:
                raise RangeError("x")
            return
        helping.set()
        threading.Event().wait(0.1)

    source.script("blob", LARGE.digest, lambda: None, *[answer] * 15)
    copy(source, sink, LARGE, SMALL, 2)
    assert len(source.spans) <= 6
    assert source.spans[-1] == WHOLE


class OneAtATime(FakeRepository):
    """A source that refuses assistants."""

    def __init__(self):
        super().__init__()
        self.refused = 0

    def read_blob(self, descriptor, span=None, retry=True):
        if not retry:
            self.refused += 1
            raise RegistryError("busy", status=503)
        time.sleep(0.005)
        return super().read_blob(descriptor, span)


@pytest.mark.usefixtures("cut")
def test_helpers_that_are_refused_are_not_called_again(sink):
    source = OneAtATime()
    source.content = {str(LARGE.digest): LARGE_DATA}
    copy(source, sink, LARGE, SMALL, 6)
    assert 0 < source.refused <= 5
    assert source.pauses == []


class BrokenPart(FakePart):
    """A disk that returns no written bytes while assistants still write."""

    def __init__(self, sink, descriptor):
        super().__init__(sink, descriptor)
        self.helping, self.failing = threading.Event(), threading.Event()

    def hash_ahead(self):
        self.failing.set()
        raise StoreAccessError("Input/output error")

    def write(self, offset, chunk):
        if threading.current_thread() is not threading.main_thread():
            self.helping.set()
            assert self.failing.wait(20)
            time.sleep(0.05)
        elif offset >= SMALL.size:
            assert self.helping.wait(20)
        super().write(offset, chunk)


@pytest.mark.usefixtures("cut")
def test_no_assistant_writes_after_the_main_thread_failed(source, sink, monkeypatch):
    """Its file descriptors can belong to another file afterwards."""
    left = []
    monkeypatch.setattr(sink, "open_partial", lambda descriptor: contextlib.nullcontext(part))
    part = BrokenPart(sink, LARGE)
    with Pool(4) as pool:
        with pytest.raises(StoreAccessError):
            copy_blob(LARGE, source, sink, pool, SMALL)
        monkeypatch.setattr(part, "write", lambda offset, chunk: left.append(offset))
        time.sleep(0.1)
    assert left == []


class HesitantPool(Pool):
    """An assistant does other work for a while."""

    def __init__(self, workers):
        super().__init__(workers)
        self.here, self.go_on = threading.Event(), threading.Event()

    @property
    def is_busy(self):
        self.here.set()
        assert self.go_on.wait(20)
        time.sleep(0.05)
        return False


@pytest.mark.usefixtures("cut")
def test_a_helper_that_is_too_late_does_not_take_the_whole_blob(source, sink):
    with HesitantPool(1) as pool:

        def answer():
            if threading.current_thread() is threading.main_thread() and not pool.go_on.is_set():
                assert pool.here.wait(20)
                pool.go_on.set()
                raise RangeError("x")

        # Either may be the first to ask for a second piece, and the helper asks for one only.
        source.script("blob", LARGE.digest, lambda: None, answer, answer)
        copy_blob(LARGE, source, sink, pool, SMALL)
    assert sink.content == {str(LARGE.digest): LARGE_DATA}
    assert (source.spans[-1], source.spans.count(WHOLE)) == (WHOLE, 1)


@pytest.mark.usefixtures("cut")
def test_helpers_stop_when_the_blob_cannot_be_fetched(source, sink):
    helping = threading.Event()

    def answer():
        if threading.current_thread() is threading.main_thread():
            assert helping.wait(20)
            raise DeniedError("x")
        helping.set()
        threading.Event().wait(0.1)

    source.script("blob", LARGE.digest, lambda: None, *[answer] * 15)
    fails(source, sink, DeniedError, layer=LARGE, pieces=SMALL, workers=2)
    assert len(source.spans) <= 6


@pytest.mark.usefixtures("cut")
def test_a_bug_in_a_helper_is_not_hidden(source, sink):
    def answer():
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError
        threading.Event().wait(0.01)

    source.script("blob", LARGE.digest, lambda: None, *[answer] * 60)
    fails(source, sink, ZeroDivisionError, layer=LARGE, pieces=SMALL, workers=4)


# -- content that is read for the plan


@pytest.mark.parametrize(
    "answer", [TruncatedError("x"), DATA[::-1], DATA + b"x", DATA[:5]], ids=short
)
def test_corrupt_small_content_is_read_again(source, answer):
    source.script("blob", LAYER.digest, answer)
    assert read_content(LAYER, source) == DATA
    assert source.pauses == [1]


def test_small_content_that_is_corrupt_twice_is_an_error(source):
    source.script("blob", LAYER.digest, *[DATA[::-1]] * 9)
    with pytest.raises(DigestMismatchError):
        read_content(LAYER, source)
    assert blob_reads(source) == 2


def test_small_content_is_tried_on_every_server(source):
    source.others = 3
    source.script("blob", LAYER.digest, *[DATA[::-1]] * 3)
    assert read_content(LAYER, source) == DATA


@pytest.mark.parametrize("answer", [TruncatedError("x"), DATA[::-1], DATA[:5]], ids=short)
@pytest.mark.parametrize("patience", [0, 2])
def test_small_content_is_tried_elsewhere_with_and_without_retries(source, answer, patience):
    """R005, R009: a server that always breaks off is given up like one with corrupt bytes."""
    source.patience, source.others = patience, 1
    wrong = answer == DATA[::-1]
    source.script("blob", LAYER.digest, *[answer] * (1 if wrong else patience + 1))
    assert read_content(LAYER, source) == DATA
    assert source.reads.count(("distrust", str(LAYER.digest))) == 1


def test_small_content_that_always_breaks_off_is_an_error(source):
    source.patience = 2
    source.script("blob", LAYER.digest, *[DATA[:5]] * 9)
    with pytest.raises(TruncatedError):
        read_content(LAYER, source)
    assert source.pauses == [1, 2, 3]
