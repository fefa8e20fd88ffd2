# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The defaults of ``ContentSource``, which a new medium inherits."""

from __future__ import annotations

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.copy_blob import read_content
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
    NotFoundError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.sources import ContentSource
from ansible_collections.lockstep.images.tests.support.fakes import blob

DATA = b"0123456789" * 100
LAYER = blob(DATA)


class Shelf(ContentSource):
    """A medium with one blob."""

    def __init__(self, data=DATA):
        self.data = data

    def __str__(self):
        return "the shelf"

    def read_blob(self, descriptor, span=None, retry=True):
        first, end = span or (0, descriptor.size)
        return (first, end), (part for part in [self.data[first:end]])


def test_medium_with_one_blob_is_read():
    assert read_content(LAYER, Shelf()) == DATA


@pytest.mark.parametrize(
    ("data", "error"), [(DATA[:-1], TruncatedError), (bytes(len(DATA)), DigestMismatchError)]
)
def test_corrupt_medium_is_not_read_again(data, error):
    with pytest.raises(error):
        read_content(LAYER, Shelf(data))


def test_wrong_bytes_are_blamed_on_the_medium():
    with pytest.raises(DigestMismatchError, match="received from the shelf"):
        read_content(LAYER, Shelf(bytes(len(DATA))))


def test_defaults_offer_nothing_beyond_reading():
    source = Shelf()
    assert not source.has_ranges(LAYER)
    assert not source.report_corrupt(LAYER)
    assert not source.backoff(0) and not source.backoff(1, LAYER)
    assert source.served_by(LAYER) == "the shelf"
    assert source.tags() == []
    assert list(source.referrers(LAYER.digest)) == []


@pytest.mark.parametrize(
    "read", [lambda source: source.resolve("1"), lambda source: source.read_manifest("1")]
)
def test_medium_without_tags_and_manifests_lacks_them(read):
    with pytest.raises(NotFoundError, match=r"the shelf: has no (tag|manifest) 1"):
        read(Shelf())


def test_medium_must_read_blobs():
    with pytest.raises(NotImplementedError):
        ContentSource().read_blob(LAYER)
