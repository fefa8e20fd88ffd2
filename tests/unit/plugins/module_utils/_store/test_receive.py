# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does with messages from its controller, right and wrong ones."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import stat
import subprocess
import sys

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image import errors
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import partial
from ansible_collections.lockstep.images.plugins.module_utils._store.receive import (
    END,
    MAGIC,
    answer_to,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.store import ImageStore
from ansible_collections.lockstep.images.plugins.plugin_utils._program import program
from ansible_collections.lockstep.images.tests.support.stores import leftovers, whole_tree

DATA = b"layer" * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
BLOB = (DIGEST, len(DATA))
NAME = DIGEST.replace(":", "-")


def message(store, *pieces, do="take", blobs=(BLOB,), end=END, **more):
    """Return a message; a piece is the number of a blob, an offset and bytes."""
    request = json.dumps({"do": do, "store": str(store), "blobs": blobs, **more}).encode()
    body = b"".join(b"%d %d %d\n" % (number, at, len(data)) + data for number, at, data in pieces)
    return MAGIC + request + b"\n" + body + end


def answer(*args, **more):
    return answer_to(io.BytesIO(message(*args, **more)))


def kind_of(found):
    return found.get("error", {}).get("kind")


@pytest.fixture(name="store")
def fixture_store(tmp_path):
    return tmp_path / "store"


def complete(store):
    """Complete the blob as the module does, and return its bytes."""
    descriptor = Descriptor("", Digest.parse(DIGEST), len(DATA))
    held = ImageStore(str(store))
    with held.hold(), held.open_partial(descriptor) as part:
        assert part.missing() == []
        part.finish()
    return (store / "blobs/sha256" / DIGEST[7:]).read_bytes()


def test_pieces_become_a_part_that_the_store_completes(store):
    pieces = [(0, 0, DATA[:1000]), (0, 1000, DATA[1000:])]
    assert answer(store, *pieces) == {"written": len(DATA)}
    assert leftovers(store) == [f"{NAME}.journal", f"{NAME}.part"]
    assert list((store / "blobs").rglob("*-*")) == []
    part = store / ".staging" / f"{NAME}.part"
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert complete(store) == DATA


def test_message_that_is_sent_again_changes_nothing(store):
    answer(store, (0, 0, DATA))
    assert answer(store, (0, 0, DATA)) == {"written": 0}
    assert complete(store) == DATA
    assert answer(store, (0, 0, DATA)) == {"written": 0}
    assert leftovers(store) == []


def test_host_says_which_spans_it_has_and_gets_the_rest(store):
    answer(store, (0, 0, DATA[:700]), (0, 2000, DATA[2000:2500]))
    before = whole_tree(store)
    assert answer(store, do="ask")["staged"] == [[(0, 700), (2000, 2500)]]
    assert whole_tree(store) == before
    rest = [(0, 700, DATA[700:2000]), (0, 2500, DATA[2500:])]
    assert answer(store, *rest)["written"] == len(DATA) - 1200
    assert complete(store) == DATA


def test_asking_a_host_without_a_store_creates_nothing(store):
    assert answer(store, do="ask") == {"staged": [[]]}
    assert not store.exists()


def test_cut_off_message_keeps_the_bytes_that_arrived(store):
    raw = message(store, (0, 0, DATA[:1000]), (0, 1000, DATA[1000:]), end=b"")
    for cut in (raw[:-1], raw):
        found = answer_to(io.BytesIO(cut))
        assert kind_of(found) == "transfer-failed" and "cut off" in found["msg"]
    assert answer(store, do="ask")["staged"] == [[(0, len(DATA))]]
    assert complete(store) == DATA


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "sha256:../../x",
        f"sha256:{'a' * 63}",
        f"sha256:{'A' * 64}",
        f"sha512:{'a' * 64}",
        f"md5:{'a' * 32}",
        "sha256:" + "a" * 63 + "\n",
        7,
        None,
    ],
)
def test_invalid_digest_is_refused_and_nothing_is_created(store, name):
    found = answer(store, (0, 0, b"x"), blobs=[(name, 1)])
    assert kind_of(found) == "invalid-digest"
    assert not store.exists()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([(0, len(DATA) - 1, b"xy")], "more than its"),
        ([(0, 10**17, b"x")], "more than its"),
        ([(1, 0, b"x")], "did not announce"),
        ([(0, 5, b"x"), (0, 5, b"x")], "did not announce"),
        ([(0, 0, b"x" * (1024 * 1024 + 1))], "did not announce"),
    ],
    ids=["beyond-the-end", "far-offset", "unknown-blob", "twice", "too-long"],
)
def test_piece_that_was_not_announced_is_refused(store, pieces, text):
    found = answer(store, *pieces)
    assert kind_of(found) == "transfer-failed" and text in found["msg"]
    assert not list(store.rglob("*.part")) or sum(
        one.stat().st_size for one in store.rglob("*.part")
    ) <= len(DATA)


@pytest.mark.parametrize("size", [-1, True, "5", 1.5, None])
def test_invalid_size_is_refused(store, size):
    found = answer(store, blobs=[(DIGEST, size)])
    assert kind_of(found) == "transfer-failed"
    assert not store.exists()


def test_empty_blob_needs_no_piece(store):
    empty = ("sha256:" + hashlib.sha256(b"").hexdigest(), 0)
    assert answer(store, blobs=[empty]) == {"written": 0}
    assert leftovers(store) == []
    descriptor = Descriptor("", Digest.parse(empty[0]), 0)
    held = ImageStore(str(store))
    with held.hold(), held.open_partial(descriptor) as part:
        part.finish()
    assert held.has(descriptor)


def test_offsets_above_four_gibibytes_are_kept(store):
    far = 5 * 2**30
    found = answer(store, (0, far, DATA), blobs=[(DIGEST, far + len(DATA))])
    assert found == {"written": len(DATA)}
    asked = answer(store, do="ask", blobs=[(DIGEST, far + len(DATA))])
    assert asked["staged"] == [[(far, far + len(DATA))]]


def test_other_input_than_a_message_is_reported_as_such(store):
    for raw in (b"", b"Welcome!\n", MAGIC[:-1] + b" "):
        assert answer_to(io.BytesIO(raw)) == {"no_message": True}
    assert kind_of(answer_to(io.BytesIO(MAGIC + b'{"do": '))) == "transfer-failed"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_link_or_pipe_in_place_of_a_part_is_refused_and_nothing_is_written_through_it(
    store, tmp_path, kind
):
    answer(store, (0, 0, DATA[:10]))
    part, victim = store / ".staging" / f"{NAME}.part", tmp_path / "victim"
    part.unlink()
    victim.write_bytes(b"precious")
    make = {"link": lambda: part.symlink_to(victim), "fifo": lambda: os.mkfifo(part)}
    make.get(kind, part.mkdir)()
    found = answer(store, (0, 0, DATA))
    assert kind_of(found) == "store-access"
    assert victim.read_bytes() == b"precious"


def test_receiver_holds_the_lock_of_the_part_while_it_writes(store, monkeypatch):
    held = []

    def seen(self, offset, chunk):
        fd = os.open(self.name, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
        held.append(offset)

    monkeypatch.setattr(partial.StagedBlob, "write", seen)
    answer(store, (0, 0, DATA))
    assert held == [0]


def test_part_of_a_task_that_makes_no_progress_is_not_replaced(store, monkeypatch):
    answer(store, (0, 0, DATA[:10]))
    monkeypatch.setattr(partial, "_claim", lambda *_args: None)
    found = answer(store, (0, 0, DATA))
    assert kind_of(found) == "store-locked"
    assert leftovers(store) == [f"{NAME}.journal", f"{NAME}.part"]


def test_full_disk_is_reported_with_its_kind(store, monkeypatch):
    def full(*_args):
        raise errors.NoSpaceError(f"{store}: No space left on device", path=str(store))

    monkeypatch.setattr(partial.StagedBlob, "write", full)
    assert kind_of(answer(store, (0, 0, DATA))) == "no-space"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_full_disk_or_quota_frees_the_space_of_that_blob_and_keeps_the_others(
    store, monkeypatch, number
):
    real = os.pwrite

    def some(descriptor, data, offset):
        if offset >= 1000:
            raise OSError(number, os.strerror(number))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", some)
    small = b"small"
    blobs = (["sha256:" + hashlib.sha256(small).hexdigest(), len(small)], BLOB)
    pieces = [(0, 0, small), (1, 0, DATA[:1000]), (1, 1000, DATA[1000:])]
    found = answer(store, *pieces, blobs=blobs)
    assert kind_of(found) == "no-space" and DIGEST[7:] in found["msg"]
    monkeypatch.undo()
    assert answer(store, do="ask", end=b"", blobs=blobs) == {"staged": [[(0, 5)], []]}
    assert answer(store, *pieces, blobs=blobs) == {"written": len(DATA)}
    assert complete(store) == DATA


def test_no_other_task_removes_content_while_the_receiver_writes(store, monkeypatch):
    refused = []

    def prune(self, offset, chunk):
        with pytest.raises(errors.LockedError) as caught:
            with ImageStore(str(store), lock_timeout=0).hold(exclusive=True):
                pass
        refused.append(caught.value.kind)

    monkeypatch.setattr(partial.StagedBlob, "write", prune)
    answer(store, (0, 0, DATA))
    assert refused == ["store-locked"]


def test_another_task_that_uses_the_store_does_not_stop_the_receiver(store):
    with ImageStore(str(store)).hold() as other:
        other.prepare()
        assert answer(store, (0, 0, DATA)) == {"written": len(DATA)}
    assert complete(store) == DATA


@pytest.mark.parametrize("year", [1970, 2100])
def test_clock_of_the_host_does_not_matter_to_staged_bytes(store, year):
    answer(store, (0, 0, DATA[:1000]))
    at = (year - 1970) * 365 * 86400
    for name in leftovers(store):
        os.utime(store / ".staging" / name, (at, at))
    assert answer(store, (0, 0, DATA)) == {"written": len(DATA) - 1000}
    assert complete(store) == DATA


def test_blobs_are_copied_from_a_store_of_the_same_machine(store, tmp_path):
    origin = tmp_path / "origin"
    answer(origin, (0, 0, DATA))
    complete(origin)
    found = answer(store, do="copy", origin=str(origin))
    assert found == {"written": len(DATA)}
    assert complete(store) == DATA


def test_unreadable_origin_is_reported_before_anything_is_created(store, tmp_path):
    assert answer(store, do="copy", origin=str(tmp_path / "none")) == {"unreadable": True}
    assert not store.exists()


def test_foreign_directory_is_left_alone(store):
    store.mkdir()
    (store / "notes.txt").write_text("mine")
    assert kind_of(answer(store, (0, 0, DATA))) == "not-a-layout"
    assert [path.name for path in store.iterdir()] == ["notes.txt"]


def test_program_runs_without_files_of_the_collection(store):
    raw = program() + message(store, (0, 0, DATA))
    code = f"import sys,zlib;exec(zlib.decompress(sys.stdin.buffer.read({len(program())})))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        input=raw,
        capture_output=True,
        check=True,
        cwd="/",
    )
    assert done.stdout.decode().splitlines()[-1] == f'lockstep answer {{"written": {len(DATA)}}}'
    assert complete(store) == DATA
