# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image store: reading, invalid stores, and files that stay unchanged."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    ConflictError,
    CorruptStoreError,
    DigestMismatchError,
    LockedError,
    NotALayoutError,
    NotFoundError,
    StoreAccessError,
    StoreError,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.manifest import Descriptor
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest
from ansible_collections.lockstep.images.plugins.module_utils._store import reader as files
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import IndexEntry
from ansible_collections.lockstep.images.plugins.module_utils._store.store import (
    ImageStore,
    free_bytes,
)
from ansible_collections.lockstep.images.tests.support.fakes import blob
from ansible_collections.lockstep.images.tests.support.stores import (
    leftovers,
    set_name,
    umask,
    whole_tree,
)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DATA = b"some content"
CONTENT = blob(DATA, MANIFEST)
ONE, TWO = IndexEntry(CONTENT), IndexEntry(blob(b"other content", MANIFEST))
EMPTY_INDEX = (
    b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
)
NAME = "registry.example/app:1"


def made(path: Path, *names: str) -> ImageStore:
    """A store on disk, with one blob and these names for it."""
    store = ImageStore(str(path), lock_timeout=0.2)
    with store.hold():
        store.prepare()
        if names:
            store.write(CONTENT, [DATA])
        for name in names:
            set_name(store, name, ONE, None)
    return store


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="store")
def fixture_store(path):
    return made(path, NAME)


def check(store):
    """Open a store as every task does."""
    with store.hold():
        return store.names()


def entry(name=None, target=ONE, **more):
    """An entry of index.json."""
    annotations = {"org.opencontainers.image.ref.name": name} if name else {}
    return {**target.target.as_json(), "annotations": annotations, **more}


def rewrite(path, *entries, **fields):
    """Write index.json as another tool would."""
    index = {"schemaVersion": 2, **fields, "manifests": list(entries)}
    (path / "index.json").write_text(json.dumps(index, indent=2))


def parsed(path):
    return json.loads((path / "index.json").read_bytes())


# -- reading


def test_a_store_that_is_missing_reads_as_empty_and_stays_missing(path):
    """S014"""
    store = ImageStore(str(path))
    assert check(store) == {}
    assert not store.has(CONTENT)
    assert store.manifest(CONTENT.digest) is None
    with pytest.raises(NotFoundError):
        store.read(CONTENT.digest)
    assert store.fingerprint() == f"sha256:{hashlib.sha256(EMPTY_INDEX).hexdigest()}"
    assert not path.exists()


def test_reading_changes_nothing(path, store):
    before = whole_tree(path)
    assert check(store) == {NAME: ONE}
    assert (store.has(CONTENT), store.read(CONTENT.digest)) == (True, DATA)
    store.fingerprint()
    assert whole_tree(path) == before


def test_a_read_only_store_can_be_read_and_a_write_is_an_error(path, store, monkeypatch):
    """S003"""
    real = os.open

    def read_only(name, flags, *mode):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(name, flags, *mode)

    monkeypatch.setattr(files.os, "open", read_only)
    assert check(store) == {NAME: ONE}
    assert store.read(CONTENT.digest) == DATA
    with pytest.raises(StoreAccessError, match="Read-only file system"):
        set_name(store, NAME, TWO, ONE)
    with pytest.raises(StoreAccessError, match="Read-only file system"), store.hold():
        store.prepare()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"some conten", id="S017 truncated"),
        pytest.param(b"", id="S017 empty"),
        pytest.param(b"some content!", id="S017 longer"),
        pytest.param(b"some c0ntent", id="S017 flipped"),
    ],
)
def test_corrupt_content_is_never_returned(store, damage):
    Path(store.blob_path(CONTENT.digest)).write_bytes(damage)
    assert store.has(CONTENT) == (len(damage) == len(DATA))
    assert store.manifest(CONTENT.digest) is None
    with pytest.raises(DigestMismatchError) as caught:
        store.read(CONTENT.digest)
    assert store.blob_path(CONTENT.digest) in str(caught.value)
    store.write(CONTENT, [DATA])
    assert store.read(CONTENT.digest) == DATA


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: os.symlink("/etc/passwd", path), id="S016 link"),
        pytest.param(os.mkfifo, id="S016 FIFO"),
        pytest.param(os.mkdir, id="S016 directory"),
    ],
)
def test_blob_that_is_a_special_file_is_an_error_that_names_it(store, make):
    place = store.blob_path(CONTENT.digest)
    os.unlink(place)
    make(place)
    for look in (lambda: store.has(CONTENT), lambda: store.read(CONTENT.digest)):
        with pytest.raises(StoreAccessError) as caught:
            look()
        assert place in str(caught.value)


# -- invalid stores


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is not valid JSON", id="S019 empty"),
        pytest.param(b'{"schemaVersion":2,"manif', "is not valid JSON", id="S019 cut"),
        pytest.param(b"\xff\xfe\x00", "is not UTF-8", id="S019 binary"),
        pytest.param(
            b'{"manifests":[],"manifests":[]}', "duplicate keys", id="S019 duplicate keys"
        ),
        pytest.param(b'{"schemaVersion":2,"manifests":{}}', "not a list", id="S019 map"),
        pytest.param(b'{"schemaVersion":2}', "not a list", id="S019 no manifests"),
        pytest.param(b'{"manifests":["x"]}', "not a list of objects", id="S019 no objects"),
        pytest.param(b"[" * 100_000, "index.json", id="S019 deep"),
    ],
)
def test_invalid_index_is_an_error_and_is_kept(path, store, content, message):
    (path / "index.json").write_bytes(content)
    for act in (store.names, store.fingerprint, lambda: set_name(store, NAME, TWO, ONE)):
        with pytest.raises(CorruptStoreError, match=message) as caught:
            act()
        assert str(path / "index.json") in str(caught.value)
        assert caught.value.hint
    with store.hold():
        store.prepare()
    assert (path / "index.json").read_bytes() == content


def test_F09_null_is_an_empty_index(path, store):
    """A Go tool writes an empty layout so."""
    (path / "index.json").write_bytes(b'{"schemaVersion":2,"manifests":null}')
    assert store.names() == {}
    set_name(store, NAME, TWO, None)
    assert list(store.names()) == [NAME]


@pytest.mark.parametrize(
    "broken",
    [{"digest": "sha256:12"}, {"size": -1}, {"size": "9"}, {"mediaType": 1}, {"annotations": 5}],
    ids="S019 {}".format,
)
def test_a_name_without_a_descriptor_is_an_error_that_names_both(path, store, broken):
    rewrite(path, entry(NAME, **broken) if "annotations" not in broken else entry("x", **broken))
    if "annotations" in broken:  # then it has no name, and is of no concern
        assert check(store) == {}
        return
    with pytest.raises(CorruptStoreError) as caught:
        check(store)[NAME]
    assert f"{path / 'index.json'}: {NAME}" in str(caught.value)


def test_blobs_without_an_index_are_not_a_new_store(path, store):
    """S020"""
    (path / "index.json").unlink()
    before = whole_tree(path)
    with pytest.raises(CorruptStoreError, match=r"holds blobs but no index\.json"):
        check(store)
    assert whole_tree(path) == before


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(None, id="S021 missing"),
        pytest.param(b'{"imageLayoutVersion":"2.0.0"}', id="S021 version 2"),
        pytest.param(b'{"imageLayoutVersion":1}', id="S021 a number"),
        pytest.param(b"{}", id="S021 no version"),
        pytest.param(b"garbage", id="S021 garbage"),
        pytest.param(b"", id="S021 empty"),
    ],
)
def test_directory_that_is_not_a_layout_is_rejected_and_left_alone(path, store, layout):
    (path / "oci-layout").unlink()
    if layout is not None:
        (path / "oci-layout").write_bytes(layout)
    before = whole_tree(path)
    with pytest.raises(NotALayoutError, match="is not an OCI image layout"):
        check(store)
    assert whole_tree(path) == before


def test_a_later_minor_version_of_the_layout_is_read(path, store):
    (path / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.1.0"}')
    assert check(store) == {NAME: ONE}


def test_directory_with_other_files_is_rejected(path):
    """S021: a wrong path must not fill a home directory."""
    path.mkdir()
    (path / "photo.jpg").write_bytes(b"")
    with pytest.raises(NotALayoutError, match=r"no oci-layout file but photo\.jpg"):
        check(ImageStore(str(path)))
    assert os.listdir(path) == ["photo.jpg"]


@pytest.mark.parametrize("there", [[], ["lost+found"]], ids=["empty", "a new file system"])
def test_an_empty_directory_becomes_a_store(path, there):
    path.mkdir()
    for name in there:
        (path / name).mkdir()
    made(path, NAME)
    assert check(ImageStore(str(path))) == {NAME: ONE}


# -- where it is


def test_a_store_that_is_a_file_is_an_error(path):
    """S014"""
    path.write_bytes(b"mine")
    with pytest.raises(NotALayoutError, match="is not a directory"):
        check(ImageStore(str(path)))
    assert path.read_bytes() == b"mine"


def test_the_given_root_may_be_a_link(path, store, tmp_path):
    """S014"""
    (tmp_path / "link").symlink_to(path)
    linked = ImageStore(str(tmp_path / "link"))
    assert (linked.path, check(linked)) == (store.path, {NAME: ONE})


def test_links_in_the_path_are_resolved_once(path, store, tmp_path, monkeypatch):
    """S036: a later chdir, a trailing slash and dots change nothing."""
    monkeypatch.chdir(tmp_path)
    relative = ImageStore("./x/../store/")
    monkeypatch.chdir("/")
    assert (relative.path, check(relative)) == (str(path), {NAME: ONE})


@pytest.mark.parametrize(
    "name",
    ["with blank", "new\nline", "100%s", "~", os.fsdecode(b"latin-\xe9")],
    ids="S037 {!r}".format,
)
def test_every_path_that_the_system_accepts_works(tmp_path, name):
    store = made(tmp_path / name, NAME)
    assert check(store) == {NAME: ONE}


def test_a_path_that_is_too_long_is_an_error(tmp_path):
    """S029"""
    store = ImageStore(str(tmp_path / ("x" * 256)))
    with pytest.raises(StoreAccessError, match="File name too long"):
        check(store)
    with pytest.raises(StoreAccessError, match="File name too long"), store.hold():
        store.prepare()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_link_to_a_directory_of_the_same_user_is_followed(path, store, tmp_path, name):
    """S015"""
    shutil.move(path / name, tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    assert check(store) == {NAME: ONE}
    store.write(TWO.target, [b"other content"])
    assert store.read(TWO.target.digest) == b"other content"


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_link_to_a_directory_of_another_user_is_an_error(path, store, tmp_path, monkeypatch, name):
    """S015"""
    shutil.move(path / name, tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreAccessError, match="belongs to user") as caught:
        check(store)
    assert str(path / name) in str(caught.value)


@pytest.mark.parametrize("make", ["file", "dangling link"])
def test_blobs_path_that_is_not_a_directory_is_an_error(path, store, make):
    """S015"""
    shutil.rmtree(path / "blobs")
    if make == "file":
        (path / "blobs").write_bytes(b"")
    else:
        (path / "blobs").symlink_to("nowhere")
    with pytest.raises(StoreError) as caught:
        check(store)
    assert str(path / "blobs") in str(caught.value)


def test_everything_is_staged_inside_the_store(path, store, monkeypatch):
    """S033: so that a rename never crosses file systems."""
    moved = []
    real = os.rename
    monkeypatch.setattr(files.os, "rename", lambda old, new: (moved.append(old), real(old, new)))
    store.write(TWO.target, [b"other content"])
    set_name(store, "registry.example/b:1", TWO, None)
    assert [os.path.dirname(old) for old in moved] == [str(path / ".staging")] * 2


# -- permissions


@contextlib.contextmanager
def ordinary_user():
    """Become an ordinary user, because root is refused nothing."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture(name="public")
def fixture_public():
    """A directory that everybody can reach, and that belongs to the ordinary user."""
    path = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    yield path
    with contextlib.suppress(OSError):
        os.chmod(path / "store", 0o755)
    for root, directories, _files in os.walk(path):
        for name in directories:
            os.chmod(os.path.join(root, name), 0o755)
    shutil.rmtree(path)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(".", id="S004 the root"),
        pytest.param("blobs", id="S004 blobs"),
        pytest.param("blobs/sha256", id="S004 blobs of one kind"),
        pytest.param("index.json", id="S004 the index"),
        pytest.param("oci-layout", id="S004 the layout file"),
        pytest.param("", id="S018 one blob"),
    ],
)
def test_unreadable_path_is_an_error_that_names_it(public, what):
    with ordinary_user():
        store = made(public / "store", NAME)
        denied = Path(store.path, what) if what else Path(store.blob_path(CONTENT.digest))
        denied.chmod(0o000)
        with pytest.raises(StoreAccessError, match="Permission denied") as caught:
            check(store)
            store.read(CONTENT.digest)
        assert str(denied) in str(caught.value)


def test_unwritable_path_is_an_error_that_names_it(public):
    """S004"""
    with ordinary_user():
        (public / "store").mkdir(mode=0o555)
        store = ImageStore(str(public / "store"))
        with pytest.raises(StoreAccessError, match="Permission denied") as caught, store.hold():
            store.prepare()
        assert str(public / "store") in str(caught.value)


def test_every_user_can_read_the_store_of_root(public):
    """S032: also when root has a strict umask."""
    with umask(0o077):
        store = made(public / "store", NAME)
    with ordinary_user():
        assert check(store) == {NAME: ONE}
        assert store.read(CONTENT.digest) == DATA


@pytest.mark.parametrize("mask", [0o000, 0o077], ids="S032 umask {:03o}".format)
def test_modes_are_as_documented(path, mask):
    with umask(mask):
        made(path, NAME)
    kinds = {True: 0o755, False: 0o644}
    for place in [path, *path.rglob("*")]:
        assert place.stat().st_mode & 0o7777 == kinds[place.is_dir()], place


# -- the index


def test_the_index_is_canonical(path):
    store = made(path, "registry.example/b:1", "registry.example/a:1")
    wanted = (
        '{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"registry.example/a:1"},'
        f'"digest":"{CONTENT.digest}","mediaType":"{MANIFEST}","size":12}},'
        '{"annotations":{"org.opencontainers.image.ref.name":"registry.example/b:1"},'
        f'"digest":"{CONTENT.digest}","mediaType":"{MANIFEST}","size":12}}],'
        '"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
    )
    assert (path / "index.json").read_text() == wanted
    assert (path / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    assert store.fingerprint() == f"sha256:{hashlib.sha256(wanted.encode()).hexdigest()}"


def test_an_empty_store_has_the_fingerprint_of_a_missing_one(path):
    missing = ImageStore(str(path)).fingerprint()
    assert made(path).fingerprint() == missing
    assert (path / "index.json").read_bytes() == EMPTY_INDEX


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_order_of_names_does_not_change_the_index(path, order):
    names = [f"registry.example/app:{n}" for n in range(3)]
    made(path, *(names[n] for n in order))
    assert [entry["annotations"] for entry in parsed(path)["manifests"]] == [
        {"org.opencontainers.image.ref.name": name} for name in names
    ]


def test_platforms_are_sorted_and_read_back(path, store):
    set_name(store, NAME, IndexEntry(CONTENT, ("linux/arm64", "linux/amd64")), ONE)
    annotations = parsed(path)["manifests"][0]["annotations"]
    assert annotations["io.lockstep.platforms"] == "linux/amd64,linux/arm64"
    assert check(store) == {NAME: IndexEntry(CONTENT, ("linux/amd64", "linux/arm64"))}


def test_foreign_entries_and_fields_are_kept(path, store):
    """S025: unknown fields, annotations and entries."""
    unnamed = entry(None, platform={"os": "linux", "architecture": "amd64"}, odd=[1, {"a": None}])
    foreign = entry("latest", TWO, artifactType="x/y")
    foreign["annotations"]["org.example"] = "\u00fc"
    rewrite(path, foreign, unnamed, entry(NAME), annotations={"k": "v"}, more={"deep": [True]})
    set_name(store, "registry.example/new:1", TWO, None)
    index = parsed(path)
    assert (index["annotations"], index["more"]) == ({"k": "v"}, {"deep": [True]})
    new = entry("registry.example/new:1", TWO)
    assert index["manifests"] == [unnamed, foreign, entry(NAME), new]


def test_a_media_type_that_is_absent_is_not_added(path, store):
    """S026"""
    rewrite(path, entry(NAME))
    assert check(store) == {NAME: ONE}
    assert "mediaType" not in parsed(path)
    set_name(store, NAME, TWO, ONE)
    assert "mediaType" not in parsed(path)


def test_last_of_two_entries_with_one_name_counts(path, store):
    """S022"""
    rewrite(path, entry(NAME, ONE), entry(NAME, TWO))
    assert check(store) == {NAME: TWO}
    with_both = store.fingerprint()
    rewrite(path, entry(NAME, TWO))
    assert store.fingerprint() == with_both
    rewrite(path, entry(NAME, ONE), entry(NAME, TWO))
    set_name(store, "registry.example/new:1", ONE, None)
    assert parsed(path)["manifests"] == [entry(NAME, TWO), entry("registry.example/new:1", ONE)]


def test_foreign_files_are_left_alone(path, store):
    """S024"""
    for name in (".DS_Store", "oci-put-blob123", ".umoci-1/x", "ingest/y", "blobs/sha256/.tmp"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"x")
    before = set(whole_tree(path))
    set_name(store, NAME, TWO, ONE)
    with store.hold():
        store.prepare()
    assert set(whole_tree(path)) == before


def test_sha512_content_has_a_place_of_its_own(path, store):
    digest = Digest.of(DATA, "sha512")
    descriptor = type(CONTENT)(MANIFEST, digest, len(DATA))
    store.write(descriptor, [DATA])
    assert (path / "blobs" / "sha512" / digest.encoded).read_bytes() == DATA
    assert store.read(digest) == DATA


def test_ten_thousand_names_are_read_once(path, monkeypatch):
    """S030"""
    store = made(path, NAME)
    rewrite(path, *(entry(f"registry.example/app:{n}") for n in range(10_000)))
    calls = []
    real = files.read_file
    monkeypatch.setattr(files, "read_file", lambda *args: (calls.append(args), real(*args))[1])
    assert len(store.names()) == 10_000
    assert len(calls) == 1
    set_name(store, "registry.example/app:x", ONE, None)
    assert len(calls) <= 3


# -- many at once


def test_new_name_from_another_tool_is_kept(path, store):
    """S028: the index is read again under the lock."""
    rewrite(path, entry(NAME), entry("latest", TWO))
    set_name(store, NAME, TWO, ONE)
    assert check(store) == {NAME: TWO, "latest": TWO}


def test_a_name_that_another_tool_moved_is_a_conflict(path, store):
    """S028"""
    rewrite(path, entry(NAME, TWO))
    third = IndexEntry(blob(b"third", MANIFEST))
    with pytest.raises(ConflictError, match=str(TWO.target.digest)):
        set_name(store, NAME, third, ONE)
    assert check(store) == {NAME: TWO}


def test_reader_sees_the_old_or_the_new_index(path, store):
    """S010"""
    others = [f"registry.example/app:w{n}" for n in range(40)]

    def write():
        for name in others:
            set_name(store, name, ONE, None)

    writer = threading.Thread(target=write)
    writer.start()
    counts = [len(check(store))]
    while writer.is_alive():
        counts.append(len(check(store)))
    writer.join()
    assert counts == sorted(counts)
    assert check(store).keys() == {NAME, *others}


def test_threads_lose_no_name(path):
    """S007: no update is lost."""
    made(path, NAME)
    names = [f"registry.example/app:{n}" for n in range(20)]
    threads = [
        threading.Thread(target=set_name, args=(ImageStore(str(path)), name, ONE, None))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert check(ImageStore(str(path))).keys() == {NAME, *names}


def test_store_in_use_is_not_locked_exclusively(path, store):
    """S008: removal waits for readers and writers, and they wait for it."""
    other = ImageStore(str(path), lock_timeout=0.1)
    with store.hold():
        assert check(other) == {NAME: ONE}
        with pytest.raises(LockedError), other.hold(exclusive=True):
            pass
    with other.hold(exclusive=True), pytest.raises(LockedError):
        check(store)
    assert check(store) == {NAME: ONE}


def test_new_store_is_locked(path):
    """S008: also if there was no store when the task began."""
    store, other = ImageStore(str(path)), ImageStore(str(path), lock_timeout=0.1)
    with store.hold():
        store.prepare()
        with pytest.raises(LockedError), other.hold(exclusive=True):
            pass


def test_store_created_by_another_task_meantime_is_accepted(path, monkeypatch):
    """S007: two first pulls at once."""
    path.mkdir()
    real = files.read_file

    def meanwhile(name, limit):
        monkeypatch.setattr(files, "read_file", real)
        made(path, NAME)
        raise FileNotFoundError(name)

    monkeypatch.setattr(files, "read_file", meanwhile)
    assert check(ImageStore(str(path))) == {NAME: ONE}


def test_store_filled_during_the_check_has_an_index(path, monkeypatch):
    """S007, S020"""
    made(path)
    (path / "index.json").rename(path / "aside")
    store = ImageStore(str(path))
    real = os.path.lexists

    def meanwhile(name):
        answer = real(name)
        if str(name).endswith("index.json"):
            (path / "aside").rename(path / "index.json")
            monkeypatch.setattr(os.path, "lexists", real)
            made(path, NAME)
        return answer

    monkeypatch.setattr(os.path, "lexists", meanwhile)
    check(store)


def test_stale_partial_files_are_removed_with_the_next_change(path, store):
    """S005"""
    (path / ".staging" / "part-dead").write_bytes(b"half")
    check(store)
    assert leftovers(path) == ["part-dead"]
    with store.hold():
        store.prepare()
    assert leftovers(path) == []


@pytest.mark.parametrize("link", ["blobs", "blobs/sha256"])
def test_content_may_be_on_another_disk(link, tmp_path):
    """S015, S033: it is staged there, because no file can be renamed to another disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        store = tmp_path / "store"
        (store / link).parent.mkdir(parents=True)
        (store / link).symlink_to(disk)
        assert os.stat(disk).st_dev != os.stat(store).st_dev
        content = Descriptor("application/x", Digest.of(b"content"), 7)
        with ImageStore(str(store)).hold() as held:
            held.prepare()
            held.write(content, [b"content"])
        stale = (store / "blobs/sha256/.staging/part-0123456789abcdef").resolve()
        stale.write_bytes(b"left behind")
        with ImageStore(str(store)).hold() as held:
            held.prepare()
            assert held.has(content) and held.read(content.digest) == b"content"
        assert not stale.exists()


def test_free_space_is_measured_where_the_store_will_be(tmp_path):
    there = os.statvfs(tmp_path)
    free = (there.f_bavail if os.geteuid() else there.f_bfree) * there.f_frsize
    found = free_bytes(str(tmp_path / "not" / "there" / "yet"))
    assert abs(found - free) < 1 << 30


def test_root_can_use_blocks_reserved_for_root(tmp_path, monkeypatch):
    values = dict.fromkeys(["f_bsize", "f_blocks", "f_files", "f_ffree", "f_favail", "f_flag"], 0)
    answer = type("Answer", (), {**values, "f_frsize": 10, "f_bfree": 7, "f_bavail": 5})
    monkeypatch.setattr(os, "statvfs", lambda _path: answer)
    for user, free in ((0, 70), (1000, 50)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert free_bytes(str(tmp_path)) == free
