# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions on content: what they bring, from which source, and in which order."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._execution import Pool
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
    InputError,
    NotFoundError,
    SizeMismatchError,
    StoreAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Reference
from ansible_collections.lockstep.images.plugins.module_utils._operations.actions import (
    FetchBlob,
    StoreContent,
    each_once,
    merged,
    missing_bytes,
    shorten_images,
)
from ansible_collections.lockstep.images.tests.support.fakes import (
    FakeRepository,
    FakeSink,
    blob,
)

DATA = b"twelve bytes"
BLOB = blob(DATA)


def source(name: str, *contents: bytes) -> FakeRepository:
    repository = FakeRepository(name, patience=0)
    repository.content.update({str(blob(raw).digest): raw for raw in contents})
    return repository


def apply(action):
    with Pool(1) as pool:
        action.apply(pool)


class Planned(t.NamedTuple):
    """The plan of one image."""

    name: str
    content: list


def test_content_is_stored_if_it_matches():
    sink = FakeSink()
    apply(StoreContent(BLOB, DATA, sink))
    assert sink.content == {str(BLOB.digest): DATA}


@pytest.mark.parametrize(
    ("raw", "error"), [(DATA[::-1], DigestMismatchError), (DATA + b"x", SizeMismatchError)]
)
def test_content_that_does_not_match_is_not_stored(raw, error):
    sink = FakeSink()
    with pytest.raises(error):
        apply(StoreContent(BLOB, raw, sink))
    assert sink.content == {}


def test_blob_comes_from_the_first_source_that_has_it():
    sink, first, second = FakeSink(), source("a"), source("b", DATA)
    apply(FetchBlob(BLOB, first, sink, others=(second, source("c", DATA))))
    assert sink.content == {str(BLOB.digest): DATA}
    assert first.reads


def test_source_with_wrong_bytes_is_passed_over():
    sink, bad = FakeSink(), source("a")
    bad.content[str(BLOB.digest)] = DATA[::-1]
    apply(FetchBlob(BLOB, bad, sink, others=(source("b", DATA),)))
    assert sink.content == {str(BLOB.digest): DATA}


def test_error_of_the_last_source_is_raised():
    sink = FakeSink()
    with pytest.raises(NotFoundError, match=r"^last"):
        apply(FetchBlob(BLOB, source("first"), sink, others=(source("last"),)))
    assert sink.content == {}


def test_error_of_the_sink_ends_the_fetch_at_once():
    class Full(FakeSink):
        """A sink that cannot write."""

        def open_partial(self, descriptor):
            raise StoreAccessError("the disk refuses")

    other = source("b", DATA)
    with pytest.raises(StoreAccessError):
        apply(FetchBlob(BLOB, source("a", DATA), Full(), others=(other,)))
    assert other.reads == []


def test_summaries_name_the_content_and_the_source_but_show_no_bytes():
    fetch = FetchBlob(BLOB, source("registry.example/app"), FakeSink())
    assert fetch.summary() == {
        **BLOB.as_result(),
        "action": "fetch_blob",
        "source": "registry.example/app",
    }
    store = StoreContent(BLOB, DATA, FakeSink())
    assert store.summary() == {**BLOB.as_result(), "action": "store_content"}
    assert "twelve" not in repr(store)


def test_content_of_several_images_is_merged_with_the_names_that_wait_for_it():
    sink, first, second = FakeSink(), source("a", DATA), source("b", DATA)
    plans = [
        Planned("one", [FetchBlob(BLOB, first, sink)]),
        Planned("two", [FetchBlob(BLOB, second, sink)]),
        Planned("three", [FetchBlob(BLOB, second, sink)]),
    ]
    (action,) = merged(plans)
    assert action.needed_by == ("one", "two", "three")
    assert (action.source, action.others) == (first, (second,))


def test_content_for_another_sink_or_of_another_size_stays_apart():
    sink = FakeSink()
    longer = blob(DATA)
    longer = type(longer)(longer.media_type, longer.digest, longer.size + 1)
    plans = [
        Planned("one", [StoreContent(BLOB, DATA, sink)]),
        Planned("two", [StoreContent(BLOB, DATA, FakeSink())]),
        Planned("three", [StoreContent(longer, DATA, sink)]),
    ]
    assert [one.needed_by for one in merged(plans)] == [("one",), ("two",), ("three",)]


def test_image_that_lacks_least_comes_first_then_the_smaller_content():
    sink = FakeSink()
    small, large, shared = b"s" * 10, b"l" * 1000, b"h" * 50
    near = Planned("near", [StoreContent(blob(raw), raw, sink) for raw in (shared, small)])
    far = Planned("far", [StoreContent(blob(raw), raw, sink) for raw in (large, shared)])
    assert (missing_bytes(near), missing_bytes(far)) == (60, 1050)
    ordered = sorted(merged([far, near]), key=lambda one: one.urgency)
    assert [one.descriptor.size for one in ordered] == [10, 50, 1000]
    assert [one.urgency for one in ordered] == [(60, 10), (60, 50), (1050, 1000)]


def test_nothing_to_bring_merges_to_nothing():
    assert merged([]) == merged([Planned("one", [])]) == ()


def test_failed_result_lists_changed_images_without_their_layers():
    images = [
        {"name": "a", "status": "updated", "layers": [1], "id": "x", "digest": "d"},
        {"name": "b", "status": "up_to_date", "digest": "e"},
        {"name": "c", "digest": "f", "platforms": []},
    ]
    assert shorten_images({"images": images}, ()) == {
        "images": [
            {"name": "a", "status": "updated", "digest": "d"},
            {"name": "c", "digest": "f"},
        ]
    }


def test_name_that_is_asked_for_twice_counts_once():
    names = ["debian:12", "docker.io/library/debian:12", "alpine"]
    assert each_once(names, Reference.parse) == ["debian:12", "alpine"]


def test_name_that_means_two_images_is_an_error_that_names_both():
    digests = [f"sha256:{letter * 64}" for letter in "ab"]
    names = [f"debian:12@{digest}" for digest in digests]
    with pytest.raises(InputError, match="is asked for twice") as caught:
        each_once(names, Reference.parse)
    assert all(digest in str(caught.value) for digest in digests)
