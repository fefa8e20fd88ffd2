# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutated and random archives, and unpacks that are killed: nothing is written outside, and nothing half-made appears."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockstepError
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import UnpackedLayer
from ansible_collections.lockstep.images.tests.support import images, modules
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.tarballs import (
    CHAR,
    FIFO,
    archive,
    described,
    directory,
    entry,
    gnu_long,
    hardlink,
    pax,
    symlink,
)
from ansible_collections.lockstep.images.tests.support.trees import (
    GZIP,
    LIMITS,
    OPTIONS,
    open_new,
    source_of,
    source_of_blob,
    unpack,
    unpack_tree,
)

SEED = int(os.environ.get("LOCKSTEP_TEST_SEED", "1"))
ROUNDS = int(os.environ.get("LOCKSTEP_TEST_UNPACK_ROUNDS", "200"))
CANARY = b"only this is outside"
PARTS = ["a", "b", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..", "canary", "d" * 120]


@pytest.fixture(name="outside")
def fixture_outside(tmp_path):
    """A directory with a canary, beside which trees are unpacked."""
    (tmp_path / "canary").write_bytes(CANARY)
    os.chmod(tmp_path / "canary", 0o644)
    before = described(tmp_path)["canary"]
    yield tmp_path
    assert described(tmp_path)["canary"] == before
    assert sorted(os.listdir(tmp_path)) in (["canary"], ["canary", "trees"])


def attempt(path, function, *tars):
    """Unpack layers; every error is one of the collection, with a printable sentence. Remove the trees."""
    try:
        function(path, *tars)
    except LockstepError as exc:
        assert str(exc).isprintable()
    finally:
        shutil.rmtree(path, ignore_errors=True)


def random_name(dice):
    return ("/" * (dice.random() < 0.2)) + "/".join(dice.choices(PARTS, k=dice.randint(1, 4)))


def random_entry(dice):
    name, target = random_name(dice), random_name(dice)
    kind = dice.randrange(9)
    if kind == 0:
        return symlink(name[:100], ("../" * dice.randrange(4) + target)[:100])
    if kind == 1:
        return hardlink(name[:100], target[:100])
    if kind == 2:
        return directory(name[:100], dice.choice([0, 0o755, 0o700]))
    if kind == 3:
        return entry(name[:100], kind=dice.choice([CHAR, FIFO]), device=(dice.randrange(2), 0))
    if kind == 4:
        return pax({"path": name or "x"}) + entry("x", b"1")
    if kind == 5:
        return gnu_long(name) + entry("x", b"2", mode=0o4755)
    return entry(name[:100], b"3" * dice.randrange(700))


def test_random_layers_of_hostile_names_stay_inside_the_root(outside):
    dice = random.Random(SEED)
    for _round in range(ROUNDS):
        tars = [archive(*[random_entry(dice) for _n in range(dice.randint(1, 12))]) for _n in "12"]
        attempt(outside / "trees", unpack, *tars)
        attempt(outside / "trees", unpack_tree, *tars)


def test_mutated_archives_raise_only_errors_of_the_collection(outside):
    dice = random.Random(SEED)
    whole = archive(
        directory("d"),
        pax({"path": "d/long" * 30, "SCHILY.xattr.user.a": "1", "mtime": "1.5"}),
        entry("x", b"1" * 1000),
        symlink("l", "../canary"),
        hardlink("h", "x"),
        gnu_long("n" * 200),
        entry("y"),
        pax(
            {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": "s",
                "GNU.sparse.realsize": "99",
            }
        ),
        entry("z", b"2\n3\n4\n50\n5\n".ljust(512, b"\0") + b"123456789"),
        pax({"GNU.sparse.map": "1,2,9,1", "GNU.sparse.numblocks": "2", "GNU.sparse.size": "20"}),
        entry("t", b"123"),
        entry("d/.wh.x"),
    )
    for _round in range(ROUNDS):
        data = bytearray(whole)
        for _flip in range(dice.randint(1, 4)):
            # Most changes are in headers, whose checksum is made right again.
            block = dice.randrange(len(data) // 512) * 512
            data[block + dice.randrange(512)] = dice.randrange(256)
            field = data[block : block + 512]
            field[148:156] = b" " * 8
            data[block + 148 : block + 156] = b"%06o\0 " % sum(field)
        if dice.random() < 0.2:
            del data[dice.randrange(len(data)) :]
        attempt(outside / "trees", unpack, bytes(data))


def test_damaged_gzip_raises_only_errors_of_the_collection(outside):
    dice = random.Random(SEED)
    whole = archive(*[entry(f"f{n}", os.urandom(300)) for n in range(50)])
    source = source_of(whole, GZIP)
    with source.open() as file:
        blob = file.read()
    for _round in range(ROUNDS):
        data = bytearray(blob)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        attempt(outside / "trees", lambda path, tar: unpack_blob(path, tar, source), bytes(data))


def unpack_blob(path, blob, source):
    """Unpack a blob that should be that of ``source``."""
    layer = UnpackedLayer(
        open_new(path), source_of_blob(blob, GZIP, str(source.diff_id)), OPTIONS, LIMITS
    )
    try:
        layer.fill()
    finally:
        layer.close()


def swap(root, outside, done):
    """Exchange a directory for a link to the outside, again and again."""
    while not done.is_set():
        with contextlib.suppress(OSError):
            os.rename(root / "d", root / "old")
            os.symlink(outside, root / "d")
            os.unlink(root / "d")
            os.rename(root / "old", root / "d")


def test_directory_that_is_exchanged_for_a_link_is_not_followed(outside):
    pairs = [(directory(f"d/{n % 5}"), entry(f"d/{n % 5}/f{n}")) for n in range(200)]
    source = source_of(archive(directory("d"), *[one for pair in pairs for one in pair]))
    for _round in range(ROUNDS // 40):
        root, done = outside / "trees", threading.Event()
        layer = UnpackedLayer(open_new(root), source, OPTIONS, LIMITS)
        thread = threading.Thread(target=swap, args=(root, outside, done))
        thread.start()
        try:
            with contextlib.suppress(OSError, LockstepError):  # the directory has moved
                layer.fill()
        finally:
            done.set()
            thread.join()
            layer.close()
        shutil.rmtree(root)


def test_killed_unpack_publishes_nothing_half_made(tmp_path):
    layers = [
        images.layer({f"l{number}/f{n}": os.urandom(2000) for n in range(100)})
        for number in range(12)
    ]
    put(tmp_path / "store", images.image(layers), "r.example/app:1")
    params = {"store": str(tmp_path / "store"), "name": ["r.example/app:1"]}
    began = time.monotonic()
    whole = modules.finish(modules.start("image_unpack", path=str(tmp_path / "whole"), **params))
    needed = time.monotonic() - began
    expected = trees_of(whole.result)
    dice = random.Random(SEED)
    for _round in range(8):
        process = modules.start("image_unpack", path=str(tmp_path / "trees"), **params)
        time.sleep(dice.uniform(0.1, needed))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        published = Path(tmp_path / "trees" / "layers")
        for key in os.listdir(published) if published.exists() else ():
            assert described(published / key / "diff") == expected[key]
    again = modules.run("image_unpack", path=str(tmp_path / "trees"), **params)
    assert trees_of(again.result) == expected
    assert os.listdir(tmp_path / "trees" / "staging") == []


def trees_of(result):
    """Return the files of each layer, by the name of its directory."""
    paths = [Path(layer["path"]) for layer in result["images"][0]["layers"]]
    return {path.parent.name: described(path) for path in paths}
