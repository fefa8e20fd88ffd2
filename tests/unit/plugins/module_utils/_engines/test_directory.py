# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory from which k3s and RKE2 import images: what its files are, and when they are left alone."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import json
import os
import tarfile

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._engines import errors
from ansible_collections.lockstep.images.plugins.module_utils._engines.directory import (
    DirectoryEngine,
    archive_name,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.engine import (
    EngineFacts,
    KnownImage,
    LoadOptions,
)
from ansible_collections.lockstep.images.plugins.module_utils._engines.session import (
    Session,
    plan_load,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import (
    CorruptStoreError,
    TruncatedError,
)
from ansible_collections.lockstep.images.tests.support.contents import content_of, opener
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    index,
    layer,
)

BASE = layer({"base": b"b" * 3000})
APP, NEW = image([BASE, layer({"top": b"t" * 100})]), image([BASE, layer({"top": b"n" * 100})])
FAMILY = demo_image("family", "1", size=300)
NAME = "registry.example:5000/shop/app:1"
FILE = "registry.example=5000+shop+app=1.tar"
CONTENT = content_of(APP, NAME)
OPEN = opener(APP, NEW, FAMILY)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


@pytest.fixture(name="engine")
def fixture_engine(path):
    return DirectoryEngine(str(path))


def plan(engine, content=CONTENT, **options):
    engine.images()
    return plan_load(engine, content, LoadOptions(**options), set())


def load(path, *contents, open_blob=OPEN, **options):
    """Load as a task does, and return the loads as they ended."""
    engine = DirectoryEngine(str(path))
    loads = [plan(engine, content, **options) for content in contents or (CONTENT,)]
    due = [one for one in loads if one.status != "present"]
    size = engine.size_of(due)
    session = Session(engine, open_blob, LoadOptions(**options))
    problems = list(filter(None, session.run(due)))
    if problems:
        raise problems[0]
    assert engine.stats["bytes_sent"] == size
    return [session.ended.get(one.name, one) for one in loads]


def members(path):
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}


def entries(path):
    found = json.loads(members(path)["index.json"])["manifests"]
    return {one["annotations"]["io.containerd.image.name"]: one["digest"] for one in found}


def look(path):
    return {
        one.name: (one.lstat().st_ino, one.lstat().st_mtime_ns, one.lstat().st_size)
        for one in path.iterdir()
    }


def test_archive_is_a_whole_layout_with_both_names(path):
    (ended,) = load(path)
    assert (ended.status, ended.finding.id, ended.finding.before) == ("loaded", APP.digest, None)
    assert [one.name for one in path.iterdir()] == [FILE]
    digests = [APP.digest, APP.config_digest, *(one.digest for one in APP.layers)]
    names = ["blobs/" + digest.replace(":", "/") for digest in digests]
    assert set(members(path / FILE)) == {"index.json", "oci-layout", *names}
    by_digest = f"registry.example:5000/shop/app@{APP.digest}"
    assert entries(path / FILE) == {NAME: APP.digest, by_digest: APP.digest}
    assert (path / FILE).stat().st_mode & 0o7777 == 0o644


def test_archive_has_the_same_bytes_in_every_directory(path, tmp_path):
    load(path)
    (tmp_path / "other").mkdir()
    load(tmp_path / "other")
    assert (path / FILE).read_bytes() == (tmp_path / "other" / FILE).read_bytes()


def test_right_archive_is_not_touched(path):
    load(path)
    before = look(path)
    (ended,) = load(path)
    assert (ended.status, ended.blobs) == ("present", ())
    assert look(path) == before


@pytest.mark.parametrize(
    ("place", "status"),
    [(0, "loaded"), (700, "moved"), (4000, "repaired"), (-1, "repaired")],  # 700 is in the digest
)
def test_changed_archive_is_put_back(path, place, status):
    load(path)
    right = (path / FILE).read_bytes()
    wrong = bytearray(right)
    wrong[place] ^= 1
    (path / FILE).write_bytes(wrong)
    (ended,) = load(path)
    assert ended.status == status
    assert (path / FILE).read_bytes() == right


@pytest.mark.parametrize("size", [0, 1, 511, 4096])
def test_truncated_archive_is_put_back(path, size):
    load(path)
    right = (path / FILE).read_bytes()
    (path / FILE).write_bytes(right[:size])
    (ended,) = load(path)
    assert ended.status == ("repaired" if size == 4096 else "loaded")
    assert (path / FILE).read_bytes() == right


def test_moved_name_replaces_its_file(path):
    load(path)
    (ended,) = load(path, content_of(NEW, NAME))
    assert (ended.status, ended.finding.before) == ("moved", APP.digest)
    assert entries(path / FILE)[NAME] == NEW.digest


def test_moved_name_can_be_kept(path):
    load(path)
    before = look(path)
    assert plan(DirectoryEngine(str(path)), content_of(NEW, NAME), existing="keep").warnings
    with pytest.raises(errors.NameTakenError):
        plan(DirectoryEngine(str(path)), content_of(NEW, NAME), existing="fail")
    assert look(path) == before


def test_every_archive_is_complete(path):
    other = "registry.example:5000/shop/new:1"
    loads = load(path, CONTENT, content_of(NEW, other))
    assert [len(one.blobs) for one in loads] == [2, 2]
    digest = "blobs/" + BASE.digest.replace(":", "/")
    assert all(digest in members(one) for one in path.iterdir())


def test_force_writes_again(path):
    load(path)
    before = look(path)
    assert load(path, force=True)[0].status == "loaded"
    assert look(path) != before


def test_index_of_other_platforms_is_left_out(path, engine):
    content = content_of(FAMILY, "docker.io/library/family:1")
    child = FAMILY.for_platform("linux/amd64").digest
    (ended,) = load(path, content)
    assert ended.finding.id == child
    assert entries(path / "docker.io+library+family=1.tar") == {
        "docker.io/library/family:1": child,
        f"docker.io/library/family@{child}": child,
    }
    names = members(path / "docker.io+library+family=1.tar")
    assert "blobs/" + FAMILY.digest.replace(":", "/") not in names
    assert not engine.keeps_digest(content.root.digest, child)
    assert load(path, content)[0].status == "present"


def test_index_of_one_platform_is_kept(path, engine):
    family = index([APP])
    content = content_of(family, NAME)
    (ended,) = load(path, content, open_blob=opener(family))
    assert ended.finding.id == family.digest
    assert entries(path / FILE)[NAME] == family.digest
    assert engine.keeps_digest(content.root.digest, family.digest)


def held_as(engine, content, **changes):
    known = KnownImage(content.config_blob.digest, content.alone.root.digest)._replace(**changes)
    root = content.root.digest
    return engine.held_as(content.reference, root, known, LoadOptions())


@pytest.mark.parametrize(
    "item", [APP, FAMILY, index([APP]), index([APP], attestations=True)], ids=lambda one: one.digest
)
def test_archive_proves_its_image_if_the_digests_are_known(path, engine, item):
    content = content_of(item, NAME)
    assert held_as(engine, content) is None
    (ended,) = load(path, content, open_blob=opener(item))
    assert held_as(engine, content) == ended.finding.id
    other = content_of(NEW, NAME)
    assert held_as(engine, other) is None
    assert held_as(engine, content, config=other.config_blob.digest) is None
    assert held_as(engine, content, alone=None) is None
    assert held_as(engine, content_of(item, NAME.replace(":1", ":2"))) is None


@pytest.mark.parametrize("offset", [700, 2 * 512, 5 * 512 + 3, -3000, -1])
def test_archive_with_one_wrong_byte_proves_nothing(path, engine, offset):
    load(path)
    data = bytearray((path / FILE).read_bytes())
    data[offset] ^= 1
    (path / FILE).write_bytes(data)
    assert held_as(engine, CONTENT) is None
    (path / FILE).write_bytes(data[:600])
    assert held_as(engine, CONTENT) is None


def test_index_with_an_attestation_is_left_out(path):
    family = index([APP], attestations=True)
    load(path, content_of(family, NAME), open_blob=opener(family))
    assert entries(path / FILE)[NAME] == APP.digest


def test_name_by_digest_is_written(path):
    name = f"docker.io/library/app@{APP.digest}"
    load(path, content_of(APP, name))
    assert entries(path / f"docker.io+library+app@{APP.digest.replace(':', '=')}.tar") == {
        name: APP.digest
    }


def test_digest_of_an_index_that_is_left_out_is_refused(engine):
    name = f"docker.io/library/family@{FAMILY.digest}"
    with pytest.raises(errors.UnsupportedByEngineError, match="cannot keep the digest"):
        plan(engine, content_of(FAMILY, name))


def test_images_are_those_of_archives_of_this_collection(path, engine):
    load(path)
    (path / "airgap.tar").write_bytes(b"\0" * 4096)
    (path / "list.txt").write_text("docker.io/library/debian:12\n")
    (path / "link.tar").symlink_to(path / FILE)
    (held,) = engine.images(details=True)
    assert (held.id, held.names) == (APP.digest, (NAME,))
    assert held.digests == (f"registry.example:5000/shop/app@{APP.digest}",)
    assert held.size == (path / FILE).stat().st_size
    assert engine.facts() == EngineFacts("directory", store="directory", root=str(path))


def test_foreign_files_are_left_alone(path):
    foreign = ("airgap.tar", "rke2-images.v1.30+rke2r1.tar.part", "a+b.tar.part", ".cache.json")
    for name in foreign:
        (path / name).write_text(name)
    before = look(path)
    load(path)
    after = look(path)
    assert {name: after[name] for name in foreign} == before


def test_unfinished_archive_of_a_killed_task_is_removed(path):
    other = path / "docker.io+library+gone=1.tar.part"
    other.write_bytes(b"half")
    (path / f"{FILE}.part").write_bytes(b"half" * 99999)
    load(path)
    assert [one.name for one in path.iterdir()] == [FILE]


def test_unfinished_archive_of_a_running_task_is_left_alone(path):
    part = path / f"{FILE}.part"
    with open(part, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(errors.EngineError, match="another task writes this file"):
            load(path)
        assert part.exists()
    assert not (path / FILE).exists()


@pytest.mark.parametrize("name", [FILE, f"{FILE}.part"])
def test_symbolic_link_is_not_followed(path, tmp_path, name):
    target = tmp_path / "target"
    target.write_text("precious")
    (path / name).symlink_to(target)
    with pytest.raises(errors.EngineError, match="is a symbolic link"):
        load(path)
    assert target.read_text() == "precious"
    assert (path / name).is_symlink()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_other_kinds_of_files_are_left_alone(path, engine, make):
    make(path / FILE)
    with pytest.raises(errors.EngineError, match="is not a regular file"):
        plan(engine)


def test_watcher_never_sees_a_part_of_an_archive(path):
    def open_blob(blob):
        seen.append(sorted(one.name for one in path.iterdir()))
        return OPEN(blob)

    seen = []
    load(path, open_blob=open_blob)
    load(path, content_of(NEW, NAME), open_blob=open_blob)
    assert seen == [[f"{FILE}.part"]] * 2 + [[FILE, f"{FILE}.part"]] * 2


def wrong(blob):
    return io.BytesIO(b"x" * blob.size)


def short(blob):
    return io.BytesIO(OPEN(blob).read()[:-1])


@pytest.mark.parametrize(
    ("open_blob", "kind"),
    [(wrong, CorruptStoreError), (short, TruncatedError), (opener(), CorruptStoreError)],
)
def test_wrong_bytes_of_the_store_reach_no_archive(path, open_blob, kind):
    with pytest.raises(kind):
        load(path, open_blob=open_blob)
    assert list(path.iterdir()) == []
    load(path)
    before = look(path)
    with pytest.raises(kind):
        load(path, content_of(NEW, NAME), open_blob=open_blob)
    assert look(path) == before


def test_missing_directory_is_one_sentence(tmp_path):
    with pytest.raises(errors.EngineNotFoundError, match="gone does not exist"):
        plan(DirectoryEngine(str(tmp_path / "gone")))


def test_file_in_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.EngineNotFoundError, match="file is not a directory"):
        plan(DirectoryEngine(str(tmp_path / "file")))


@pytest.mark.parametrize("kind", ["k3s", "rke2"])
def test_directory_of_an_installed_k3s_is_created(tmp_path, kind):
    home = tmp_path / "rancher" / kind
    home.mkdir(parents=True)
    images = home / "agent" / "images"
    assert plan(DirectoryEngine(str(images))).status == "loaded"
    assert not images.exists()
    load(images)
    assert [one.name for one in images.iterdir()] == [FILE]
    assert (home / "agent").stat().st_mode & 0o777 == 0o700


def test_full_disk_is_found_before_anything_is_written(path, engine):
    engine.require_space(1)
    with pytest.raises(errors.EngineNoSpaceError, match="needed") as caught:
        engine.require_space(2**62)
    assert "docker" not in caught.value.hint


def test_configuration_of_another_number_of_layers_is_refused(engine):
    contradicting = dataclasses.replace(CONTENT, diff_ids=CONTENT.diff_ids[:1])
    with pytest.raises(errors.UnsupportedByEngineError, match="lists 1 layers, its manifest 2"):
        plan(engine, contradicting)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io/library/debian:12", "docker.io+library+debian=12.tar"),
        ("localhost:5000/a__b/c-d.e:V_1.x-y", "localhost=5000+a__b+c-d.e=V_1.x-y.tar"),
        ("[::1]:5000/a:1", "[==1]=5000+a=1.tar"),
    ],
)
def test_file_is_named_readably(name, expected):
    assert archive_name(name) == expected


def test_long_names_stay_apart():
    names = [f"registry.example/{'a' * 250}:{tag}" for tag in ("1", "2", "x" * 128)]
    files = {archive_name(name) for name in names}
    assert len(files) == 3
    assert all(len(f"{file}.part") <= 255 for file in files)


def test_archive_of_a_long_name_is_found_again(path):
    content = content_of(APP, f"registry.example/{'a' * 250}:1")
    assert load(path, content)[0].status == "loaded"
    assert load(path, content)[0].status == "present"
