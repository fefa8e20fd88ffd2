# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of an archive in one file or in chunks, on one medium or several."""

from __future__ import annotations

import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive.errors import (
    ArchiveAccessError,
    ArchiveError,
    ChunkMissingError,
    ChunkWrongError,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.media import open_media
from ansible_collections.lockstep.images.plugins.module_utils._archive.sums import Sums
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

DATA = bytes(range(250))
CHUNKS = {f"a.tar.{number:03}": DATA[number * 100 : number * 100 + 100] for number in range(3)}


def put(directory, files=None, listed=None):
    files = CHUNKS if files is None else files
    directory.mkdir(exist_ok=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    sums = {name: Digest.of(data).encoded for name, data in (listed or CHUNKS).items()}
    (directory / "a.tar.sha256").write_bytes(Sums(sums).render())
    return directory


def read_all(src):
    with open_media(str(src)) as media:
        return media.read(0, 1000)


@pytest.mark.parametrize("src", ["a.tar", "a.tar.sha256", "a.tar.001", ""])
def test_chunks_are_read_as_one_archive(tmp_path, src):
    put(tmp_path)
    with open_media(str(tmp_path / src)) as media:
        assert (media.size, media.read(0, 1000), media.read(95, 10)) == (250, DATA, DATA[95:105])
        assert (media.read(250, 10), media.missing, media.stale) == (b"", [], ())
        media.require_sums()


def test_chunks_on_several_media_are_found(tmp_path):
    names = [*CHUNKS]
    for number, name in enumerate(names):
        put(tmp_path / f"stick-{number}", {name: CHUNKS[name]})
    assert read_all(tmp_path) == DATA


def test_file_alone_is_an_archive(tmp_path):
    (tmp_path / "a.tar").write_bytes(DATA)
    assert read_all(tmp_path / "a.tar") == read_all(tmp_path) == DATA


def test_missing_chunk_is_named_and_others_can_be_read(tmp_path):
    put(tmp_path, {name: data for name, data in CHUNKS.items() if name != "a.tar.001"})
    with open_media(str(tmp_path / "a.tar")) as media:
        assert (media.size, media.missing) == (250, ["a.tar.001"])
        assert (media.read(0, 100), media.read(200, 90)) == (DATA[:100], DATA[200:])
        with pytest.raises(ChunkMissingError, match="1 of 3 chunks is missing") as caught:
            media.read(90, 20)
    assert caught.value.details["chunks"] == ["a.tar.001"]


def test_missing_last_chunk_hides_the_size(tmp_path):
    put(tmp_path, {name: CHUNKS[name] for name in ("a.tar.000", "a.tar.001")})
    with open_media(str(tmp_path)) as media:
        assert (media.size, media.read(0, 200)) == (None, DATA[:200])


def test_archive_without_any_chunk_is_refused(tmp_path):
    with pytest.raises(ChunkMissingError, match="3 of 3 chunks are missing"):
        read_all(put(tmp_path, {}))


def test_chunks_without_a_list_are_refused(tmp_path):
    put(tmp_path)
    os.unlink(tmp_path / "a.tar.sha256")
    with pytest.raises(ChunkMissingError, match="the list of the chunks is missing"):
        read_all(tmp_path / "a.tar")


SWAPPED = {**CHUNKS, "a.tar.000": CHUNKS["a.tar.001"], "a.tar.001": CHUNKS["a.tar.000"]}


@pytest.mark.parametrize(
    ("files", "wrong"),
    [
        (SWAPPED, ["a.tar.000", "a.tar.001"]),
        ({**CHUNKS, "a.tar.001": bytes(100)}, ["a.tar.001"]),
        ({**CHUNKS, "a.tar.001": CHUNKS["a.tar.001"] + b"x"}, ["a.tar.001"]),
        ({**CHUNKS, "a.tar.001": CHUNKS["a.tar.001"][:-1]}, ["a.tar.001"]),
        ({**CHUNKS, "a.tar.002": CHUNKS["a.tar.002"] + bytes(90)}, ["a.tar.002"]),
        ({**CHUNKS, "a.tar.002": b""}, ["a.tar.002"]),
    ],
)
def test_wrong_chunks_are_named(tmp_path, files, wrong):
    put(tmp_path, files)
    with pytest.raises(ChunkWrongError, match="other bytes than") as caught:
        with open_media(str(tmp_path / "a.tar")) as media:
            media.require_sums()
    assert caught.value.details["chunks"] == wrong


def test_chunks_of_an_older_archive_are_named(tmp_path):
    put(tmp_path, {**CHUNKS, "a.tar.003": b"old"})
    with open_media(str(tmp_path / "a.tar")) as media:
        assert media.stale == ("a.tar.003",)


def test_media_with_different_lists_are_refused(tmp_path):
    put(tmp_path / "one")
    put(tmp_path / "two", listed=dict.fromkeys(CHUNKS, b"other"))
    with pytest.raises(ArchiveError, match="different lists"):
        read_all(tmp_path)


def test_chunks_of_different_sizes_are_refused_even_if_the_list_has_them(tmp_path):
    files = {**CHUNKS, "a.tar.000": b"x"}
    put(tmp_path, files, files)
    with pytest.raises(ArchiveError, match="different sizes"):
        read_all(tmp_path)


def make_pipe(path):
    os.mkfifo(path / "a.tar")


def make_layout(path):
    for name in ("oci-layout", "index.json"):
        (path / name).write_text("{}")


def make_two(path):
    for name in ("a.tar", "b.tar"):
        (path / name).write_text("")


@pytest.mark.parametrize(
    ("make", "src", "reason"),
    [
        (make_pipe, "a.tar", "is not a regular file"),
        (lambda path: None, "a.tar", "No such file"),
        (lambda path: None, "", "has no archive"),
        (make_layout, "", "is an image store, not an archive"),
        (make_two, "", "has 2 archives: "),
        (lambda path: (path / "a.tar").symlink_to("a.tar"), "a.tar", "is a symbolic link"),
    ],
)
def test_path_without_an_archive_is_refused(tmp_path, make, src, reason):
    make(tmp_path)
    with pytest.raises(ArchiveAccessError, match=reason):
        read_all(tmp_path / src)


def test_file_that_becomes_shorter_is_an_error(tmp_path):
    (tmp_path / "a.tar").write_bytes(DATA)
    with open_media(str(tmp_path / "a.tar")) as media:
        os.truncate(tmp_path / "a.tar", 100)
        with pytest.raises(ArchiveAccessError, match="became shorter"):
            media.read(90, 20)
