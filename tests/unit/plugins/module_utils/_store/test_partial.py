# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incomplete blobs: bytes in any order, from any thread, and the files that a killed process leaves."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    DigestMismatchError,
    NoSpaceError,
    StoreAccessError,
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import files, partial
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.stores import open_files, remove_stale

DATA = random.Random(7).randbytes(20_000)
SIZE = len(DATA)
DIGEST = Digest.of(DATA)
NAME = f"sha256-{DIGEST.encoded}"
WEEK = 7 * 24 * 60 * 60


class Place:
    """A directory for a blob, and a staging directory for its part."""

    def __init__(self, root: Path) -> None:
        self.blob = root / "blob"
        self.staging = root / "staging"
        self.part = self.staging / f"{NAME}.part"
        self.journal = self.staging / f"{NAME}.journal"
        self.staging.mkdir()

    def open_partial(self, timeout=0.0, digest=DIGEST, size=SIZE):
        descriptor = Descriptor("application/octet-stream", digest, size)
        return partial.open_partial(str(self.blob), str(self.staging), descriptor, timeout)

    def leave(self, data: bytes, *journal: str) -> None:
        """Write the part and the journal of an earlier run."""
        self.part.write_bytes(data)
        self.journal.write_text("".join(f"{line}\n" for line in journal))

    def staged(self) -> list[str]:
        return sorted(os.listdir(self.staging))

    def assert_complete(self) -> None:
        assert self.blob.read_bytes() == DATA
        assert self.staged() == []


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    return Place(tmp_path)


class Time:
    """Replaces the module ``time``: each sleep triggers an event."""

    def __init__(self, happens=lambda: None) -> None:
        self.happens = happens
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.happens()


def chunks(seed, most=3000):
    """Return the blob in pieces of random size and order."""
    rng, at, found = random.Random(seed), 0, []
    while at < len(DATA):
        length = rng.randint(1, most)
        found.append((at, DATA[at : at + length]))
        at += length
    rng.shuffle(found)
    return found


def fill(part, data=DATA):
    for first, end in part.missing():
        part.write(first, data[first:end])


@pytest.mark.parametrize("seed", range(20))
def test_bytes_may_come_in_any_order(place, seed):
    with place.open_partial() as part:
        for offset, chunk in chunks(seed):
            assert not place.blob.exists()
            part.write(offset, chunk)
            assert all(DATA[first:end] for first, end in part.missing())
        assert (part.missing(), part.written, part.resumed) == ([], len(DATA), 0)
        part.finish()
    place.assert_complete()
    assert place.blob.stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize("seed", range(20))
def test_missing_spans_are_those_not_written(place, seed):
    all_of_it = chunks(seed)
    there, rest = all_of_it[::2], all_of_it[1::2]
    with place.open_partial() as part:
        for offset, chunk in there:
            part.write(offset, chunk)
    gaps = {at for offset, chunk in rest for at in range(offset, offset + len(chunk))}
    with place.open_partial() as part:
        missing = part.missing()
        assert {at for first, end in missing for at in range(first, end)} == gaps
        assert all(one[1] < other[0] for one, other in zip(missing, missing[1:]))
        assert part.resumed == len(DATA) - len(gaps)
        fill(part)
        part.finish()
    place.assert_complete()


@pytest.mark.parametrize("seed", range(5))
def test_bytes_may_come_from_many_threads(place, seed):
    pieces = chunks(seed, 300)
    with place.open_partial() as part:

        def bring(mine):
            for offset, chunk in mine:
                part.write(offset, chunk)

        threads = [threading.Thread(target=bring, args=(pieces[n::8],)) for n in range(8)]
        for thread in threads:
            thread.start()
        part.hash_ahead()
        for thread in threads:
            thread.join()
        part.finish()
    place.assert_complete()


def test_short_writes_are_continued(place, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(files.os, "pwrite", lambda fd, data, at: real(fd, bytes(data[:777]), at))
    with place.open_partial() as part:
        fill(part)
        part.finish()
    place.assert_complete()


def test_hashed_bytes_cannot_be_overwritten(place):
    with place.open_partial() as part:
        part.write(0, DATA[:100])
        with pytest.raises(ValueError, match="hashed"):
            part.write(99, b"x")
        fill(part)
        part.finish()
    place.assert_complete()


def test_incomplete_part_is_not_a_blob_and_is_kept(place):
    with place.open_partial() as part:
        part.write(0, DATA[:100])
        part.write(200, DATA[200:300])
        with pytest.raises(TruncatedError, match="after 100 of 20000"):
            part.finish()
    assert not place.blob.exists()
    assert place.staged() == [f"{NAME}.journal", f"{NAME}.part"]
    assert partial.staged_bytes(str(place.part), len(DATA)) == 200


def test_empty_part_is_not_kept(place):
    with place.open_partial():
        pass
    assert place.staged() == []


def test_an_empty_blob_needs_no_bytes(place):
    """R020"""
    with place.open_partial(digest=Digest.of(b""), size=0) as part:
        assert part.missing() == []
        part.finish()
    assert (place.blob.read_bytes(), place.staged()) == (b"", [])


def test_unverified_bytes_are_unreadable_for_others(place):
    with place.open_partial() as part:
        part.write(0, DATA[:100])
        modes = [path.stat().st_mode & 0o777 for path in (place.part, place.journal)]
    assert modes == [0o600, 0o600]


# -- what is left of earlier runs

HALF = len(DATA) // 2
JOURNALS = {
    "all of it": (DATA, [f"0 {len(DATA)}"], len(DATA)),
    "two pieces": (DATA, ["0 100", "500 600"], 200),
    "pieces that overlap": (DATA, ["50 150", "0 100", "100 200", "0 10"], 200),
    "no journal": (DATA, [], 0),
    "beyond the file": (DATA[:HALF], [f"0 {len(DATA)}"], HALF),
    "wholly beyond the file": (DATA[:HALF], [f"{HALF} {len(DATA)}"], 0),
    "beyond the blob": (DATA + b"more", [f"0 {len(DATA) + 4}"], len(DATA)),
    "a file longer than the blob": (DATA + b"more", ["0 100"], 100),
    "an empty file": (b"", ["0 100"], 0),
    "backwards": (DATA, ["100 0", "5 5"], 0),
    "garbage": (DATA, ["x y", "1", "", "1 2 3", "-1 5", "0x1 7", "\u0661 9", "+1 3", " 5 9"], 0),
    "huge numbers": (DATA, ["0 " + "9" * 5000, "9" * 19 + " 1"], 0),
    "a garbled line among good ones": (DATA, ["0 100", "1\x00 99999", "200 300"], 200),
}


@pytest.mark.parametrize(("data", "journal", "there"), JOURNALS.values(), ids=JOURNALS)
def test_only_valid_journal_entries_count(place, data, journal, there):
    place.leave(data, *journal)
    assert partial.staged_bytes(str(place.part), len(DATA)) == there
    with place.open_partial() as part:
        assert (part.resumed, part.written) == (there, there)
        fill(part)
        part.finish()
    place.assert_complete()


@pytest.mark.parametrize("cut", range(1, 12))
def test_truncated_journal_never_claims_more_bytes(place, cut):
    """S005: a last line without a line end is ignored, but later lines count."""
    place.leave(DATA[:1000], "0 500", "500 1000")
    place.journal.write_bytes(place.journal.read_bytes()[:-cut])
    with place.open_partial() as part:
        there = part.resumed
        assert there in (0, 500)
        part.write(there, DATA[there:2000])
    with place.open_partial() as part:
        assert part.resumed in (there, 2000)
        fill(part)
        part.finish()
    place.assert_complete()


def test_random_bytes_in_a_journal_are_harmless(place):
    for seed in range(50):
        rng = random.Random(seed)
        place.leave(DATA[: rng.randint(0, len(DATA))])
        place.journal.write_bytes(bytes(rng.choice(b"0123456789  \n\n\r-x\0") for _n in range(400)))
        with place.open_partial() as part:
            fill(part)
            try:
                part.finish()
            except DigestMismatchError:  # the journal listed bytes that were not written there
                assert part.missing() == [(0, len(DATA))]
                fill(part)
                part.finish()
        place.assert_complete()
        place.blob.unlink()


@pytest.mark.parametrize("at", [0, 5000, HALF - 1])
def test_corrupt_part_never_becomes_a_blob(place, at):
    spoilt = bytearray(DATA[:HALF])
    spoilt[at] ^= 1
    place.leave(bytes(spoilt), f"0 {HALF}")
    with place.open_partial() as part:
        fill(part)
        with pytest.raises(DigestMismatchError) as caught:
            part.finish()
        assert str(DIGEST) in str(caught.value)
        assert not place.blob.exists()
        assert (part.missing(), part.resumed) == ([(0, len(DATA))], 0)
        fill(part)
        part.finish()
    place.assert_complete()


def test_corrupt_part_is_not_kept(place):
    place.leave(bytes(len(DATA)), f"0 {len(DATA)}")
    with pytest.raises(DigestMismatchError), place.open_partial() as part:
        part.finish()
    assert (place.blob.exists(), place.staged()) == (False, [])


def test_reset_part_is_forgotten_for_good(place):
    with place.open_partial() as part:
        part.write(0, DATA[:5000])
        part.reset()
        part.write(1000, DATA[1000:2000])
    with place.open_partial() as part:
        assert part.missing() == [(0, 1000), (2000, len(DATA))]
        fill(part)
        part.finish()
    place.assert_complete()


@pytest.mark.parametrize("seed", range(10))
def test_a_process_that_dies_between_any_two_calls_leaves_nothing_wrong(place, seed):
    """S005: the journal lists bytes after they are written, never before."""
    rng = random.Random(seed)
    calls, die_at = [], rng.randint(1, 12)
    reals = {name: getattr(os, name) for name in ("write", "pwrite")}

    class DiedError(BaseException):
        pass

    def deadly(name):
        def call(fd, data, *at):
            calls.append(name)
            if len(calls) == die_at:
                reals[name](fd, bytes(data)[: len(data) // 2], *at)
                raise DiedError
            return reals[name](fd, data, *at)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in reals:
            patch.setattr(files.os, name, deadly(name))
        with pytest.raises(DiedError), place.open_partial() as part:
            for offset, chunk in chunks(seed):
                part.write(offset, chunk)
    with place.open_partial() as part:
        fill(part)
        part.finish()
    place.assert_complete()


# -- several processes (a flock belongs to the open file description)


def test_second_task_waits_and_finds_the_blob(place, monkeypatch):
    """S007"""
    steps = iter(range(0, len(DATA), 1000))

    def bring_more():
        at = next(steps, None)
        if at is None:
            first.finish()
            held.__exit__(None, None, None)
        else:
            first.write(at, DATA[at : at + 1000])

    held = place.open_partial()
    first = held.__enter__()
    monkeypatch.setattr(partial, "time", Time(bring_more))
    with place.open_partial(timeout=0.15) as second:
        assert second is None
    place.assert_complete()


def test_second_task_resumes_the_part_of_the_first(place, monkeypatch):
    """S007: the first gives up, or is killed."""
    held = place.open_partial()
    first = held.__enter__()
    first.write(0, DATA[:5000])
    monkeypatch.setattr(partial, "time", Time(lambda: held.__exit__(None, None, None)))
    with place.open_partial(timeout=60) as second:
        assert second.resumed == 5000
        fill(second)
        second.finish()
    place.assert_complete()


def test_idle_holder_is_waited_for_only_as_long_as_for_a_lock(place, monkeypatch):
    """S007: each process then has its own part, and both succeed."""
    clock = Time()
    with place.open_partial() as first:
        first.write(0, DATA[:5000])
        monkeypatch.setattr(partial, "time", clock)
        with place.open_partial(timeout=60) as second:
            assert second.missing() == [(0, len(DATA))]
            assert 60 <= clock.seconds < 61
            fill(second)
            second.finish()
        assert place.blob.read_bytes() == DATA
        fill(first)
        first.finish()
    place.assert_complete()


HOLDER = """
import sys
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import partial
path, staging, data = sys.argv[1], sys.argv[2], open(sys.argv[3], "rb").read()
blob = Descriptor("application/octet-stream", Digest.of(data), len(data))
with partial.open_partial(path, staging, blob, 60) as part:
    part.write(0, data[:7000])
    print("held", flush=True)
    sys.stdin.readline()
    part.write(7000, data[7000:])
    part.finish()
print("done", flush=True)
"""


@pytest.fixture(name="holder")
def fixture_holder(place, tmp_path):
    """Start another process that holds a part of the blob."""
    source = tmp_path / "source"
    source.write_bytes(DATA)
    arguments = [str(place.blob), str(place.staging), str(source)]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


def test_stopped_process_does_not_block_others_forever(place, holder):
    """S007: the stopped process also succeeds when it continues."""
    holder.send_signal(signal.SIGSTOP)
    with place.open_partial(timeout=0.2) as part:
        assert part.resumed == 0
        fill(part)
        part.finish()
    assert place.blob.read_bytes() == DATA
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate(b"\n", 20)[0] == b"done\n"
    place.assert_complete()


def test_part_of_a_killed_process_is_resumed(place, holder):
    """S005"""
    holder.kill()
    holder.wait(20)
    with place.open_partial() as part:
        assert part.resumed == 7000
        fill(part)
        part.finish()
    place.assert_complete()


def test_existing_blob_is_not_written_again(place):
    place.blob.write_bytes(DATA)
    place.leave(DATA[:100], "0 100")
    with place.open_partial() as part:
        assert part is None
    place.assert_complete()


@pytest.mark.parametrize("there", [DATA[:5], b"", DATA + b"x"], ids=["short", "empty", "long"])
def test_a_blob_of_another_size_is_replaced(place, there):
    """S017"""
    place.blob.write_bytes(there)
    with place.open_partial() as part:
        fill(part)
        part.finish()
    place.assert_complete()


# -- abandoned parts


def old(place, seconds, now=1e9):
    os.utime(place.part, (now - seconds, now - seconds))
    remove_stale(place.staging, now=now)


@pytest.mark.parametrize(("seconds", "kept"), [(0, True), (WEEK - 1, True), (WEEK + 1, False), (-WEEK, True)])  # fmt: skip
def test_a_part_is_kept_for_a_week(place, seconds, kept):
    """S035: also a part with a time in the future."""
    place.leave(DATA[:5000], "0 5000")
    old(place, seconds)
    assert bool(place.staged()) == kept


def test_part_of_a_complete_blob_is_removed(place):
    place.leave(DATA[:5000], "0 5000")
    remove_stale(place.staging, done=[DIGEST], now=0.0)
    assert place.staged() == []


@pytest.mark.parametrize("done", [[], [DIGEST]], ids=["old", "too short in its place"])
def test_wanted_part_is_kept(place, done):
    place.leave(DATA[:5000], "0 5000")
    os.utime(place.part, (0, 0))
    remove_stale(place.staging, done=done, wanted=[DIGEST])
    assert place.staged()


def test_a_part_in_use_is_never_removed(place):
    with place.open_partial() as part:
        part.write(0, DATA[:5000])
        old(place, 2 * WEEK)
        remove_stale(place.staging, done=[DIGEST])
        assert place.staged() == [f"{NAME}.journal", f"{NAME}.part"]
        fill(part)
        part.finish()
    place.assert_complete()


def test_a_journal_without_its_part_is_removed(place):
    place.journal.write_text("0 100\n")
    remove_stale(place.staging, now=0.0)
    assert place.staged() == []


@pytest.mark.parametrize("name", ["x.part", "sha256-x.part", "sha999-" + "a" * 64 + ".part"])
def test_foreign_file_in_staging_is_left_alone(place, name):
    """S024"""
    (place.staging / name).write_bytes(b"")
    os.utime(place.staging / name, (0, 0))
    remove_stale(place.staging)
    assert place.staged() == [name]


def test_part_hard_linked_from_another_store_is_not_written(place, tmp_path):
    """S034: after ``cp -al`` of a store in the middle of a pull."""
    place.leave(DATA[:5000], "0 5000")
    other = tmp_path / "other"
    os.link(place.part, other)
    with place.open_partial() as part:
        assert part.resumed == 0
        fill(part)
        part.finish()
    place.assert_complete()
    assert other.read_bytes() == DATA[:5000]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "directory"])
def test_journal_that_is_a_special_file_is_an_error_and_never_blocks(place, make):
    """S016"""
    make(place.journal)
    with pytest.raises(StoreAccessError), place.open_partial():
        pass


# -- what the system refuses


def refuse(monkeypatch, call, code, after=0):
    real, calls = getattr(os, call), []

    def refused(*args, **options):
        calls.append(args)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    monkeypatch.setattr(files.os, call, refused)


REFUSED = [
    pytest.param("pwrite", errno.ENOSPC, 0, id="S001 no space for the first byte"),
    pytest.param("pwrite", errno.ENOSPC, 3, id="S001 no space in the middle"),
    pytest.param("write", errno.ENOSPC, 2, id="S001 no space for the journal"),
    pytest.param("fsync", errno.ENOSPC, 0, id="S001 no space while flushing"),
    pytest.param("rename", errno.ENOSPC, 0, id="S001 no space for the name"),
    pytest.param("pwrite", errno.EDQUOT, 1, id="S002 quota"),
    pytest.param("fsync", errno.EIO, 0, id="S002 broken disk while flushing"),
    pytest.param("pread", errno.EIO, 0, id="S002 broken disk while reading"),
    pytest.param("ftruncate", errno.EIO, 0, id="S002 broken disk while cutting"),
    pytest.param("fchmod", errno.EPERM, 0, id="S038 the mode is refused"),
]


@pytest.mark.parametrize(("call", "code", "after"), REFUSED)
def test_a_refused_call_removes_the_part_and_names_the_blob(
    tmp_path, place, monkeypatch, call, code, after
):
    with monkeypatch.context() as patch:
        refuse(patch, call, code, after)
        with pytest.raises(StoreAccessError) as caught, place.open_partial() as part:
            for offset, chunk in chunks(1):
                part.write(offset, chunk)
            part.finish()
    # Of a refused permission it also says whose the directory is.
    assert str(caught.value).partition("; ")[0] == f"{place.blob}: {os.strerror(code)}"
    assert isinstance(caught.value, NoSpaceError) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert (place.blob.exists(), place.staged()) == (False, [])
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EMFILE])
def test_a_part_that_cannot_be_opened_is_an_error_that_names_the_blob(place, monkeypatch, code):
    """S003, S004, S031"""
    refuse(monkeypatch, "open", code)
    with pytest.raises(StoreAccessError) as caught, place.open_partial():
        pass
    # Of a refused permission it also says whose the directory is.
    assert str(caught.value).partition("; ")[0] == f"{place.blob}: {os.strerror(code)}"


def test_a_journal_that_cannot_be_opened_leaves_no_descriptor(tmp_path, place):
    """S016"""
    place.journal.mkdir()
    with pytest.raises(StoreAccessError), place.open_partial():
        pass
    assert open_files(tmp_path) == []


@pytest.mark.parametrize(
    "make",
    [lambda path: path.symlink_to("/etc/passwd"), os.mkdir],
    ids=["S016 link", "S016 directory"],
)
def test_special_file_is_not_a_part(place, make):
    make(place.part)
    with pytest.raises(StoreAccessError), place.open_partial():
        pass
    assert partial.staged_bytes(str(place.part), len(DATA)) == 0


def test_a_pipe_in_place_of_a_part_does_not_block(place):
    """S016: it is removed, so that the next run works."""
    os.mkfifo(place.part)
    with pytest.raises(StoreAccessError), place.open_partial() as part:
        fill(part)
    with place.open_partial() as part:
        fill(part)
        part.finish()
    place.assert_complete()


def test_a_part_that_becomes_shorter_is_an_error_and_is_removed(place):
    with pytest.raises(StoreAccessError, match="shorter"), place.open_partial() as part:
        part.write(1000, DATA[1000:])
        os.truncate(place.part, 5000)
        part.write(0, DATA[:1000])
        part.finish()
    assert (place.blob.exists(), place.staged()) == (False, [])


def test_blob_is_flushed_before_the_rename_and_the_directory_after(place, monkeypatch):
    """S006"""
    order = []
    for call in ("pwrite", "fsync", "rename"):
        real = getattr(os, call)

        def noted(*args, call=call, real=real):
            is_directory = call == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            order.append(call + " directory" * is_directory)
            return real(*args)

        monkeypatch.setattr(files.os, call, noted)
    with place.open_partial() as part:
        fill(part)
        part.finish()
    assert order == ["pwrite", "fsync", "rename", "fsync directory"]


def test_no_descriptor_is_left_open(tmp_path, place):
    """S031"""
    with place.open_partial() as part:
        part.write(0, DATA[:10])
    with place.open_partial() as part:
        fill(part)
        part.finish()
    with place.open_partial() as part:
        assert part is None
    assert open_files(tmp_path) == []


# -- disks


def other_disk(path):
    """A directory on another file system than ``path``, None without one."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and os.stat(memory).st_dev != os.stat(path).st_dev:
        return tempfile.TemporaryDirectory(dir=memory)
    return None


def test_content_may_be_on_another_disk(tmp_path):
    """S033: nothing is renamed across disks, and parts are resumed there."""
    disk = other_disk(tmp_path)
    if disk is None:
        pytest.skip("there is one file system only")
    layer = blob(DATA)
    with disk:
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "blobs").symlink_to(disk.name)
        store = ImageStore(str(tmp_path / "store"))
        with store.hold():
            store.prepare()
            with store.open_partial(layer) as part:
                part.write(0, DATA[:5000])
            assert store.staged(layer) == 5000
            with store.open_partial(layer) as part:
                assert part.resumed == 5000
                fill(part)
                part.finish()
            assert store.has(layer)
            assert store.read(layer.digest, len(DATA)) == DATA
            assert (store.staged(layer), store.resumed) == (0, 5000)
            store.prepare()
        assert os.listdir(Path(disk.name, "sha256", ".staging")) == []


def test_full_disk_leaves_no_empty_part(tmp_path, monkeypatch):
    """S001"""
    place, true = Place(tmp_path), os.open

    def full(path, *args, **kwargs):
        if str(path).endswith(".journal"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(NoSpaceError), place.open_partial():
        pass
    assert place.staged() == []
