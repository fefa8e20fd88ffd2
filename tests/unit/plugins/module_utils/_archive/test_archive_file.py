# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive in a file: written, compared, and read back."""

from __future__ import annotations

import os
import random

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive_file import (
    DescriptorOutput,
    first_difference,
    read_image,
    read_index,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.image_archive import (
    Entry,
    blob_name,
    image_archive,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.tar import header
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.images import image, layer

APP = image([layer({"base": b"b" * 5000}), layer({"top": b"t" * 700})])
NAME = "docker.io/library/app:1"
CONTENT = content_of(APP, NAME)


def archive_of(open_blob):
    return image_archive([Entry(CONTENT, (NAME,), CONTENT.manifest.layers)], open_blob)


def unopened(_blob):
    raise AssertionError("a blob was opened")


WHOLE = archive_of(unopened)


@pytest.fixture(name="written")
def fixture_written(tmp_path):
    """An open file with the archive."""
    descriptor = os.open(tmp_path / "app.tar", os.O_RDWR | os.O_CREAT, 0o644)
    output = DescriptorOutput(descriptor)
    sizes = []
    output.note = sizes.append
    archive_of(opener(APP)).write_to(output)
    assert sum(sizes) == WHOLE.size
    yield descriptor
    os.close(descriptor)


def test_written_archive_is_right_without_opening_a_blob(written):
    assert first_difference(written, WHOLE) is None


def test_every_changed_byte_is_found(written):
    places = random.Random(7).sample(range(WHOLE.size), 300)
    for place in [0, WHOLE.size - 1, *places]:
        before = os.pread(written, 1, place)
        os.pwrite(written, bytes([before[0] ^ 1]), place)
        assert first_difference(written, WHOLE) is not None, place
        os.pwrite(written, before, place)
    assert first_difference(written, WHOLE) is None


def test_difference_names_the_member(written):
    offset = 0
    for member in WHOLE.members:
        offset += len(header(member.name, member.size))
        before = os.pread(written, 1, offset)
        os.pwrite(written, bytes([before[0] ^ 1]), offset)
        assert first_difference(written, WHOLE) == member.name
        os.pwrite(written, before, offset)
        offset += member.size + -member.size % 512


@pytest.mark.parametrize("change", [-1, 1, -1024, 512])
def test_other_size_is_a_difference(written, change):
    os.ftruncate(written, WHOLE.size + change)
    assert first_difference(written, WHOLE) == ""


@pytest.mark.parametrize("wrong", [None, 0, 1, 2])
def test_large_blobs_are_compared_by_threads(tmp_path, wrong):
    blobs = [bytes([number]) * (5 * 1024 * 1024 + number) for number in range(3)]
    archive = Archive(tuple(Member.of(blob_name(Digest.of(blob)), blob) for blob in blobs))
    with open(tmp_path / "large.tar", "w+b", buffering=0) as file:
        archive.write_to(DescriptorOutput(file.fileno()))
        expected = None
        if wrong is not None:
            place = sum(len(blob) + -len(blob) % 512 + 512 for blob in blobs[: wrong + 1]) - 600
            os.pwrite(file.fileno(), b"x", place)
            expected = archive.members[wrong].name
        assert first_difference(file.fileno(), archive) == expected


def test_index_is_read_back(written):
    (entry,) = read_index(written)
    assert entry["digest"] == APP.digest
    assert entry["annotations"]["io.containerd.image.name"] == NAME


def shown(path, data):
    path.write_bytes(data)
    with open(path, "rb") as file:
        return read_index(file.fileno())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\0" * 2048,
        header("manifest.json", 2) + b"[]",
        header("index.json", 2) + b"[]",
        header("index.json", 2) + b"{",
        header("index.json", 16) + b'{"manifests":[1]',
        header("index.json", 10**8) + b"{}",
        header("index.json", 20) + b'{"manifests": null} ',
    ],
)
def test_other_files_have_no_index(tmp_path, data):
    assert shown(tmp_path / "file", data) == []


def test_image_is_read_back_without_its_layers(written):
    found = read_image(written, CONTENT.reference, CONTENT.root.digest)
    assert found == CONTENT
    assert read_image(written, CONTENT.reference, Digest.of(b"other")) is None


@pytest.mark.parametrize("size", [0, 100, 600, 3000])
def test_image_of_a_file_that_is_cut_off_is_not_read(written, size):
    os.ftruncate(written, size)
    assert read_image(written, CONTENT.reference, CONTENT.root.digest) is None
