# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a store are unpacked, or fail with a sentence and leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Platform
from ansible_collections.lockstep.images.plugins.module_utils._operations import trees as module
from ansible_collections.lockstep.images.plugins.module_utils._operations.unpack import (
    BUNDLE,
    FULL,
    LAYERS,
    ROOTFS,
    UnpackOptions,
    UnpackPlanner,
)
from ansible_collections.lockstep.images.plugins.module_utils._rootfs import builders
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.layers import Limits
from ansible_collections.lockstep.images.plugins.module_utils._rootfs.state import TreeState
from ansible_collections.lockstep.images.plugins.module_utils._store.reader import StoreReader
from ansible_collections.lockstep.images.tests.support.images import TYPES, Layer, image, index
from ansible_collections.lockstep.images.tests.support.layout import blob_path
from ansible_collections.lockstep.images.tests.support.plans import execute
from ansible_collections.lockstep.images.tests.support.stores import put
from ansible_collections.lockstep.images.tests.support.tarballs import (
    archive,
    described,
    directory,
    entry,
    symlink,
)
from ansible_collections.lockstep.images.tests.support.trees import (
    GZIP,
    IS_ROOT,
    OPTIONS,
    TAR,
    source_of,
)

NAME, OTHER = "r.example/app:1", "r.example/app:2"
BASE = archive(directory("bin"), entry("bin/sh", b"shell", mode=0o755), symlink("sh", "bin/sh"))
APP = archive(entry("srv/app", b"one"), entry("bin/.wh.sh"))
NEXT = archive(entry("srv/app", b"two"))


def layer_of(tar, media_type=GZIP, diff_id=None):
    """Return a layer with this archive; ``diff_id`` is what the configuration states."""
    source = source_of(tar, media_type)
    with source.open() as file:
        blob = file.read()
    return Layer(blob, media_type, diff_id or str(Digest.of(tar)), str(source.blob.digest), None)


WEB = image([layer_of(BASE), layer_of(APP)], config={"config": {"Cmd": ["/srv/app"], "User": "7"}})
NEWER = image([layer_of(BASE), layer_of(NEXT, TAR)])


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    put(tmp_path / "store", WEB, NAME)
    put(tmp_path / "store", NEWER, OTHER)
    return tmp_path


def options_of(path, **how):
    form, dest = (
        how.pop("form", LAYERS),
        str(path / "dest") if "dest" not in how else how.pop("dest"),
    )
    values = {
        "platform": Platform.parse("linux/amd64"), "form": form, "dest": "" if form == LAYERS else dest,
        "tree": OPTIONS, "limits": Limits(1 << 20, 1000), "verify": "quick", "workers": 2,
    }  # fmt: skip
    return UnpackOptions(**{**values, **how})


@contextlib.contextmanager
def planned(path, *names, **how):
    """Plan to unpack images into ``path/trees``."""
    with StoreReader(str(path / "store")).hold() as store:
        with TreeState(str(path / "trees"), OPTIONS) as state:
            yield UnpackPlanner(store, state, options_of(path, **how)).plan(names or [NAME])


def unpack(path, *names, **how):
    with planned(path, *names, **how) as plan:
        return execute(plan)


def fail(path, *names, **how):
    """Return the error of a task that fails, and check that nothing is left."""
    failure = unpack(path, *names, **how).failure
    assert failure is not None
    assert os.listdir(path / "trees" / "layers") == []
    assert os.listdir(path / "trees" / "staging") == []
    return failure


def only(path, *layers, **config):
    """Put an image of these layers into the store."""
    put(path / "store", image(layers, **config), NAME)
    return path


def test_planning_writes_nothing_and_a_second_plan_is_empty(path):
    with planned(path) as plan:
        assert [one.summary()["action"] for one in plan.actions] == ["unpack_layer"] * 2 + [
            "unpack_image"
        ]
    assert not (path / "trees").exists()
    assert unpack(path).failure is None
    with planned(path) as plan:
        assert plan.actions == ()
        assert plan.before == plan.after == {NAME: "2 of 2 layers"}


def test_images_share_layers(path):
    unpack(path)
    with planned(path, OTHER) as plan:
        assert plan.before == {OTHER: "1 of 2 layers"}
        assert len(plan.content) == 1
    unpack(path, NAME, OTHER)
    assert len(os.listdir(path / "trees" / "layers")) == 3


def test_two_new_images_publish_a_shared_layer_once(path):
    outcome = unpack(path, NAME, OTHER)
    assert len(outcome.result()["actions"]) == 3 + 2
    assert len(os.listdir(path / "trees" / "layers")) == 3


def test_layer_has_its_own_files_and_marks(path):
    result = unpack(path).result()
    assert (result["stats"]["entries"], result["stats"]["bytes"]) == (5, 8)
    layers = unpack(path).result()["images"][0]["layers"]
    found = [described(type(path)(one["path"])) for one in layers]
    assert sorted(found[0]) == [".", "bin", "bin/sh", "sh"]
    assert found[1]["bin/sh"][3] == (0, 0)
    assert [(one["entries"], one["bytes"]) for one in layers] == [(3, 5), (2, 3)]


def test_rootfs_is_one_tree_and_is_exchanged_for_a_new_image(path):
    assert unpack(path, form=ROOTFS).failure is None
    assert sorted(described(path / "dest")) == [".", "bin", "sh", "srv", "srv/app"]
    with planned(path, form=ROOTFS) as plan:
        assert plan.actions == ()
    (path / "dest" / "srv" / "mine").write_text("lost")
    assert unpack(path, OTHER, form=ROOTFS).failure is None
    assert (path / "dest" / "srv" / "app").read_bytes() == b"two"
    assert not (path / "dest" / "srv" / "mine").exists()
    assert sorted(os.listdir(path)) == ["dest", "store", "trees"]


def test_bundle_has_a_configuration_and_is_private(path):
    assert unpack(path, form=BUNDLE).failure is None
    config = json.loads((path / "dest" / "config.json").read_text())
    assert (config["process"]["args"], config["process"]["user"]["uid"]) == (["/srv/app"], 7)
    assert (path / "dest" / "rootfs" / "srv" / "app").exists()
    assert (path / "dest").stat().st_mode & 0o777 == 0o700


def test_image_without_layers_has_no_files(path):
    put(path / "store", image([]), NAME)
    assert unpack(path).result()["images"][0]["chain_id"] is None
    assert unpack(path, form=ROOTFS).failure is None
    assert os.listdir(path / "dest") == []


def test_layer_that_occurs_twice_is_unpacked_twice(path):
    only(path, layer_of(BASE), layer_of(BASE))
    assert unpack(path).failure is None
    assert len(os.listdir(path / "trees" / "layers")) == 2
    assert unpack(path, form=ROOTFS).failure is None
    assert (path / "dest" / "bin" / "sh").exists()


@pytest.mark.parametrize("tar", [bytes(1024), b"", entry("a")])
def test_layer_may_be_empty_or_lack_its_end(path, tar):
    only(path, layer_of(tar, TAR))
    assert unpack(path).failure is None


def test_platform_is_chosen_from_an_index(path):
    arm = image([layer_of(NEXT)], "linux/arm64")
    put(path / "store", index([WEB, arm]), NAME)
    result = unpack(path, platform=Platform.parse("linux/arm64")).result()["images"][0]
    assert (result["platform"], len(result["layers"])) == ("linux/arm64", 1)
    assert fail_early(path, platform=Platform.parse("linux/s390x")).kind == "platform-not-found"


def fail_early(path, *names, **how):
    with planned(path, *names, **how) as plan:
        assert plan.actions == ()
        return next(iter(plan.failures.values()))


def test_image_of_another_platform_needs_no_option_but_gets_a_warning(path):
    put(path / "store", image([layer_of(NEXT)], "linux/s390x"), NAME)
    outcome = unpack(path, platform=None)
    assert outcome.failure is None
    assert "linux/s390x" in outcome.warnings()[0]
    assert fail_early(path).kind == "platform-not-found"


WRONG = str(Digest.of(b"wrong"))
BAD = {
    "diff id": ([layer_of(BASE), layer_of(APP, diff_id=WRONG)], "diff-id-mismatch", f"states {WRONG}"),
    "entry": ([layer_of(archive(entry("../x")))], "tree-refused", 'entry 1 "../x": its name leads out'),
    "sparse file": ([layer_of(archive(entry("a", kind="S")))], "tree-unsupported", "is a sparse file"),
    "too many bytes": ([layer_of(archive(entry("a", bytes(1 << 21))))], "too-large", "more than 1048576 bytes"),
    "too many entries": ([layer_of(archive(*[entry("a")] * 1001))], "too-large", "more than 1000 entries"),
    "no gzip": ([Layer(b"plain", GZIP, WRONG, str(Digest.of(b"plain")), None)], "tree-refused", "valid gzip stream"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_layer_fails_and_leaves_nothing(path, name):
    layers, kind, message = BAD[name]
    failure = fail(only(path, *layers))
    assert failure.kind == kind
    assert message in str(failure)
    assert str(failure).startswith(f"layer {layers[-1].digest}: ")
    outcome = unpack(path, form=ROOTFS)
    assert (outcome.failure.kind, outcome.result()["diff"]["after"]) == (kind, {})
    assert str(outcome.failure) == str(failure)
    assert sorted(os.listdir(path)) == ["store", "trees"]


def test_other_images_are_unpacked_although_one_fails(path):
    only(path, layer_of(BASE), layer_of(APP, diff_id=WRONG))
    outcome = unpack(path, NAME, OTHER)
    assert list(outcome.failures) == [NAME]
    assert len(os.listdir(path / "trees" / "layers")) == 2


def test_corrupt_blob_is_distinguished_from_a_bad_image(path):
    blob = blob_path(path / "store", WEB.layers[1].digest)
    data = bytearray(blob.read_bytes())
    data[-9] ^= 1
    os.chmod(blob, 0o644)
    blob.write_bytes(data)
    failure = fail(path)
    assert failure.kind == "store-corrupt"
    assert "store_verify" in failure.hint


@pytest.mark.parametrize(
    ("media_type", "message"),
    [
        (f"{GZIP}+encrypted", "that are not encrypted"),
        (f"{TAR}+lzma", "is not that of a tar archive"),
        ("application/vnd.in-toto+json", "is not that of a tar archive"),
    ],
)
def test_unknown_media_type_is_unsupported(path, media_type, message):
    digest = str(Digest.of(BASE))
    error = fail_early(only(path, Layer(BASE, media_type, digest, digest, None)))
    assert error.kind == "tree-unsupported"
    assert message in error.full_message()


def test_zstd_needs_a_library(path, monkeypatch):
    layer = Layer(b"zstd", TYPES["zstd"][0], WRONG, str(Digest.of(b"zstd")), None)
    monkeypatch.setattr(
        "ansible_collections.lockstep.images.plugins.module_utils._archive.zstd.is_available",
        lambda: False,
    )
    error = fail_early(only(path, layer))
    assert error.kind == "tree-unsupported"
    assert "zstandard" in error.hint


def test_zstd_is_unpacked(path):
    zstandard = pytest.importorskip("zstandard")
    blob = zstandard.ZstdCompressor().compress(BASE)
    only(path, Layer(blob, TYPES["zstd"][0], str(Digest.of(BASE)), str(Digest.of(blob)), None))
    assert unpack(path).failure is None
    broken = blob[:-4]
    only(path, Layer(broken, TYPES["zstd"][0], WRONG, str(Digest.of(broken)), None))
    assert unpack(path).failure.kind in ("tree-refused", "diff-id-mismatch")


@pytest.mark.parametrize("diff_ids", [[], [WRONG], [WRONG] * 3])
def test_layers_and_diff_ids_must_be_as_many(path, diff_ids):
    put(
        path / "store",
        image(WEB.layers, config={"rootfs": {"type": "layers", "diff_ids": diff_ids}}),
        NAME,
    )
    error = fail_early(path)
    assert error.kind == "invalid-manifest"
    assert f"2 layers, but its configuration states {len(diff_ids)}" in str(error)


def test_truncated_blob_is_not_in_the_store(path):
    blob = blob_path(path / "store", WEB.layers[1].digest)
    os.chmod(blob, 0o644)
    os.truncate(blob, blob.stat().st_size - 1)
    error = fail_early(path)
    assert (error.kind, WEB.layers[1].digest in str(error)) == ("not-in-store", True)
    assert not (path / "trees").exists()


def test_missing_parts_are_named(path):
    blob_path(path / "store", WEB.layers[0].digest).unlink()
    error = fail_early(path)
    assert error.kind == "not-in-store"
    assert WEB.layers[0].digest in str(error)
    assert fail_early(path, "r.example/none:1").kind == "not-in-store"


@pytest.mark.parametrize("what", ["file", "link", "full"])
def test_foreign_content_of_dest_is_not_replaced(path, what):
    dest = path / "dest"
    if what == "file":
        dest.write_text("mine")
    else:
        (path / "target").mkdir()
        (path / "target" / "mine").write_text("x")
        if what == "link":
            dest.symlink_to("target")
        else:
            (path / "target").rename(dest)
    before = described(path)
    with pytest.raises(Exception, match="dest: is not") as raised, planned(path, form=ROOTFS):
        pass
    assert raised.value.kind == "tree-access"
    assert described(path) == before


def test_empty_dest_is_replaced(path):
    (path / "dest").mkdir()
    assert unpack(path, form=ROOTFS).failure is None


def test_dest_with_a_mount_is_busy(path, monkeypatch):
    unpack(path, form=ROOTFS)
    monkeypatch.setattr(builders, "mounts_below", lambda where: [f"{where}/proc"])
    with pytest.raises(Exception, match="mounted at") as raised, planned(path, OTHER, form=ROOTFS):
        pass
    assert raised.value.kind == "tree-busy"


def test_full_verification_names_and_replaces_what_differs(path):
    result = unpack(path).result()["images"][0]
    with planned(path, verify=FULL) as plan:
        assert plan.actions == ()
    changed = os.path.join(result["layers"][1]["path"], "srv", "app")
    state = os.stat(changed)
    with open(changed, "wb") as file:
        file.write(b"evil"[:3])
    os.utime(changed, ns=(state.st_mtime_ns, state.st_mtime_ns))
    with planned(path, verify=FULL) as plan:
        assert [one.summary()["action"] for one in plan.actions] == ["unpack_layer", "unpack_image"]
        assert '"srv/app" has other content' in plan.warnings()[0]
    outcome = unpack(path, verify=FULL)
    assert outcome.result()["images"][0]["layers"][1]["status"] == "repaired"
    with open(changed, "rb") as file:
        assert file.read() == b"one"


# What vfat, NFS with root_squash, an overlay and a mount that became read-only answer, and the call that they refuse.
REFUSING = {
    "vfat without links": ("symlink", errno.EPERM, 'entry 3 "sh": Operation not permitted'),
    "program without owners": ("chown", errno.ENOSYS, "Function not implemented"),
    "squashed root": ("mkdir", errno.EACCES, "Permission denied"),
    "overlay without whiteouts": ("mknod", errno.EPERM, 'entry 2 "bin/.wh.sh": Operation not permitted'),
    "read-only": ("mkdir", errno.EROFS, "Read-only file system"),
    "quota": ("symlink", errno.EDQUOT, 'entry 3 "sh": Disk quota exceeded'),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSING)
def test_file_system_that_refuses_a_call_is_named_and_nothing_is_left(path, monkeypatch, name):
    call, number, message = REFUSING[name]
    with planned(path) as plan:
        plan.prepare()  # the directories of the state are there already

        def refuse(*_args, **_more):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, call, refuse)
        outcome = execute(plan)
    monkeypatch.undo()
    failure = outcome.failure
    assert failure.kind == ("no-space" if number == errno.EDQUOT else "tree-access")
    assert message in str(failure)
    assert ("such as vfat" in failure.hint) == (number in (errno.EPERM, errno.ENOSYS))
    assert os.listdir(path / "trees" / "layers") == os.listdir(path / "trees" / "staging") == []


def test_full_disk_ends_the_task_and_gives_space_back(path, monkeypatch):
    real = os.write

    def write(fd, data):
        if bytes(data) == b"one":
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    failure = fail(path)
    assert failure.kind == "no-space"
    assert 'entry 1 "srv/app"' in str(failure)


def test_killed_task_leaves_only_what_the_next_one_removes(path):
    class KilledError(BaseException):
        pass

    def kill(_self, _keys):
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TreeState, "publish", kill)
        patch.setattr(TreeState, "empty_staging", lambda _self: None)
        with pytest.raises(KilledError):
            unpack(path)
    assert os.listdir(path / "trees" / "layers") == []
    assert len(os.listdir(path / "trees" / "staging")) == 2
    assert unpack(path).failure is None
    assert os.listdir(path / "trees" / "staging") == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_task_that_is_killed_while_it_exchanges_trees_is_continued(path, moment):
    class KilledError(BaseException):
        pass

    def kill(*names):
        if moment == "after":
            exchange(*names)
        raise KilledError

    exchange = builders.exchange
    unpack(path, form=ROOTFS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "exchange", kill)
        with pytest.raises(KilledError):
            unpack(path, OTHER, form=ROOTFS)
    outcome = unpack(path, OTHER, form=ROOTFS)
    assert (outcome.failure, outcome.result()["changed"]) == (None, moment == "before")


def test_layer_that_another_task_published_is_used(path):
    with planned(path) as plan:
        unpack(path, OTHER)
        outcome = execute(plan)
    assert outcome.failure is None
    assert [one["action"] for one in outcome.result()["actions"]] == [
        "unpack_layer",
        "unpack_image",
    ]
    assert len(os.listdir(path / "trees" / "layers")) == 3


@pytest.mark.parametrize("form", [LAYERS, ROOTFS])
def test_layer_that_is_removed_again_does_not_count_as_a_change(path, form):
    only(path, layer_of(BASE), layer_of(APP, diff_id=WRONG))
    outcome = unpack(path, form=form)
    assert outcome.failure is not None
    assert (outcome.result()["changed"], outcome.result()["stats"]["layers"]) == (False, 0)


def test_layer_that_another_image_of_the_task_needs_is_a_change(path):
    only(path, layer_of(BASE), layer_of(APP, diff_id=WRONG))
    result = unpack(path, NAME, OTHER).result()
    assert [one["action"] for one in result["actions"]] == ["unpack_layer"] * 2 + ["unpack_image"]
    assert result["actions"][2]["name"] == OTHER


def test_image_that_cannot_be_moved_to_its_place_does_not_count_as_a_change(path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(1, "no")

    monkeypatch.setattr(builders, "exchange", refuse)
    assert unpack(path, OTHER, form=ROOTFS).result()["changed"] is True
    outcome = unpack(path, form=ROOTFS)
    assert (outcome.failure.kind, outcome.result()["changed"]) == ("tree-access", False)


@pytest.mark.parametrize(
    "options",
    [
        {"form": ROOTFS, "name": ["a", "b"]},
        {"parallel": 0},
        {"max_bytes": 0},
        {"max_entries": 0},
        {"owner": "keep", "user": 1},
    ],
)
def test_options_that_contradict_each_other_are_refused(options, monkeypatch):
    monkeypatch.setattr(os, "geteuid", functools.partial(int, options.pop("user", 0)))
    params = {
        "name": ["a"], "platform": None, "form": LAYERS, "dest": "/x", "owner": None, "setuid": "keep",
        "devices": "skip", "xattrs": ["user.*"], "max_bytes": 1, "max_entries": 1, "verify": "quick", "parallel": 1,
    }  # fmt: skip
    with pytest.raises(Exception, match=r"exactly one|at least 1|only root") as raised:
        UnpackOptions.of({**params, **options})
    assert raised.value.kind == "invalid-input"


def test_state_directory_of_a_user_is_in_the_home_directory(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/home/x/data")
    expected = "/var/lib/lockstep/trees" if IS_ROOT else "/home/x/data/lockstep/trees"
    assert module.path_of_trees(None) == expected
    assert module.path_of_trees("/srv/trees") == "/srv/trees"
