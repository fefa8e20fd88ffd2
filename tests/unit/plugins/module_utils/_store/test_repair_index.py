# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores with exactly these names: the check, the write, and the exclusive lock."""

from __future__ import annotations

import concurrent.futures
import json
import os
import threading

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    LockedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import (
    IndexEntry,
    render_names,
)
from ansible_collections.lockstep.images.plugins.module_utils._store.repair import RepairStore
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.layout import fingerprint, tree
from ansible_collections.lockstep.images.tests.support.stores import set_name, whole_tree

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ONE = IndexEntry(blob(b"one", MANIFEST))
TWO = IndexEntry(blob(b"two", MANIFEST), ("linux/amd64", "linux/arm64"))
NAMES = {"registry.example/b:1": ONE, "registry.example/a:1": TWO}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    store = RepairStore(str(path), lock_timeout=20)
    with store.hold():
        store.prepare()
        for name, target in NAMES.items():
            set_name(store, name, target, None)
    return store


# -- render_names, is_exactly, make_exactly


def test_names_are_rendered_as_a_store_writes_them_one_by_one(path, store):
    turned = dict(reversed(NAMES.items()))
    assert render_names(NAMES) == render_names(turned) == (path / "index.json").read_bytes()
    assert str(Digest.of(render_names(NAMES))) == store.fingerprint() == fingerprint(path)


def test_the_platforms_of_a_name_are_rendered_in_order():
    swapped = IndexEntry(TWO.target, TWO.platforms[::-1])
    assert render_names({"a": swapped}) == render_names({"a": TWO})


def test_fingerprint_is_known_before_names_are_set(path, store):
    moved = {"registry.example/b:1": TWO, "registry.example/c:1": ONE}
    told = store.fingerprint(moved)
    before = whole_tree(path)
    assert told != store.fingerprint()
    assert whole_tree(path) == before
    for name, target in moved.items():
        set_name(store, name, target, NAMES.get(name))
    assert told == store.fingerprint() == fingerprint(path)


def other_names(path):
    """Return every change after which a store no longer has exactly these names."""

    def change(**fields):
        index = json.loads((path / "index.json").read_bytes())
        (path / "index.json").write_bytes(render({**index, **fields}))

    def render(index):
        return json.dumps(index, sort_keys=True, separators=(",", ":")).encode()

    entries = json.loads((path / "index.json").read_bytes())["manifests"]
    nameless = {key: value for key, value in entries[0].items() if key != "annotations"}
    noted = {**entries[0], "annotations": {**entries[0]["annotations"], "x": "y"}}
    return {
        "one name less": lambda: change(manifests=entries[:1]),
        "one name more": lambda: change(manifests=[*entries, {**nameless, "annotations": {}}]),
        "an entry without a name": lambda: change(manifests=[*entries, nameless]),
        "the same entry twice": lambda: change(manifests=[*entries, entries[-1]]),
        "another order": lambda: change(manifests=entries[::-1]),
        "a foreign annotation": lambda: change(manifests=[noted, *entries[1:]]),
        "a platform in an entry": lambda: change(
            manifests=[{**entries[0], "platform": {"os": "linux"}}, *entries[1:]]
        ),
        "a foreign key": lambda: change(annotations={}),
        "no media type": lambda: change(mediaType=None),
        "blanks": lambda: (path / "index.json").write_text(
            json.dumps(json.loads((path / "index.json").read_bytes()))
        ),
        "a newline": lambda: (path / "index.json").write_bytes(render_names(NAMES) + b"\n"),
        "no index": (path / "index.json").unlink,
        "another layout file": lambda: (path / "oci-layout").write_text(
            '{"imageLayoutVersion": "1.0.0"}'
        ),
    }


KINDS = (
    "one name less, one name more, an entry without a name, the same entry twice, another order, "
    "a foreign annotation, a platform in an entry, a foreign key, no media type, blanks, a newline, "
    "no index, another layout file"
).split(", ")


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_byte_is_found_and_corrected(path, store, kind):
    assert store.is_exactly(NAMES)
    whole = {name: (path / name).read_bytes() for name in ("index.json", "oci-layout")}
    other_names(path)[kind]()
    before = whole_tree(path)
    assert not store.is_exactly(NAMES)
    assert whole_tree(path) == before
    store.make_exactly(NAMES)
    assert store.is_exactly(NAMES)
    assert {name: (path / name).read_bytes() for name in whole} == whole
    assert dict(store.names()) == NAMES


def test_every_kind_of_difference_is_tried(path, store):
    assert list(other_names(path)) == KINDS


@pytest.mark.parametrize(
    "names",
    [{}, {"registry.example/b:1": ONE}, {**NAMES, "x": ONE}, dict.fromkeys(NAMES, ONE)],
    ids=len,
)
def test_store_with_other_names_is_not_exact(store, names):
    assert not store.is_exactly(names)
    store.make_exactly(names)
    assert store.is_exactly(names)
    assert dict(store.names()) == names


def test_missing_store_counts_as_newly_created(path):
    store = RepairStore(str(path))
    assert store.is_exactly({})
    assert not store.is_exactly(NAMES)
    assert not path.exists()


# -- upgrade_lock


def test_unused_and_unchanged_store_is_locked_exclusively(path, store):
    with store.hold():
        store.upgrade_lock(lambda: dict(store.names()) == NAMES)
        with pytest.raises(LockedError), RepairStore(str(path), 0).hold():
            pass
    with RepairStore(str(path), 0).hold():
        pass


def test_unplanned_change_is_a_conflict_and_frees_the_store(path, store):
    """The store is checked when no other process can change it."""
    before = tree(path)

    def look():
        with pytest.raises(LockedError), RepairStore(str(path), 0).hold():
            pass
        return False

    with pytest.raises(ConflictError) as error, store.hold():
        store.upgrade_lock(look)
    assert str(path) in str(error.value)
    assert error.value.hint == "Run again."
    assert tree(path) == before
    with RepairStore(str(path), 0).hold(exclusive=True):
        pass


def test_exclusive_lock_without_waiting_reports_a_store_in_use(path):
    store = RepairStore(str(path), lock_timeout=0)
    with store.hold():
        store.prepare()
        with RepairStore(str(path)).hold(), pytest.raises(LockedError):
            store.upgrade_lock(lambda: True)


def test_two_holders_become_exclusive_one_after_the_other(path, store):
    """Neither waits for the lock of the other."""
    both, inside = threading.Barrier(2), []

    def run(number):
        with RepairStore(str(path), 20).hold() as held:
            both.wait(20)
            held.upgrade_lock(lambda: True)
            inside.append(number)
            inside.append(number)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert inside in ([0, 0, 1, 1], [1, 1, 0, 0])


def test_a_store_is_exclusive_in_another_process_too(path, store):
    """The lock is the kernel's, and ends with the process that has it."""
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        try:
            with RepairStore(str(path), 20).hold() as held:
                held.upgrade_lock(lambda: True)
                os.write(go, b"x")
                threading.Event().wait()
        finally:
            os._exit(1)
    try:
        assert os.read(ready, 1) == b"x"
        with pytest.raises(LockedError), RepairStore(str(path), 0).hold():
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(go)
    with RepairStore(str(path), 0).hold():
        assert store.is_exactly(NAMES)
