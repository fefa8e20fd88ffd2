# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of every ``ContentSink``. Add a new sink to ``SINKS``."""

from __future__ import annotations

import hashlib
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    ContentError,
    DigestMismatchError,
    SizeMismatchError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import FakeSink, blob
from ansible_collections.lockstep.images.tests.support.stores import leftovers, set_name

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DATA = b"0123456789" * 100
CONTENT = blob(DATA, MANIFEST)
NAME = "registry.example/app:1"
ONE, TWO, THREE = (IndexEntry(blob(text, MANIFEST)) for text in (b"one", b"two", b"three"))


@dataclass(frozen=True)
class Kind:
    """How to create a sink, and how to inspect it without its own methods."""

    make: t.Callable[[Path], t.Any]
    content: t.Callable[[t.Any], dict[str, bytes]]
    names: t.Callable[[t.Any], dict[str, IndexEntry]]
    leftovers: t.Callable[[t.Any], list[str]] = lambda sink: []


def make_store(path: Path) -> ImageStore:
    store = ImageStore(str(path / "store"))
    with store.hold():
        store.prepare()
    return store


def content_of_store(store: ImageStore) -> dict[str, bytes]:
    blobs = Path(store.path, "blobs").glob("*/*")
    return {f"{path.parent.name}:{path.name}": path.read_bytes() for path in blobs}


SINKS = {
    "ImageStore": Kind(
        make_store, content_of_store, ImageStore.names, lambda store: leftovers(Path(store.path))
    ),
    "FakeSink": Kind(lambda path: FakeSink(), lambda sink: sink.content, lambda sink: sink.names),
}


@pytest.fixture(name="kind", params=list(SINKS.values()), ids=list(SINKS))
def fixture_kind(request):
    return request.param


@pytest.fixture(name="sink")
def fixture_sink(kind, tmp_path):
    return kind.make(tmp_path)


def test_new_sink_is_empty(kind, sink):
    assert not sink.has(CONTENT)
    assert not sink.has(blob(b""))
    assert (kind.content(sink), kind.names(sink)) == ({}, {})


@pytest.mark.parametrize("size", [1, 7, 1000, 5000], ids="in pieces of {}".format)
def test_written_content_is_present(kind, sink, size):
    sink.write(CONTENT, (DATA[at : at + size] for at in range(0, len(DATA), size)))
    assert sink.has(CONTENT)
    assert kind.content(sink) == {str(CONTENT.digest): DATA}
    assert kind.leftovers(sink) == []


def test_second_write_succeeds_and_changes_nothing(kind, sink):
    for _time in range(2):
        sink.write(CONTENT, [DATA])
        assert kind.content(sink) == {str(CONTENT.digest): DATA}


def test_content_of_no_bytes_is_content(kind, sink):
    sink.write(blob(b""), [])
    assert sink.has(blob(b""))
    assert kind.content(sink) == {f"sha256:{hashlib.sha256(b'').hexdigest()}": b""}


def test_sha512_is_verified_and_kept_as_such(kind, sink):
    descriptor = CONTENT._replace(digest=Digest.of(DATA, "sha512"))
    sink.write(descriptor, [DATA])
    assert sink.has(descriptor)
    assert not sink.has(CONTENT)
    with pytest.raises(DigestMismatchError):
        sink.write(descriptor._replace(digest=Digest("sha512", "0" * 128)), [DATA])
    assert list(kind.content(sink)) == [str(descriptor.digest)]


@pytest.mark.parametrize("there", [False, True], ids=["not there before", "there before"])
@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        pytest.param([DATA[:-1], b"x"], DigestMismatchError, id="other bytes"),
        pytest.param([DATA[:-1]], TruncatedError, id="too short"),
        pytest.param([], TruncatedError, id="nothing"),
        pytest.param([DATA, b"x"], SizeMismatchError, id="too long"),
    ],
)
def test_wrong_bytes_are_an_error_and_leave_everything_as_it_was(kind, sink, chunks, error, there):
    if there:
        sink.write(CONTENT, [DATA])
    before = dict(kind.content(sink))
    with pytest.raises(error) as caught:
        sink.write(CONTENT, chunks)
    assert str(CONTENT.digest) in str(caught.value)
    assert isinstance(caught.value, ContentError)
    assert (kind.content(sink), sink.has(CONTENT)) == (before, there)
    assert kind.leftovers(sink) == []


def test_too_many_bytes_are_not_read_to_their_end(sink):
    def endless():
        while True:
            yield DATA

    with pytest.raises(SizeMismatchError):
        sink.write(CONTENT, endless())


def test_an_error_of_the_source_passes_through_and_leaves_nothing(kind, sink):
    def breaking():
        yield DATA[:10]
        raise TruncatedError("reset")

    with pytest.raises(TruncatedError, match="reset"):
        sink.write(CONTENT, breaking())
    assert (kind.content(sink), kind.leftovers(sink)) == ({}, [])


@pytest.mark.parametrize("by", [-1, 1])
def test_has_is_exact_in_size(sink, by):
    """The manifest exists in another size than promised."""
    sink.write(CONTENT, [DATA])
    assert not sink.has(CONTENT._replace(size=len(DATA) + by))


def test_many_threads_may_write_the_same_and_other_content(kind, sink):
    contents = [b"%d" % (n % 5) * 50_000 for n in range(15)]
    threads = [
        threading.Thread(target=sink.write, args=(blob(data), [data[:9], data[9:]]))
        for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kind.content(sink) == {str(blob(data).digest): data for data in contents}
    assert kind.leftovers(sink) == []


# -- names


def test_a_name_is_set_moved_and_kept_apart_from_others(kind, sink):
    set_name(sink, NAME, ONE, None)
    set_name(sink, "registry.example/other:1", ONE, None)
    set_name(sink, NAME, TWO, ONE)
    assert kind.names(sink) == {NAME: TWO, "registry.example/other:1": ONE}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param(ONE, None, id="expected nothing, there is one"),
        pytest.param(ONE, THREE, id="expected one, there is another"),
        pytest.param(None, ONE, id="expected one, there is nothing"),
        pytest.param(IndexEntry(ONE.target, ("linux/amd64",)), ONE, id="other platforms"),
    ],
)
def test_unexpected_target_of_a_name_is_a_conflict(kind, sink, there, expected):
    if there:
        set_name(sink, NAME, there, None)
    before = dict(kind.names(sink))
    with pytest.raises(ConflictError, match=NAME):
        set_name(sink, NAME, TWO, expected)
    assert kind.names(sink) == before


def test_setting_a_name_twice_is_not_an_error(kind, sink):
    """An action can be applied twice, or another process was faster."""
    for _time in range(2):
        set_name(sink, NAME, TWO, None)
    assert kind.names(sink) == {NAME: TWO}


def test_one_of_many_concurrent_moves_wins(kind, sink):
    set_name(sink, NAME, ONE, None)
    targets = [IndexEntry(blob(b"%d" % n, MANIFEST)) for n in range(8)]
    outcomes = []

    def move(target):
        try:
            set_name(sink, NAME, target, ONE)
            outcomes.append(target)
        except ConflictError:
            outcomes.append(None)

    threads = [threading.Thread(target=move, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [target for target in outcomes if target]
    assert len(outcomes) == len(targets)
    assert [kind.names(sink)[NAME]] == winners
