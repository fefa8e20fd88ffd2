# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive in files: written, compared, and resumed."""

from __future__ import annotations

import io
import os
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._archive import (
    bundle_files,
    verified_stream,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.archive import (
    Archive,
    Member,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.bundle_files import (
    BundleFiles,
)
from ansible_collections.lockstep.images.plugins.module_utils._archive.errors import (
    ArchiveAccessError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
    NoSpaceError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest

BLOBS = [bytes([number]) * 700 for number in range(5)]


class Opened:
    """Counts how often a blob is opened."""

    def __init__(self, data):
        self.data, self.count = data, 0

    def __call__(self):
        self.count += 1
        return io.BytesIO(self.data)


def archive(blobs=None):
    found = [Member.of("index.json", b"{}")]
    for data in BLOBS:
        name = f"blobs/sha256/{Digest.of(data).encoded}"
        found.append(Member(name, len(data), Opened((blobs or {}).get(data, data))))
    return Archive(tuple(found))


def files(path, size=None, **how):
    return BundleFiles(str(path / "a.tar"), archive(**how), size, lambda: [Digest.of(b"")])


def write(path, size=None, **how):
    found = files(path, size, **how)
    found.write()
    return found


def state(path):
    """Return what a write changes, and a read does not."""
    found = {one: one.stat() for one in path.iterdir()}
    return {one: (stat.st_ino, stat.st_size, stat.st_ctime_ns) for one, stat in found.items()}


def content(path):
    return {one.name: one.read_bytes() for one in sorted(path.iterdir())}


def test_chunks_joined_are_the_whole(tmp_path):
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    write(tmp_path / "one")
    write(tmp_path / "many", 1000)
    whole = content(tmp_path / "one")
    chunks = content(tmp_path / "many")
    assert [*whole] == ["a.tar", "a.tar.sha256"]
    assert [*chunks][:2] == ["a.tar.000", "a.tar.001"] and len(chunks) == 11
    del chunks["a.tar.sha256"]
    assert b"".join(chunks.values()) == whole["a.tar"]


@pytest.mark.parametrize("size", [None, 512, 1000, 100_000])
def test_second_export_finds_everything_and_writes_nothing(tmp_path, size):
    assert not files(tmp_path, size).is_right
    write(tmp_path, size)
    before = state(tmp_path)
    again = files(tmp_path, size)
    assert (again.is_right, again.wrong, again.stale) == (True, [], [])
    assert state(tmp_path) == before


@pytest.mark.parametrize("name", ["a.tar.000", "a.tar.003", "a.tar.008"])
@pytest.mark.parametrize("change", ["remove", "flip", "append", "truncate"])
def test_only_a_wrong_chunk_is_written_again(tmp_path, name, change):
    write(tmp_path, 1000)
    before, path = content(tmp_path), tmp_path / name
    data = path.read_bytes()
    if change == "remove":
        path.unlink()
    else:
        changed = {"flip": b"x" + data[1:], "append": data + b"x", "truncate": data[:-1]}
        path.write_bytes(changed[change])
    times = {one.name: one.stat().st_mtime_ns for one in tmp_path.iterdir() if one != path}
    again = files(tmp_path, 1000)
    assert ([one.name for one in again.wrong], again.is_right) == ([name], False)
    again.write()
    assert (content(tmp_path), again.written) == (before, len(data))
    del times["a.tar.sha256"]
    assert {one: (tmp_path / one).stat().st_mtime_ns for one in times} == times


def test_wrong_or_missing_list_is_written_again(tmp_path):
    write(tmp_path)
    before = content(tmp_path)
    for text in (None, b"x\n", before["a.tar.sha256"] + b"# more\n"):
        (tmp_path / "a.tar.sha256").unlink()
        if text:
            (tmp_path / "a.tar.sha256").write_bytes(text)
        found = files(tmp_path)
        if not found.is_right:
            found.write()
        assert files(tmp_path).is_right


def test_export_that_was_killed_keeps_complete_chunks(tmp_path):
    write(tmp_path, 1000)
    before = content(tmp_path)
    lines = before["a.tar.sha256"].splitlines(keepends=True)
    (tmp_path / "a.tar.sha256").unlink()
    (tmp_path / "a.tar.sha256.part").write_bytes(b"".join(lines[:5]))  # three chunks
    (tmp_path / "a.tar.003.part").write_bytes(b"begun")
    again = files(tmp_path, 1000)
    assert [one.name for one in again.wrong][:2] == ["a.tar.003", "a.tar.004"]
    again.write()
    assert content(tmp_path) == before


def test_stale_files_of_an_earlier_export_are_removed(tmp_path):
    write(tmp_path, 512)
    for name in ("a.tar.2024", "a.tarx", "b.tar.001", "a.tar.old"):
        (tmp_path / name).write_bytes(b"mine")
    found = files(tmp_path, 2000)
    assert [*found.stale][:1] == ["a.tar.005"]
    found.write()
    names = [*content(tmp_path)]
    assert names == [
        *(f"a.tar.00{n}" for n in range(5)),
        "a.tar.2024",
        "a.tar.old",
        "a.tar.sha256",
        "a.tarx",
        "b.tar.001",
    ]
    write(tmp_path)
    assert [*content(tmp_path)][:3] == ["a.tar", "a.tar.2024", "a.tar.old"]
    write(tmp_path, 2000)
    assert "a.tar" not in content(tmp_path)


def test_corrupt_blob_gets_no_list_and_keeps_the_old_archive(tmp_path):
    write(tmp_path)
    before = content(tmp_path)["a.tar"]
    (tmp_path / "a.tar").write_bytes(b"old")
    for wrong in (b"x" * 700, BLOBS[2] + b"x", BLOBS[2][:-1]):
        with pytest.raises(CorruptStoreError, match="the store has other bytes"):
            write(tmp_path, blobs={BLOBS[2]: wrong})
        assert [*content(tmp_path)] == ["a.tar", "a.tar.sha256.part"]
        assert content(tmp_path)["a.tar"] == b"old"
    write(tmp_path)
    assert content(tmp_path)["a.tar"] == before


def test_blob_that_a_rewritten_chunk_has_a_part_of_is_verified_whole(tmp_path):
    write(tmp_path, 1000)
    (tmp_path / "a.tar.001").unlink()
    # Its last byte is in a chunk that is right.
    with pytest.raises(CorruptStoreError):
        write(tmp_path, 1000, blobs={BLOBS[0]: BLOBS[0][:-1] + b"x"})
    assert "a.tar.sha256" not in content(tmp_path)


def make_directory(path):
    path.mkdir()


def make_link(path):
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [make_directory, make_link, os.mkfifo])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.sha256"])
def test_only_regular_files_are_replaced(tmp_path, make, name):
    make(tmp_path / name)
    with pytest.raises(ArchiveAccessError, match=f"{name}: is not a regular file"):
        files(tmp_path)


def test_missing_directory_is_named(tmp_path):
    with pytest.raises(ArchiveAccessError, match="none: is not a directory"):
        files(tmp_path / "none")


def test_part_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "a.tar.part").symlink_to(tmp_path / "victim")
    with pytest.raises(ArchiveAccessError, match="is a symbolic link"):
        write(tmp_path)
    assert not (tmp_path / "victim").exists()


def test_two_exports_at_once_do_not_mix(tmp_path):
    first, second = files(tmp_path), files(tmp_path)
    with first._locked(), pytest.raises(ArchiveAccessError, match="another task writes"):
        second.write()


def test_full_disk_names_the_chunk_and_is_resumed(tmp_path, monkeypatch):
    real, left = os.write, [3500]

    def write_some(descriptor, data):
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(NoSpaceError, match=r"a\.tar\.003\.part: No space left"):
        write(tmp_path, 1000)
    left[0] = 10**6
    again = files(tmp_path, 1000)
    assert again.wrong[0].name == "a.tar.003"
    again.write()
    assert files(tmp_path, 1000).is_right


def test_rename_that_is_reported_as_failed_is_found_done_by_the_next_run(tmp_path, monkeypatch):
    """As NFS reports it if the answer was lost and the request was sent again."""
    real = os.rename

    def twice(source, target):
        real(source, target)
        if target.endswith(".003"):
            real(source, target)

    monkeypatch.setattr(os, "rename", twice)
    with pytest.raises(ArchiveAccessError, match=r"a\.tar\.003\.part: No such file"):
        write(tmp_path, 1000)
    monkeypatch.undo()
    write(tmp_path, 1000)
    assert files(tmp_path, 1000).is_right
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("is_first", [True, False])
def test_file_system_without_locks_is_named_and_nothing_is_left(tmp_path, monkeypatch, is_first):
    if not is_first:
        write(tmp_path)
        (tmp_path / "a.tar").write_bytes(b"old")
    before = content(tmp_path)

    def refuse(_descriptor, _operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(bundle_files.fcntl, "flock", refuse)
    with pytest.raises(ArchiveAccessError, match="No locks available"):
        write(tmp_path)
    assert content(tmp_path) == before


def test_file_system_without_modes_is_accepted(tmp_path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    write(tmp_path)
    assert files(tmp_path).is_right


def test_torn_journal_keeps_its_complete_lines(tmp_path):
    write(tmp_path, 1000)
    lines = content(tmp_path)["a.tar.sha256"].splitlines(keepends=True)
    (tmp_path / "a.tar.sha256").unlink()
    (tmp_path / "a.tar.sha256.part").write_bytes(b"".join(lines[:5]) + lines[5][:30])
    assert files(tmp_path, 1000).wrong[0].name == "a.tar.003"


def test_list_stays_until_the_journal_has_its_sums(tmp_path, monkeypatch):
    write(tmp_path, 1000)
    (tmp_path / "a.tar.003").unlink()
    found = files(tmp_path, 1000)

    def stop(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "unlink", stop)
    with pytest.raises(KeyboardInterrupt):
        found.write()
    (tmp_path / "a.tar.sha256").rename(tmp_path / "gone")
    assert [one.name for one in files(tmp_path, 1000).wrong] == ["a.tar.003"]


def large(data):
    return Archive(
        (
            Member.of("index.json", b"{}"),
            Member(f"blobs/sha256/{Digest.of(LARGE).encoded}", len(LARGE), Opened(data)),
            Member(f"blobs/sha256/{Digest.of(BLOBS[0]).encoded}", 700, Opened(BLOBS[0])),
        )
    )


MIB = 1024 * 1024
LARGE = bytes(range(256)) * (3 * MIB // 256)
CORRUPT = b"x" + LARGE[1:]


def export(path, data, size=MIB):
    found = BundleFiles(str(path / "a.tar"), large(data), size, list)
    found.write()
    return found


def test_chunk_with_the_first_bytes_of_a_corrupt_blob_is_written_again(tmp_path):
    with pytest.raises(CorruptStoreError):
        export(tmp_path, CORRUPT)
    assert (tmp_path / "a.tar.000").exists()  # and the journal has its sum
    export(tmp_path, LARGE)
    (tmp_path / "other").mkdir()
    export(tmp_path / "other", LARGE)
    for one in (tmp_path / "other").iterdir():
        assert (tmp_path / one.name).read_bytes() == one.read_bytes()


def test_chunk_that_ends_with_a_corrupt_blob_is_never_complete(tmp_path):
    size = 1024 + 512 + len(LARGE)  # the header and the content of index.json, and a header
    with pytest.raises(CorruptStoreError):
        export(tmp_path, CORRUPT, size)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.tar.sha256.part"]


def test_disk_that_is_full_ends_the_reader(tmp_path, monkeypatch):
    def write(_descriptor, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    before = set(threading.enumerate())
    with pytest.raises(NoSpaceError):
        export(tmp_path, LARGE, None)
    assert set(threading.enumerate()) <= before


def test_disk_begins_to_write_before_the_end(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(bundle_files, "_FLUSHED", 2000)
    monkeypatch.setattr(
        bundle_files.os,
        "posix_fadvise",
        lambda _file, *place: begun.append(place[:2]),
        raising=False,
    )
    monkeypatch.setattr(verified_stream, "PIECE", 512)
    write(tmp_path)
    size = (tmp_path / "a.tar").stat().st_size
    ends = [first + count for first, count in begun]
    assert [first for first, _count in begun] == [0, *ends[:-1]]
    assert size - 2000 - 512 < ends[-1] <= size


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_system_that_cannot_begin_early_is_accepted(tmp_path, monkeypatch, error):
    def refuse(*_arguments):
        raise error

    monkeypatch.setattr(bundle_files, "_FLUSHED", 1)
    monkeypatch.setattr(bundle_files.os, "posix_fadvise", refuse, raising=False)
    write(tmp_path)
    assert files(tmp_path).is_right
