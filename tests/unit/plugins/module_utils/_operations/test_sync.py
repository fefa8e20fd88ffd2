# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sync: whatever was in a store, it ends as all others of the same lock."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._oci.errors import (
    TruncatedError,
)
from ansible_collections.lockstep.images.plugins.module_utils._oci.store import ImageStore
from ansible_collections.lockstep.images.plugins.module_utils._operations.sync import (
    FULL,
    QUICK,
)
from ansible_collections.lockstep.images.tests.support.fakes import Cut, FakeSources
from ansible_collections.lockstep.images.tests.support.images import (
    demo_image,
    image,
    layer,
)
from ansible_collections.lockstep.images.tests.support.layout import (
    blob_path,
    fingerprint,
    tree,
)
from ansible_collections.lockstep.images.tests.support.stores import (
    AMD64,
    ARM64,
    assert_valid_store,
    blobs,
    digests,
    leftovers,
    pull,
    put,
    rewrite,
    statuses,
    whole_tree,
)
from ansible_collections.lockstep.images.tests.support.syncing import (
    BOTH,
    checked,
    lock_of,
    opened,
    sync,
)

APP, TOOL = "registry.example/app:1", "other.example:5000/tool:1"
EXTRA, PINNED = "registry.example/extra:1", "registry.example/pinned"
FAMILY = demo_image("app", "1", layers=2, size=2500)
MEMBER = FAMILY.for_platform(AMD64)
OLD = demo_image("app", "0", layers=2, size=2500)
TOOL_IMAGE = image([layer({"tool": b"t" * 500})])
EXTRA_IMAGE = image([layer({"extra": b"e" * 700})])
PIN = f"{PINNED}@{TOOL_IMAGE.digest}"
LOCKED = (APP, TOOL, PIN)
PARTS = {
    "index": FAMILY.digest,
    "manifest": MEMBER.digest,
    "config": MEMBER.config_digest,
    "layer": MEMBER.layers[1].digest,
    "only manifest": TOOL_IMAGE.digest,
}


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "store"


@pytest.fixture(name="sources")
def fixture_sources():
    sources = FakeSources()
    sources.publish(APP, OLD)
    sources.publish(APP, FAMILY)
    sources.publish(TOOL, TOOL_IMAGE)
    sources[PINNED].publish(TOOL_IMAGE)
    sources.publish(EXTRA, EXTRA_IMAGE)
    return sources


@pytest.fixture(name="lock")
def fixture_lock(sources):
    return lock_of_all(sources)


def lock_of_all(sources, **how):
    """The tool has one platform, and the pin is the same content."""
    lock = lock_of(sources, APP, platforms=BOTH, **how)
    one = lock_of(sources, TOOL, PIN, platforms=[AMD64], **how)
    images = tuple(sorted((*lock.images, *one.images), key=lambda image: image.name))
    return type(lock)(images, lock.place, {**lock.manifests, **one.manifests})


@pytest.fixture(name="wanted")
def fixture_wanted(tmp_path, sources, lock):
    """The files that every store of the lock has."""
    sync(tmp_path / "wanted", lock, sources)
    assert_valid_store(tmp_path / "wanted")
    assert blobs(tmp_path / "wanted") == digests(FAMILY, TOOL_IMAGE)
    sources.forget()
    return tree(tmp_path / "wanted")


def asked(sources):
    """What was read of all repositories, in order."""
    return [what for _verb, what in sources.reads]


def told(result):
    """All that check mode tells as the real run does."""
    return {key: value for key, value in result.items() if key != "stats"}


# -- whatever was there


def had_nothing(path, sources):
    """No store."""


def had_an_empty_store(path, sources):
    with ImageStore(str(path)).hold() as store:
        store.prepare()


def had_an_empty_directory(path, sources):
    path.mkdir()


def had_all(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=BOTH)
    pull(ImageStore(str(path)), sources, TOOL, PIN, platforms=[AMD64])


def had_some_images(path, sources):
    pull(ImageStore(str(path)), sources, TOOL)


def had_one_platform(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=[ARM64])


def had_all_platforms(path, sources):
    pull(ImageStore(str(path)), sources, APP, platforms=None)


def had_some_blobs(path, sources):
    had_an_empty_store(path, sources)
    for digest in (MEMBER.digest, MEMBER.layers[0].digest, TOOL_IMAGE.config_digest):
        blob_path(path, digest).write_bytes(sources[APP[:-2]].content.get(digest, b""))
    blob_path(path, TOOL_IMAGE.config_digest).write_bytes(TOOL_IMAGE.config)


def had_staged_parts(path, sources):
    repository, lost = sources[APP[:-2]], MEMBER.layers[0].digest
    repository.script("blob", lost, Cut(1500), TruncatedError("x"))
    patience, repository.patience = repository.patience, 0
    with pytest.raises(TruncatedError):
        pull(ImageStore(str(path)), sources, APP)
    repository.patience = patience
    assert leftovers(path) != []


def had_more_images(path, sources):
    had_all(path, sources)
    pull(ImageStore(str(path)), sources, EXTRA, f"{EXTRA[:-2]}@{EXTRA_IMAGE.digest}")


def had_only_others(path, sources):
    pull(ImageStore(str(path)), sources, EXTRA)


def had_a_moved_tag(path, sources):
    had_all(path, sources)
    sources[APP[:-2]].tagged["1"] = OLD.digest
    pull(ImageStore(str(path)), sources, APP, platforms=BOTH)
    sources[APP[:-2]].tagged["1"] = FAMILY.digest


def had_names_crosswise(path, sources):
    put(path, TOOL_IMAGE, APP)
    put(path, FAMILY, TOOL)


def had_entries_without_a_name(path, sources):
    had_all(path, sources)
    put(path, EXTRA_IMAGE)
    put(path, TOOL_IMAGE)


def had_a_name_of_another_tool(path, sources):
    put(path, EXTRA_IMAGE, "latest")
    put(path, FAMILY, "app")


def had_foreign_annotations(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: [one["annotations"].update(x="y") for one in entries])


def had_a_foreign_field_in_an_entry(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: [one.update(platform={"os": "linux"}) for one in entries])


def had_foreign_keys(path, sources):
    had_all(path, sources)
    index = json.loads((path / "index.json").read_bytes())
    (path / "index.json").write_text(json.dumps({**index, "annotations": {"a": "b"}, "x-y": 1}))


def had_duplicates(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: entries.extend(entries[:]))


def had_a_stale_duplicate(path, sources):
    had_all(path, sources)
    old = {**OLD.descriptor(), "annotations": {"org.opencontainers.image.ref.name": APP}}
    rewrite(path, lambda entries: entries.insert(0, old))


def had_other_formatting(path, sources):
    had_all(path, sources)
    rewrite(path, lambda entries: entries.reverse())


def had_what_skopeo_writes(path, sources):
    put(path, TOOL_IMAGE, TOOL)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')


def had_another_layout_file_alone(path, sources):
    had_all(path, sources)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.1.0", "x": 1}')


def had_orphans(path, sources):
    had_all(path, sources)
    put(path, EXTRA_IMAGE)
    rewrite(path, lambda entries: entries.pop())
    (path / "blobs" / "sha512").mkdir()
    (path / "blobs" / "sha512" / ("a" * 128)).write_bytes(b"")
    blob_path(path, f"sha256:{'b' * 64}").symlink_to("/nonexistent")
    blob_path(path, f"sha256:{'c' * 64}").mkdir()
    (blob_path(path, f"sha256:{'c' * 64}") / "file").write_bytes(b"x")


STATES = [value for name, value in list(globals().items()) if name.startswith("had_")]
every_state = pytest.mark.parametrize("had", STATES, ids=lambda one: one.__name__)


@every_state
def test_whatever_a_store_had_it_ends_the_same(path, sources, lock, wanted, had):
    had(path, sources)
    before = whole_tree(path)
    for mode in (QUICK, FULL):
        expected = checked(path, lock, sources, mode=mode)
        assert whole_tree(path) == before, "planning writes nothing"
    size = sum(place.lstat().st_size for place in path.glob("blobs/sha*/*"))
    lost = {place.name for place in path.glob("blobs/sha*/*")}
    assert expected["changed"] is (had is not had_all)
    assert bool(expected["differences"]) is expected["changed"]

    real = sync(path, lock, sources)
    assert told(real) == told(expected)
    assert tree(path) == wanted
    assert real["fingerprint"] == fingerprint(path) == opened(path).fingerprint()
    assert leftovers(path) == []
    assert_valid_store(path)
    kept = lost & {place.name for place in path.glob("blobs/sha*/*")}
    left = sum(place.stat().st_size for place in path.glob("blobs/sha*/*") if place.name in kept)
    assert real["bytes_freed"] == size - left

    sources.forget()
    done = whole_tree(path)
    for mode in (QUICK, FULL):
        again = sync(path, lock, sources, mode=mode)
        assert (again["changed"], again["actions"], again["differences"]) == (False, [], [])
        assert (again["dropped"], again["bytes_freed"]) == ([], 0)
        assert again["fingerprint"] == real["fingerprint"]
        assert set(statuses(again)) == {"up_to_date"}
    assert asked(sources) == []
    assert whole_tree(path) == done
