# Copyright (c) 2026 lockstep.images contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of a lock is checked before it is used."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.lockstep.images.plugins.module_utils._image.errors import LockError
from ansible_collections.lockstep.images.plugins.module_utils._image.lock import (
    Lock,
    LockedImage,
    LockedPlatform,
)
from ansible_collections.lockstep.images.plugins.module_utils._image.names import Digest, Reference
from ansible_collections.lockstep.images.tests.support.images import demo_image
from ansible_collections.lockstep.images.tests.support.tables import assert_tells

INDEX = "application/vnd.oci.image.index.v1+json"
ONE, TWO, THREE = (f"sha256:{letter * 64}" for letter in "abc")
LONG = f"sha512:{'d' * 128}"
NAME, OTHER = "registry.example/app:1", "docker.io/library/debian:12"
GONE = "gone"  # stands for no key at all, and is the same in every process


def platform(**changes):
    return with_changes({"manifest": TWO, "config": THREE, "size": 5}, changes)


def entry(name=NAME, **changes):
    there = {"name": name, "digest": ONE, "media_type": INDEX}
    return with_changes({**there, "platforms": {"linux/amd64": platform()}}, changes)


def with_changes(value, changes):
    return {key: one for key, one in {**value, **changes}.items() if one is not GONE}


def value(*entries, **changes):
    return with_changes({"lockfile_version": 1, "images": list(entries)}, changes)


def in_file(*entries, **changes):
    """Return a lock as the lookup returns it."""
    return value(*(dict(one, line=3 + 9 * n) for n, one in enumerate(entries)), **changes)


def error_of(given):
    before = copy.deepcopy(given)
    with pytest.raises(LockError) as caught:
        Lock.parse(given)
    assert_tells(caught.value, "invalid-lock")
    assert len(str(caught.value)) < 600
    assert given == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, "it has no images"),
        ([], "it has no images"),
        ("text", "it has no images"),
        ({}, "it has no images"),
        ({"lockfile_version": 1}, "it has no images"),
        (value(images=None), "images is not a list"),
        (value(images={}), "images is not a list"),
        (value(images="app:1"), "images is not a list"),
        (value(lockfile_version=GONE), "lockfile_version is None, this release reads 1"),
        (value(lockfile_version=0), "lockfile_version is 0, this release reads 1"),
        (value(lockfile_version=2), "lockfile_version is 2, this release reads 1"),
        (value(lockfile_version=1.0), "lockfile_version is 1.0, this release reads 1"),
        (value(lockfile_version=True), "lockfile_version is True, this release reads 1"),
        (value(lockfile_version="1"), "lockfile_version is '1', this release reads 1"),
        (value(lockfile_version=[1] * 5000), "lockfile_version is [1, 1,"),
        (value(imagse=[]), "has the unknown key imagse"),
        (value(**{"a\nb" * 900: 1}), "has the unknown key a ba b"),
        (value(manifests=[]), None),
        (value(manifests=["a"]), "manifests is not a mapping"),
        (value(manifests={"a": "b"}), "manifests: digest 'a' is not of the form"),
        (value(manifests={ONE: "b"}), f"manifests: {ONE} does not match its bytes"),
        (value(manifests={ONE: None}), f"manifests: {ONE} does not match its bytes"),
        (value(manifests={ONE: "\ud800"}), f"manifests: {ONE} does not match its bytes"),
    ],
    ids=lambda one: str(one)[:60],
)
def test_invalid_lock_is_an_error_that_names_the_file(there, said):
    """I020"""
    if said is None:
        assert Lock.parse(there).images == ()
        return
    if isinstance(there, dict):
        assert error_of({**there, "file": "a/b.yml"}).startswith("a/b.yml: ")
    assert said in error_of(there)
    assert error_of(there).startswith("lock: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # keys
        ({"name": GONE}, "name is missing"),
        ({"digest": GONE}, "digest is missing"),
        ({"media_type": GONE}, "media_type is missing"),
        ({"platforms": GONE}, "platforms is missing"),
        ({"tag": "1"}, "has the unknown key tag"),
        ({"t\x1b[2J" * 400: "1"}, "has the unknown key t [2Jt"),
        # name
        ({"name": None}, "None: name: reference is empty"),
        ({"name": 5}, "5: name: reference is empty"),
        ({"name": ["a"] * 5000}, "name: reference is empty"),
        ({"name": "a b"}, "name: reference 'a b': only printable"),
        ({"name": "A" * 100_000}, "must be lower case"),
        ({"name": "app:1"}, "name is incomplete, write docker.io/library/app:1"),
        ({"name": "registry.example/app"}, "write registry.example/app:latest"),
        ({"name": f"{NAME}@{ONE}"}, f"name is incomplete, write {NAME}"),
        ({"name": f"registry.example/app@{TWO}"}, "name has another digest"),
        # digest
        ({"digest": None}, "digest: digest None is not of the form algorithm:hex"),
        ({"digest": 12}, "digest: digest 12 is not of the form"),
        ({"digest": "a" * 64}, "is not of the form algorithm:hex"),
        ({"digest": f"md5:{'a' * 32}"}, "the algorithm is unsupported, use sha256 or sha512"),
        ({"digest": f"sha384:{'a' * 96}"}, "the algorithm is unsupported, use sha256 or sha512"),
        ({"digest": f"SHA256:{'a' * 64}"}, "the algorithm is unsupported"),
        ({"digest": f"sha256:{'A' * 64}"}, "sha256 needs 64 lower-case hexadecimal digits"),
        ({"digest": f"sha256:{'a' * 63}"}, "sha256 needs 64 lower-case hexadecimal digits"),
        ({"digest": f"sha256:{'a' * 64}\n"}, "sha256 needs 64 lower-case hexadecimal digits"),
        ({"digest": f"sha512:{'a' * 64}"}, "sha512 needs 128 lower-case hexadecimal digits"),
        ({"digest": "sha256:" + "a" * 500_000}, "sha256 needs 64"),
        # media type
        ({"media_type": None}, "media_type is not a media type"),
        ({"media_type": ""}, "media_type is not a media type"),
        ({"media_type": "index"}, "media_type is not a media type"),
        ({"media_type": "a/b\n    digest: c"}, "media_type is not a media type"),
        ({"media_type": "a/b: c # d"}, "media_type is not a media type"),
        # platforms
        ({"platforms": None}, "platforms is not a mapping"),
        ({"platforms": {}}, "platforms is not a mapping"),
        ({"platforms": ["linux/amd64"]}, "platforms is not a mapping"),
        ({"platforms": {5: platform()}}, "platforms: 5: platform 5 is not of the form"),
        ({"platforms": {"a/b/c/d": platform()}}, "platform 'a/b/c/d' is not of the form"),
        ({"platforms": {"p" * 9000: platform()}}, "is not a known operating system"),
        ({"platforms": {"ALL": platform()}}, "is not a known operating system"),
        ({"platforms": {"linux/x86_64": platform()}}, "not in normal form, write linux/a"),
        ({"platforms": {"Linux/amd64": platform()}}, "not in normal form, write linux/a"),
        ({"platforms": {"linux/arm64/v8": platform()}}, "normal form, write linux/arm64"),
        ({"platforms": {"linux/amd64": None}}, "platforms: linux/amd64: is not a mapping"),
        ({"platforms": {"linux/amd64": []}}, "platforms: linux/amd64: is not a mapping"),
    ],
    ids=lambda one: str(one)[:60],
)
def test_an_entry_that_is_wrong_is_named_with_its_line(changes, said):
    """I020"""
    bad = entry(**changes)
    told = error_of(in_file(entry(OTHER), bad, file="a/b.yml"))
    assert told.startswith("a/b.yml, line 12: ")
    assert said in told
    assert error_of(value(entry(OTHER), bad)).startswith("lock: images[1]: ")
    if isinstance(bad.get("name"), str) and bad.keys() == entry().keys():
        assert f"line 12: {bad['name'][:100]}" in told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"manifest": GONE}, "manifest is missing"),
        ({"config": GONE}, "config is missing"),
        ({"size": GONE}, "size is missing"),
        ({"digest": ONE}, "has the unknown key digest"),
        ({"manifest": None}, "manifest: digest None is not of the form"),
        ({"manifest": TWO.upper()}, "manifest: digest"),
        ({"config": "sha256:12"}, "config: digest 'sha256:12': sha256 needs 64"),
        ({"config": False}, "config: digest False is not of the form"),
        ({"size": None}, "size is not a number of bytes"),
        ({"size": "5"}, "size is not a number of bytes"),
        ({"size": 5.0}, "size is not a number of bytes"),
        ({"size": float("nan")}, "size is not a number of bytes"),
        ({"size": True}, "size is not a number of bytes"),
        ({"size": -1}, "size is not a number of bytes"),
        ({"size": 2**63}, "size is not a number of bytes"),
        ({"size": 2**5000}, "size is not a number of bytes"),
    ],
    ids=lambda one: str(one)[:60],
)
def test_a_platform_that_is_wrong_is_named_with_its_image(changes, said):
    """I020"""
    bad = entry(platforms={"linux/arm64": platform(), "linux/amd64": platform(**changes)})
    told = error_of(in_file(bad, file="a/b.yml"))
    assert told.startswith(f"a/b.yml, line 3: {NAME}: platforms: linux/amd64: ")
    assert said in told


@pytest.mark.parametrize("bad", [None, 5, "app:1", ["app:1"]], ids=repr)
def test_entry_that_is_not_a_mapping_is_reported_with_its_number(bad):
    assert error_of(value(entry(), bad)) == "lock: images[1]: is not a mapping"


@pytest.mark.parametrize(
    ("second", "how"),
    [
        (entry(), "twice"),
        (entry(platforms={"linux/arm64": platform()}), "twice"),
        (entry(digest=TWO), "with two digests"),
    ],
    ids=["the same", "other platforms", "another digest"],
)
def test_a_name_is_listed_once(second, how):
    """I020"""
    told = error_of(in_file(entry(), entry(OTHER), second, file="a/b.yml"))
    assert told == f"a/b.yml, line 21: {NAME} is listed {how}, first at line 3"
    told = error_of(value(entry(), entry(OTHER), second))
    assert told == f"lock: images[2]: {NAME} is listed {how}, first at images[0]"


def test_valid_lock_is_read_and_sorted():
    """I020: digests of another algorithm are accepted."""
    pinned = f"registry.example/app@{LONG}"
    there = {
        "linux/amd64": platform(manifest=LONG),
        "all": platform(config=None, size=0),
        "windows(10.0.17763.1)/amd64": platform(size=2**63 - 1),
    }
    lock = Lock.parse(in_file(entry(pinned, digest=LONG, platforms=there), entry(OTHER)))
    assert [one.name for one in lock.images] == [OTHER, pinned]
    plain = Lock.parse(value(entry(OTHER), entry(pinned, digest=LONG, platforms=there)))
    first, second = (one._replace(place="") for one in lock.images)
    assert [first, second] == [one._replace(place="") for one in plain.images]
    assert first == LockedImage(
        OTHER,
        Digest.parse(ONE),
        INDEX,
        {"linux/amd64": LockedPlatform(Digest.parse(TWO), Digest.parse(THREE), 5)},
    )
    assert first.size == 5
    assert str(second.platforms["linux/amd64"].manifest) == LONG
    assert second.platforms["all"].config is None


def test_manifests_are_embedded():
    family = demo_image("app", "1", size=10)
    lock = Lock.parse(
        value(entry(digest=family.digest), manifests={family.digest: family.raw.decode()})
    )
    assert lock.manifests == {Digest.parse(family.digest): family.raw}


def test_a_lock_of_10000_images_is_read():
    lock = Lock.parse(in_file(*(entry(f"registry.example/app-{n}:1") for n in range(10_000))))
    assert len(lock.images) == 10_000
    assert lock.image(Reference.parse("registry.example/app-9999:1")).place == "lock, line 89994"


# -- what a lock says of a reference


@pytest.mark.parametrize(
    ("text", "locked"),
    [
        (NAME, f"{NAME}@{ONE}"),
        (f"{NAME}@{ONE}", f"{NAME}@{ONE}"),
        ("debian:12", f"{OTHER}@{ONE}"),
        ("registry.example/pinned@" + ONE, "registry.example/pinned@" + ONE),
    ],
)
def test_reference_is_pinned_to_the_locked_digest(text, locked):
    lock = Lock.parse(value(entry(), entry(OTHER), entry(f"registry.example/pinned@{ONE}")))
    reference = Reference.parse(text)
    assert str(lock.image(reference).pin(reference)) == locked


@pytest.mark.parametrize("text", ["registry.example/app:2", "app:1", f"registry.example/app@{ONE}"])
def test_unlocked_name_is_an_error_that_names_the_file(text):
    lock = Lock.parse(in_file(entry(), file="a/b.yml"))
    with pytest.raises(LockError) as caught:
        lock.image(Reference.parse(text))
    assert_tells(caught.value, "invalid-lock", "a/b.yml: ", "app", " is not locked")
    assert "image_lock" in caught.value.hint


def test_another_digest_than_the_locked_one_is_an_error_that_names_both():
    reference = Reference.parse(f"{NAME}@{TWO}")
    image = Lock.parse(in_file(entry(), file="a/b.yml")).image(reference)
    with pytest.raises(LockError) as caught:
        image.pin(reference)
    assert_tells(caught.value, "invalid-lock", f"a/b.yml, line 3: {NAME} is locked to {ONE}", TWO)


def test_a_platform_that_is_not_locked_is_an_error_that_lists_those_that_are():
    there = {"linux/arm64": platform(), "linux/amd64": platform()}
    (image,) = Lock.parse(in_file(entry(platforms=there), file="a/b.yml")).images
    image.require_platforms(["linux/amd64", "linux/arm64"])
    with pytest.raises(LockError) as caught:
        image.require_platforms(["linux/amd64", "linux/s390x"])
    assert_tells(caught.value, "invalid-lock", f"a/b.yml, line 3: {NAME}", "linux/s390x")
    assert str(caught.value).endswith("only for linux/amd64, linux/arm64")


@pytest.mark.parametrize(
    ("changes", "media_type", "said"),
    [
        ({}, INDEX, None),
        ({}, "a/b", f"media_type is {INDEX}, but {ONE} has a/b"),
        ({"manifest": ONE}, INDEX, f"manifest for linux/amd64 is {TWO}, but {ONE} has {ONE}"),
        ({"config": None}, INDEX, f"config for linux/amd64 is {THREE}, but {ONE} has None"),
        ({"size": 6}, INDEX, f"size for linux/amd64 is 5, but {ONE} has 6"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_content_of_a_locked_digest_is_compared(changes, media_type, said):
    (image,) = Lock.parse(in_file(entry(), file="a/b.yml")).images
    (other,) = Lock.parse(value(entry(platforms={"linux/amd64": platform(**changes)}))).images
    found = other.platforms["linux/amd64"]
    if said is None:
        image.require_equal("linux/amd64", found, media_type)
        return
    with pytest.raises(LockError) as caught:
        image.require_equal("linux/amd64", found, media_type)
    assert_tells(caught.value, "invalid-lock", f"a/b.yml, line 3: {NAME}: {said}")
    assert "was edited" in caught.value.hint
